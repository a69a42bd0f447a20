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
from typing import Final, TypeAlias

from assay.advisories.archive import Archive
from assay.advisories.model import MALWARE_PREFIX, Advisory
from assay.advisories.record import parse_record, read_json_object
from assay.simple.model import NormalizedName

__all__ = ["EMPTY_SNAPSHOT", "AdvisorySnapshot", "FeedSnapshot", "Hit"]

Hit: TypeAlias = tuple[str, NormalizedName]
"""Pair of the id of an advisory and a project that the advisory names."""


class FeedSnapshot:
    """Records of one feed.

    Args:
        archive: the compressed records with their indexes.
    """

    __slots__ = ("_archive",)

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    @property
    def digest(self) -> str:
        """SHA-256 of the records, in hexadecimal."""
        return self._archive.digest

    @property
    def newest_modified(self) -> datetime | None:
        """Newest time of a change in the feed's own records, at most the time at which the feed was read."""
        return self._archive.newest_modified

    @property
    def feed_count(self) -> int:
        """Number of records that the feed contained, without the missing ones that stay in force."""
        return len(self._archive.ids) - len(self._archive.missing_ids)

    @property
    def missing_ids(self) -> frozenset[str]:
        """Ids of the malware records that the feed no longer contains and that stay in force."""
        return self._archive.missing_ids

    @property
    def skipped_count(self) -> int:
        """Number of broken records that were skipped."""
        return self._archive.skipped_count

    @property
    def ids(self) -> Collection[str]:
        """Ids of all records."""
        return self._archive.numbers.keys()

    @property
    def malware_count(self) -> int:
        """Number of malware records, also the withdrawn and the missing ones."""
        return sum(advisory_id.startswith(MALWARE_PREFIX) for advisory_id in self._archive.ids)

    @property
    def projects(self) -> Collection[NormalizedName]:
        """Names of all projects that a record names."""
        return self._archive.names.keys()

    def find(self, project: NormalizedName, *, only_malware: bool = False) -> tuple[Advisory, ...]:
        """Return the records about `project`, also the withdrawn ones, sorted by id.

        Args:
            project: the project.
            only_malware: True for malware records only. Other records are not parsed, which saves time.
        """
        ids = self._archive.ids
        return tuple(
            self._parse(number)
            for number in self._archive.names.get(project, ())
            if not only_malware or ids[number].startswith(MALWARE_PREFIX)
        )

    def get(self, advisory_id: str) -> Advisory | None:
        """Return the record with this id, also a withdrawn one; None if the feed does not have it."""
        number = self._archive.numbers.get(advisory_id)
        return None if number is None else self._parse(number)

    def get_raw(self, advisory_id: str) -> bytes | None:
        """Return the OSV record with this id as JSON in ASCII, without line breaks; None if the feed lacks it."""
        number = self._archive.numbers.get(advisory_id)
        return None if number is None else self._archive.read(number)

    def _parse(self, number: int) -> Advisory:
        advisory = parse_record(read_json_object(self._archive.read(number)))
        if advisory is None:
            raise RuntimeError("expected a record about a PyPI project in the archive")
        return replace(advisory, is_missing=True) if advisory.id in self._archive.missing_ids else advisory


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
        """Return whether any record names `project`, withdrawn or not. No record is parsed."""
        return any(project in feed.projects for feed in self._feeds)

    def find(self, project: NormalizedName, *, only_malware: bool = False) -> tuple[Advisory, ...]:
        """Return the records about `project` that are not withdrawn, sorted by id.

        The records may name other projects too, and need not cover every version: ask `Advisory.covers`.

        Args:
            project: the project.
            only_malware: True for malware records only. Other records are not parsed, which saves time.
        """
        found: dict[str, Advisory] = {}
        for feed in self._feeds:
            for advisory in feed.find(project, only_malware=only_malware):
                newest = self._find_newest(advisory)
                if newest.withdrawn is None and project in newest.projects:
                    found[advisory.id] = newest
        return tuple(self._mark(found[key], project) for key in sorted(found))

    def get(self, advisory_id: str) -> Advisory | None:
        """Return the record with this id, also a withdrawn one; None if no feed has it."""
        return max(self._iter_records(advisory_id), key=_get_precedence, default=None)

    def get_raw(self, advisory_id: str) -> bytes | None:
        """Return the OSV record with this id as JSON in ASCII, without line breaks; None if no feed has it."""
        best: tuple[tuple[datetime, bool], FeedSnapshot] | None = None
        for feed in self._feeds:
            advisory = feed.get(advisory_id)
            if advisory is not None and (best is None or _get_precedence(advisory) > best[0]):
                best = _get_precedence(advisory), feed
        return None if best is None else best[1].get_raw(advisory_id)

    def iter_projects(self) -> Iterator[NormalizedName]:
        """Yield the names of all projects that a record names, each once."""
        yield from dict.fromkeys(name for feed in self._feeds for name in feed.projects)

    def _find_newest(self, advisory: Advisory) -> Advisory:
        if len(self._feeds) == 1:
            return advisory
        return max(self._iter_records(advisory.id), key=_get_precedence)

    def _iter_records(self, advisory_id: str) -> Iterator[Advisory]:
        return (found for feed in self._feeds if (found := feed.get(advisory_id)) is not None)

    def _mark(self, advisory: Advisory, project: NormalizedName) -> Advisory:
        return replace(advisory, on_hold=True) if (advisory.id, project) in self._on_hold else advisory


def _get_precedence(advisory: Advisory) -> tuple[datetime, bool]:
    """Return the sort key of records with the same id. At the same time, a record that is not withdrawn counts."""
    return advisory.modified, advisory.withdrawn is None


EMPTY_SNAPSHOT: Final = AdvisorySnapshot()
