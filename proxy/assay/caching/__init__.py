"""Shared utilities: bounded caches, single flights, background tasks, refreshed resources and locks by key."""
