"""Project pages and lists of projects from the indexes: fetched, cached and revalidated, and never rolled back."""
