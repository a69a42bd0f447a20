"""Feeds of advisories: fetches them, reads them in a separate process, and keeps the last good snapshots on disk."""
