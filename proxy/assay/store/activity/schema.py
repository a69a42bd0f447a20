"""Tables of the record of activity.

A database with other tables is set aside, and a new one is created. There is no migration, because only history is
lost.
"""

from __future__ import annotations

from typing import Final

SCHEMA_VERSION: Final = 1
_USAGE_TABLES: Final = (
    """CREATE TABLE used_projects (
    id INTEGER PRIMARY KEY, "index" TEXT NOT NULL, project TEXT NOT NULL, last_used INTEGER NOT NULL,
    UNIQUE ("index", project)
)""",
    "CREATE INDEX used_projects_last ON used_projects (last_used)",
    """CREATE TABLE used_versions (
    project INTEGER NOT NULL, version TEXT NOT NULL, last_used INTEGER NOT NULL, PRIMARY KEY (project, version)
) WITHOUT ROWID""",
    """CREATE TABLE used_views (
    project INTEGER NOT NULL, view TEXT NOT NULL, last_used INTEGER NOT NULL, PRIMARY KEY (project, view)
) WITHOUT ROWID""",
)
_HIT_TABLES: Final = (
    """CREATE TABLE reported_hits (
    id INTEGER PRIMARY KEY, advisory TEXT NOT NULL, project TEXT NOT NULL, UNIQUE (advisory, project)
)""",
)
TABLES: Final = _USAGE_TABLES + _HIT_TABLES
"""Statements that create the tables and their indexes. SQLite keeps the text of each."""
