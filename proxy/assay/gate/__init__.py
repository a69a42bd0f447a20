"""Decisions about files: each file has one verdict by one policy, and the verdict is the same on every route."""
