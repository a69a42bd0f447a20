"""Advisories as the output of commands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from assay.advisories.model import Advisory
from assay.assembly.feeds import read_feeds
from assay.cli.tables import escape_unprintable, print_table
from assay.config import Configuration
from assay.errors import ConfigurationError
from assay.policy.shown_advisories import ShownAdvisory


def print_advisories(advisories: Sequence[ShownAdvisory]) -> None:
    """Print the advisories as a table after an empty line; print nothing without any."""
    if not advisories:
        return
    print()
    rows = [
        (each.id, each.kind, each.named_versions, escape_unprintable(each.summary), each.link) for each in advisories
    ]
    print_table(("ADVISORY", "KIND", "VERSIONS", "SUMMARY", "PAGE"), rows)


def require_advisory(configuration: Configuration, advisory_id: str) -> Advisory:
    """Return the stored record with this id, also a withdrawn one.

    Raises:
        ConfigurationError: no stored record has this id.
    """
    feeds = asyncio.run(read_feeds(configuration))
    advisory = feeds.snapshot.get(advisory_id)
    if advisory is None:
        raise ConfigurationError(f"{configuration.storage.directory} has no advisory {advisory_id}")
    return advisory
