"""Bounded caches, single-flights, background tasks and per-key flights that the packages above share."""
