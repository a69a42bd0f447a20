"""Memory of the addresses at which earlier pages of an index listed files, for lockfiles with the old URLs.

An index may move a file to another host or path. When a new page replaces the old one, the old address is recorded with
the digest of the file. A request for the old address gets the file that the current page lists with the same filename
and digest, under the verdict of the current page. If the record is lost, a request for the old address gets 404.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from assay import telemetry
from assay.caching.lru import Lru
from assay.indexes import IndexSettings
from assay.ports import ProjectKey, RecordStore
from assay.simple.model import File, NormalizedName, Project, Sha256
from assay.simple.parse import basename, parse_sha256

_SCHEMA_VERSION: Final = 1
_MAX_ADDRESSES_PER_PROJECT: Final = 5000
"""Limit on the recorded addresses of one project; the newest are kept."""
_MAX_LOCATION_CHARACTERS: Final = 1024
"""Maximum length of a recorded address; those of PyPI have about 150 characters."""
_MAX_ADDRESSES_IN_MEMORY: Final = 20_000
"""Limit on the addresses of all projects in memory together."""


class MovedFiles:
    """Earlier addresses of files, by project; shared by all views.

    Args:
        records: storage of the addresses.
    """

    def __init__(self, records: RecordStore) -> None:
        self._records = records
        self._memory = Lru[ProjectKey, Mapping[str, Sha256]](
            max_weight=_MAX_ADDRESSES_IN_MEMORY, weigh=lambda addresses: 1 + len(addresses)
        )

    async def record(self, index: IndexSettings, before: Project, after: Project | None) -> None:
        """Record the addresses that a project's page no longer lists.

        Args:
            index: the index of the project.
            before: the replaced page.
            after: the new page; None if the index no longer has the project.
        """
        listed = {file.location for file in after.files} if after is not None else set[str]()
        gone = {
            file.location: file.sha256
            for file in before.files
            if file.sha256 is not None and file.location not in listed and _is_valid(file)
        }
        if not gone:
            return
        known = await self._load(index, before.name)
        addresses = {location: digest for location, digest in known.items() if location not in gone} | gone
        kept = dict(list(addresses.items())[-_MAX_ADDRESSES_PER_PROJECT:])
        self._memory.put((index.name, before.name), kept)
        record = {"schema": _SCHEMA_VERSION, "address": index.url, "locations": kept}
        await self._records.put(_build_record_key(index, before.name), json.dumps(record).encode())

    def reload(self, index: IndexSettings, name: NormalizedName) -> None:
        """Forget the addresses in memory, so that the record is read again."""
        self._memory.pop((index.name, name))

    async def find_digest(self, index: IndexSettings, name: NormalizedName, location: str) -> Sha256 | None:
        """Return the digest of the file that an earlier page listed at a location; None if no earlier page did."""
        return (await self._load(index, name)).get(location)

    async def _load(self, index: IndexSettings, name: NormalizedName) -> Mapping[str, Sha256]:
        key = (index.name, name)
        if (known := self._memory.get(key)) is not None:
            return known
        addresses = _decode_record(await self._records.get(_build_record_key(index, name)), index)
        self._memory.put(key, addresses)
        return addresses


def _is_valid(file: File) -> bool:
    return (
        file.distribution is not None
        and basename(file.location) == file.filename
        and len(file.location) <= _MAX_LOCATION_CHARACTERS
    )


def _build_record_key(index: IndexSettings, name: NormalizedName) -> str:
    return f"moved:{index.name}:{name}"


def _decode_record(record: bytes | None, index: IndexSettings) -> Mapping[str, Sha256]:
    """Parse a record of old addresses.

    Return no addresses if the record is missing or invalid, or if the URL of the index has changed in the settings.
    """
    if record is None:
        return {}
    try:
        content = json.loads(record)
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("schema") != _SCHEMA_VERSION:
        telemetry.warning("record-corrupt", record="moved", index=index.name, error="not an object of this version")
        return {}
    locations = content.get("locations")
    if content.get("address") != index.url or not isinstance(locations, dict):
        return {}
    digests = {location: parse_sha256(digest) for location, digest in locations.items() if isinstance(digest, str)}
    return {location: digest for location, digest in digests.items() if digest is not None}
