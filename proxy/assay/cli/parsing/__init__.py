"""Option parser with examples and suggestions, and completion scripts that are derived from it."""
