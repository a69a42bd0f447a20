"""Decisions: one verdict by one policy for each file, on every route."""
