"""Commands of ``assay``, one module each. The function `main` takes the parsed options and returns the exit status."""
