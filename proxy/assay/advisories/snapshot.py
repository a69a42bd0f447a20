"""Snapshot of advisories: the records of all feeds that are in force, compact in memory. Pure.

A `FeedSnapshot` has the records of one feed: two indexes, of names and of ids, and the compressed records. A record is
decompressed and parsed when it is looked up. A look-up of a project without a record costs one look-up in a dictionary.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from assay.advisories.archive import Archive
from assay.advisories.model import Advisory
from assay.advisories.record import parse_record, read_json_object
from assay.simple.model import NormalizedName

__all__ = ["EMPTY_SNAPSHOT", "AdvisorySnapshot", "FeedSnapshot", "Hit"]

Hit = tuple[str, NormalizedName]
"""Pair of the id of an advisory and a project that the advisory names."""


class FeedSnapshot:
    """Records of one feed.

    Args:
        archive: the compressed records with their indexes.
    """

    __slots__ = ("_archive", "_missing")

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._missing = frozenset(archive.missing_ids)

    @property
    def digest(self) -> str:
        """SHA-256 of the contents, in hexadecimal."""
        return self._archive.digest

    @property
    def newest_modified(self) -> datetime | None:
        """Newest time of a change in the feed's own records, at most the time at which the feed was read."""
        return self._archive.newest_modified

    @property
    def feed_count(self) -> int:
        """Number of records that the feed contained, without the missing ones that stay in force."""
        return len(self._archive.ids) - len(self._missing)

    @property
    def missing_ids(self) -> frozenset[str]:
        """Ids of the malware records that the feed no longer contains and that stay in force."""
        return self._missing

    @property
    def skipped_count(self) -> int:
        """Number of broken records that were skipped."""
        return self._archive.skipped_count

    @property
    def ids(self) -> Collection[str]:
        """Ids of all records."""
        return self._archive.ids.keys()

    @property
    def projects(self) -> Collection[str]:
        """Normalised names of all projects that a record names."""
        return self._archive.names.keys()

    def find(self, project: NormalizedName) -> tuple[Advisory, ...]:
        """Return the records about `project`, also the withdrawn ones, in the order of the feed."""
        return tuple(self._parse(number) for number in self._archive.names.get(project, ()))

    def get(self, advisory_id: str) -> Advisory | None:
        """Return the record with this id, also a withdrawn one; None if the feed has none."""
        number = self._archive.ids.get(advisory_id)
        return None if number is None else self._parse(number)

    def get_raw(self, advisory_id: str) -> bytes | None:
        """Return the OSV record with this id as JSON in ASCII, without line breaks; None if the feed has none."""
        number = self._archive.ids.get(advisory_id)
        return None if number is None else self._archive.read(number)

    def _parse(self, number: int) -> Advisory:
        advisory = parse_record(read_json_object(self._archive.read(number)))
        if advisory is None:
            raise RuntimeError("expected a record about a PyPI project in the archive")
        return replace(advisory, is_missing=True) if advisory.id in self._missing else advisory


class AdvisorySnapshot:
    """Advisories in force: the records of all feeds. Immutable.

    If several feeds have a record with the same id, the most recently modified record counts.

    Args:
        feeds: the snapshots of the feeds.
        on_hold: pairs of advisory and project that a person must accept before they may withhold versions.
    """

    __slots__ = ("_feeds", "_on_hold", "digest")

    def __init__(self, feeds: Sequence[FeedSnapshot] = (), on_hold: Iterable[Hit] = ()) -> None:
        self._feeds = tuple(feeds)
        self._on_hold = frozenset(on_hold)
        text = json.dumps([[feed.digest for feed in self._feeds], sorted(self._on_hold)])
        self.digest: Final = hashlib.sha256(text.encode()).hexdigest()
        """SHA-256 of everything that a look-up can return. A judged page depends on it."""

    def __len__(self) -> int:
        """Return the number of records in all feeds, also the withdrawn ones."""
        return sum(len(feed.ids) for feed in self._feeds)

    @property
    def on_hold(self) -> frozenset[Hit]:
        """Pairs of advisory and project that a person must accept before they may withhold versions."""
        return self._on_hold

    def has_project(self, project: NormalizedName) -> bool:
        """Return whether any record names `project`, withdrawn or not. Costs no parsing."""
        return any(project in feed.projects for feed in self._feeds)

    def find(self, project: NormalizedName) -> tuple[Advisory, ...]:
        """Return the records about `project` that are not withdrawn, sorted by id.

        The records may name other projects too, and need not cover every version: ask `Advisory.covers`.
        """
        found: dict[str, Advisory] = {}
        for feed in self._feeds:
            for advisory in feed.find(project):
                newest = self._newest(advisory.id, advisory)
                if newest.withdrawn is None and project in newest.projects:
                    found[advisory.id] = newest
        return tuple(self._marked(found[key], project) for key in sorted(found))

    def get(self, advisory_id: str) -> Advisory | None:
        """Return the record with this id, also a withdrawn one; None if no feed has it."""
        return max(self._candidates(advisory_id), key=_by_age, default=None)

    def get_raw(self, advisory_id: str) -> bytes | None:
        """Return the OSV record with this id as JSON in ASCII, without line breaks; None if no feed has it."""
        held = [feed for feed in self._feeds if advisory_id in feed.ids]
        if len(held) > 1:
            held.sort(key=lambda feed: _by_age(feed.get(advisory_id)), reverse=True)
        return held[0].get_raw(advisory_id) if held else None

    def iter_projects(self) -> Iterator[str]:
        """Yield the names of all projects that a record names, each once."""
        yield from dict.fromkeys(name for feed in self._feeds for name in feed.projects)

    def _newest(self, advisory_id: str, known: Advisory) -> Advisory:
        if len(self._feeds) == 1:
            return known
        return max(self._candidates(advisory_id), key=_by_age)

    def _candidates(self, advisory_id: str) -> Iterator[Advisory]:
        return (found for feed in self._feeds if (found := feed.get(advisory_id)) is not None)

    def _marked(self, advisory: Advisory, project: NormalizedName) -> Advisory:
        return replace(advisory, on_hold=True) if (advisory.id, project) in self._on_hold else advisory


def _by_age(advisory: Advisory | None) -> tuple[datetime, bool]:
    """Return the sort key of records with the same id. At the same time, a record that is not withdrawn counts."""
    if advisory is None:
        raise RuntimeError("expected an advisory")
    return advisory.modified, advisory.withdrawn is None


EMPTY_SNAPSHOT: Final = AdvisorySnapshot()
