"""The commands, one module each: `main` takes the parsed options and returns the exit status."""
