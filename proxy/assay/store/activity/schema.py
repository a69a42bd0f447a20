"""Tables of the record of activity.

A database with other tables is set aside, and a new one is created. There is no migration, because only history is
lost.
"""

from __future__ import annotations

from typing import Final

SCHEMA_VERSION: Final = 3
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
    """CREATE TABLE summaries (
    project INTEGER NOT NULL, view TEXT NOT NULL, judged INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (project, view)
) WITHOUT ROWID""",
)
_HIT_TABLES: Final = (
    """CREATE TABLE reported_hits (
    id INTEGER PRIMARY KEY, advisory TEXT NOT NULL, project TEXT NOT NULL, UNIQUE (advisory, project)
)""",
)
_REFUSAL_TABLES: Final = (
    """CREATE TABLE refusals (
    id INTEGER PRIMARY KEY, time INTEGER NOT NULL, view TEXT NOT NULL, route TEXT NOT NULL, project TEXT,
    filename TEXT NOT NULL, sha256 TEXT, rule TEXT, codes TEXT NOT NULL, message TEXT NOT NULL, user TEXT
)""",
    """CREATE TABLE refusal_counts (
    day INTEGER NOT NULL, view TEXT NOT NULL, rule TEXT NOT NULL, code TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (day, view, rule, code)
) WITHOUT ROWID""",
)
TABLES: Final = (*_USAGE_TABLES, *_HIT_TABLES, *_REFUSAL_TABLES)
"""Statements that create the tables and their indexes. SQLite keeps the text of each."""
