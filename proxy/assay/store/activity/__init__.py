"""Record of activity: what clients used. It is history, not state: if it is lost, nothing else changes.

`database` owns the SQLite database, and the other modules own one table each.
"""
