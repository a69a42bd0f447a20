"""Evidence sources: the places that documents about files come from, one module each."""
