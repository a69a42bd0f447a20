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
    """Records of one feed. Immutable.

    Args:
        archive: the compressed records with their indexes.
        on_hold: pairs of advisory and project that a person must accept before the records of this feed may withhold
            versions.
    """

    __slots__ = ("_archive", "on_hold")

    def __init__(self, archive: Archive, on_hold: Iterable[Hit] = ()) -> None:
        self._archive = archive
        self.on_hold: Final = frozenset(on_hold)
        """Pairs of advisory and project that a person must accept."""

    def put_on_hold(self, on_hold: Iterable[Hit]) -> FeedSnapshot:
        """Return a snapshot of the same records with these pairs on hold, instead of those of this snapshot."""
        return FeedSnapshot(self._archive, on_hold)

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
            self._mark(self._parse(number), project)
            for number in self._archive.names.get(project, ())
            if not only_malware or ids[number].startswith(MALWARE_PREFIX)
        )

    def iter_stored(self, project: NormalizedName) -> Iterator[bytes]:
        """Yield, for each record about `project`, its JSON and whether it is missing or on hold, without parsing it."""
        for number in self._archive.names.get(project, ()):
            advisory_id = self._archive.ids[number]
            is_missing, is_on_hold = advisory_id in self.missing_ids, (advisory_id, project) in self.on_hold
            yield b"%s %d %d" % (self._archive.read(number), is_missing, is_on_hold)

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

    def _mark(self, advisory: Advisory, project: NormalizedName) -> Advisory:
        return replace(advisory, on_hold=True) if (advisory.id, project) in self.on_hold else advisory


class AdvisorySnapshot:
    """Advisories in force: the records of all feeds. Immutable.

    Each feed's records act by themselves. A record that one feed has withdrawn, or that is on hold for one feed, stays
    in force for another feed that has it. A look-up returns the records of several feeds with the same id as one.

    Args:
        feeds: the snapshots of the feeds, with the hits that are on hold.
    """

    __slots__ = ("_feeds", "digest")

    def __init__(self, feeds: Sequence[FeedSnapshot] = ()) -> None:
        self._feeds = tuple(feeds)
        text = json.dumps([[feed.digest, sorted(feed.on_hold)] for feed in self._feeds])
        self.digest: Final = hashlib.sha256(text.encode()).hexdigest()
        """SHA-256 of everything that a look-up can return. A judged page depends on it."""

    def __len__(self) -> int:
        """Return the number of records in all feeds, also the withdrawn ones."""
        return sum(len(feed.ids) for feed in self._feeds)

    def has_project(self, project: NormalizedName) -> bool:
        """Return whether any record names `project`, withdrawn or not. No record is parsed."""
        # Each request for a page calls this, most without any feed.
        return bool(self._feeds) and any(project in feed.projects for feed in self._feeds)

    def find(self, project: NormalizedName, *, only_malware: bool = False) -> tuple[Advisory, ...]:
        """Return the records about `project` that are not withdrawn, sorted by id.

        The records may name other projects too, and need not cover every version: ask `Advisory.covers`. If several
        feeds have a record with the same id, one record is returned, which covers what any of them covers. Records on
        hold are left out of it, unless all of them are on hold.

        Args:
            project: the project.
            only_malware: True for malware records only. Other records are not parsed, which saves time.
        """
        found: dict[str, list[Advisory]] = {}
        for feed in self._feeds:
            for advisory in feed.find(project, only_malware=only_malware):
                if advisory.withdrawn is None:
                    found.setdefault(advisory.id, []).append(advisory)
        return tuple(_merge(found[key]) for key in sorted(found))

    def compute_digest(self, project: NormalizedName) -> str:
        """Return the SHA-256 of everything that `find` reads for `project`, in hexadecimal. No record is parsed."""
        digest = hashlib.sha256()
        for feed in self._feeds:
            digest.update(b"feed ")
            for stored in feed.iter_stored(project):
                digest.update(hashlib.sha256(stored).digest())
        return digest.hexdigest()

    def get(self, advisory_id: str) -> Advisory | None:
        """Return the record with this id; None if no feed has it.

        The records of several feeds are one, as in `find`. A withdrawn record is returned if no feed has it in force.
        """
        found = [record for feed in self._feeds if (record := feed.get(advisory_id)) is not None]
        return _merge([each for each in found if each.withdrawn is None] or found) if found else None

    def get_raw(self, advisory_id: str) -> bytes | None:
        """Return the OSV record with this id as JSON in ASCII, without line breaks; None if no feed has it.

        Of the records of several feeds, the most recently modified one that is not withdrawn is returned.
        """
        best: tuple[tuple[bool, datetime], FeedSnapshot] | None = None
        for feed in self._feeds:
            advisory = feed.get(advisory_id)
            if advisory is not None and (best is None or _get_precedence(advisory) > best[0]):
                best = _get_precedence(advisory), feed
        return None if best is None else best[1].get_raw(advisory_id)


def _get_precedence(advisory: Advisory) -> tuple[bool, datetime]:
    """Return the sort key of records with the same id: a record in force counts before a withdrawn one."""
    return advisory.withdrawn is None, advisory.modified


def _merge(records: Sequence[Advisory]) -> Advisory:
    """Return one record for records of several feeds with the same id.

    It covers what any record covers that is not on hold. Its texts are those of the most recently modified one.

    Args:
        records: at least one record. Either all of them are withdrawn, or none.
    """
    acting = [each for each in records if not each.on_hold] or records
    newest = max(acting, key=_get_precedence)
    if len(acting) == 1:
        return newest
    affected = tuple(dict.fromkeys(entry for each in acting for entry in each.affected))
    return replace(newest, affected=affected, is_missing=all(each.is_missing for each in acting))


EMPTY_SNAPSHOT: Final = AdvisorySnapshot()
