"""Parts of the command ``assay attest``."""
