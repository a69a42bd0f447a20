"""Inspection of uploaded archives. Hostile archives are refused within fixed limits of entries, bytes and ratio."""
