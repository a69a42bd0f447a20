"""Evidence sources, from which documents about files are fetched. Each source is one module."""
