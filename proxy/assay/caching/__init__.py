"""Bounded caches and per-key locks that the packages above share."""
