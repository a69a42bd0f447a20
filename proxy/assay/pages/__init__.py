"""Project pages and root lists of the indexes: cached, revalidated, never rolled back."""
