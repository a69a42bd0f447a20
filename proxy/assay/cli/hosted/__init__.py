"""Parts of the command `assay hosted`."""
