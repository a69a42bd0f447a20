"""What the wheels that were here say of themselves: their own METADATA is the truth about their dependencies.

Owns the facts (by wheel, the digest of its METADATA; one record for each project) and the reading of a wheel, which is
hostile: its directory and its METADATA are capped, and one that has none, or two, contradicts whatever an index says.

A fact that is lost is learned again the next time the wheel is served: it is looked at before its last bytes go out.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import zipfile
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import BinaryIO

from assay import telemetry
from assay.caching.lru import Lru
from assay.caching.single_flight import SingleFlight
from assay.errors import InvalidResponseError
from assay.files.index_metadata import MAX_METADATA_BYTES, metadata_record_key
from assay.indexes import IndexSettings
from assay.ports import RecordStore
from assay.simple.model import CoreMetadata, File, Kind, NormalizedName, Project, Sha256
from assay.simple.parse import parse_sha256

_NO_METADATA = ""
"""The fact of a wheel that has no METADATA, or more than one."""
_TOO_LARGE = "-"
"""The fact of a wheel whose directory is too large to look into: nothing is known of it."""
_MAX_PROJECTS = 2000
_MAX_CHANGED_PROJECTS = 20_000
"""Projects whose facts have a version of their own, about 300 bytes each."""
_MAX_WHEELS_PER_PROJECT = 20_000
"""Of one project."""
_MAX_ZIP_ENTRIES = 60_000
_MAX_ZIP_DIRECTORY_BYTES = 16 * 2**20
_END_RECORD_SIGNATURE = b"PK\x05\x06"
_END_RECORD_BYTES = 22
_MAX_ZIP_COMMENT_BYTES = 65_535

_ProjectKey = tuple[str, NormalizedName]
ReaderOpener = Callable[[], Awaitable[BinaryIO]]
"""A file object of the caller's own over a whole wheel."""


class WheelMetadata:
    """Facts about wheels.

    Args:
        records: where facts are recorded.
        max_changed_projects: projects whose facts have a version of their own, until all versions are raised at once.
    """

    def __init__(self, *, records: RecordStore, max_changed_projects: int = _MAX_CHANGED_PROJECTS) -> None:
        self._records = records
        self._max_changed_projects = max_changed_projects
        self._facts = Lru[_ProjectKey, Lru[str, str]](max_items=_MAX_PROJECTS)
        self._facts_versions: dict[_ProjectKey, int] = {}
        self._base_version = 0
        """Version of the facts of all other projects."""
        self._last_version = 0
        """The highest version given to any project."""
        self._inspections = SingleFlight[tuple[_ProjectKey, Sha256], None]("inspect wheel")

    def get_facts_version(self, index: IndexSettings, project: NormalizedName) -> int:
        """Return a number that grows whenever a wheel turns out to be other than its project's page says."""
        return self._facts_versions.get((index.name, project), self._base_version)

    async def load_facts(self, index: IndexSettings, project: NormalizedName) -> Mapping[str, str]:
        """Return a copy of the facts of a project: by wheel, the digest of its METADATA."""
        return (await self._load_facts((index.name, project))).snapshot()

    async def _load_facts(self, key: _ProjectKey) -> Lru[str, str]:
        if (facts := self._facts.get(key)) is not None:
            return facts
        recorded = _decode_facts(await self._records.get(_build_record_key(key)))
        if (facts := self._facts.get(key)) is None:  # another caller may have loaded them meanwhile, and added to them
            facts = Lru[str, str](max_items=_MAX_WHEELS_PER_PROJECT)
            for wheel, fact in recorded.items():
                facts.put(wheel, fact)
            self._facts.put(key, facts)
        return facts

    async def get_own_digest(self, index: IndexSettings, project: NormalizedName, file: File) -> Sha256 | None:
        """Return the digest of a wheel's own METADATA; None if it is not known."""
        return _get_own_digest(await self._load_facts((index.name, project)), file)

    def peek_own_digest(self, index: IndexSettings, project: NormalizedName, file: File) -> tuple[bool, Sha256 | None]:
        """Return whether the facts are in memory, and what `get_own_digest` then returns."""
        facts = self._facts.get((index.name, project))
        return facts is not None, None if facts is None else _get_own_digest(facts, file)

    def has_inspected(self, index: IndexSettings, project: NormalizedName, file: File) -> bool:
        """Return whether `inspect` has nothing to do, by the facts in memory."""
        if not is_wheel(file):
            return True
        facts = self._facts.get((index.name, project))
        return facts is not None and file.sha256 is not None and file.sha256 in facts

    async def inspect(self, index: IndexSettings, project: NormalizedName, file: File, opener: ReaderOpener) -> None:
        """Record what a whole, verified wheel says of itself, once; a contradiction is a security event."""
        digest = file.sha256
        if not is_wheel(file) or digest is None or digest in await self._load_facts((index.name, project)):
            return
        # By project too: what one page says of a wheel may be true, and what another says of the same wheel not.
        what = ((index.name, project), digest)
        await self._inspections.join(what, partial(self._inspect, index, project, file, opener))

    async def read_metadata(self, file: File, opener: ReaderOpener) -> bytes:
        """Return a whole, verified wheel's METADATA.

        Raises:
            InvalidResponseError: it has none, or more than one, or is too large to look into.
        """
        reader = await opener()
        try:
            _, document = await asyncio.to_thread(_read_wheel, reader)
        finally:
            reader.close()
        if document is None:
            raise InvalidResponseError(f"{file.filename} has no METADATA that can be read")
        return document

    async def close(self) -> None:
        """End the inspections that are running."""
        await self._inspections.close()

    async def _inspect(self, index: IndexSettings, project: NormalizedName, file: File, opener: ReaderOpener) -> None:
        reader = await opener()
        try:
            fact, document = await asyncio.to_thread(_read_wheel, reader)
        finally:
            reader.close()
        key = (index.name, project)
        facts = await self._load_facts(key)
        said = None if file.core_metadata is None else file.core_metadata.sha256
        # Both at once: whoever finds the fact and no news would go by the verdict of before.
        facts.put(str(file.sha256), fact)
        if fact not in {_TOO_LARGE, said} and not (fact == _NO_METADATA and said is None):
            self._raise_facts_version(key)
        records = {_build_record_key(key): json.dumps(facts.snapshot()).encode()}
        if document is not None:
            records[metadata_record_key(Sha256(fact))] = document
        if contradicts_index(file, fact):
            telemetry.security(
                "metadata-mismatch",
                index=index.name,
                project=project,
                filename=file.filename,
                sha256=file.sha256,
                expected=said,
                found=fact or "none, or more than one",
            )
        await self._records.put_many(records)

    def _raise_facts_version(self, key: _ProjectKey) -> None:
        """Give the facts of a project a version that no project had before."""
        if key not in self._facts_versions and len(self._facts_versions) >= self._max_changed_projects:
            # Every project gets a new version, so that no page judged by older facts looks current.
            self._facts_versions.clear()
            self._last_version = self._base_version = self._last_version + 1
        self._last_version += 1
        self._facts_versions[key] = self._last_version


def _get_own_digest(facts: Lru[str, str], file: File) -> Sha256 | None:
    return parse_sha256(facts.get(file.sha256 or _NO_METADATA) or _NO_METADATA)


def is_wheel(file: File) -> bool:
    """Whether it is one, by its name."""
    return file.distribution is not None and file.distribution.kind is Kind.WHEEL


def contradicts_index(file: File, own_digest: str | None) -> bool:
    """Whether the index says another METADATA than the wheel has."""
    if own_digest in {None, _TOO_LARGE} or file.core_metadata is None or file.core_metadata.sha256 is None:
        return False
    return file.core_metadata.sha256 != own_digest


def find_mismatched(project: Project, own_digests: Mapping[str, str]) -> frozenset[Sha256]:
    """The wheels of a page whose own METADATA is not what the page says."""
    if not own_digests:
        return frozenset()
    return frozenset(
        file.sha256
        for file in project.files
        if file.sha256 is not None and contradicts_index(file, own_digests.get(file.sha256))
    )


def apply_own_metadata(project: Project, own_digests: Mapping[str, str]) -> Project:
    """The page with each known wheel's own METADATA beside it, whatever the index says or leaves out (PEP 658)."""
    if not own_digests:
        return project
    return replace(
        project,
        files=tuple(
            _apply_to_file(file, own_digests.get(file.sha256 or _NO_METADATA, _NO_METADATA)) for file in project.files
        ),
    )


def _apply_to_file(file: File, own_digest: str) -> File:
    own = parse_sha256(own_digest)
    if own is None or not is_wheel(file) or (file.core_metadata is not None and file.core_metadata.sha256 == own):
        return file
    return replace(file, core_metadata=CoreMetadata(sha256=own))


def _read_wheel(reader: BinaryIO) -> tuple[str, bytes | None]:
    """The fact of a wheel, and its METADATA. Total: whatever the file is."""
    try:
        if _is_directory_too_large(reader):
            return _TOO_LARGE, None
        with zipfile.ZipFile(reader) as archive:
            document = _extract_metadata(archive)
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, RuntimeError, EOFError):
        return _NO_METADATA, None
    if document is None:
        return _NO_METADATA, None
    return hashlib.sha256(document).hexdigest(), document


def _extract_metadata(archive: zipfile.ZipFile) -> bytes | None:
    # As pip looks for it: exactly one top-level *.dist-info. Named twice, readers of zip files disagree which counts.
    names = [name for name in archive.namelist() if name.partition("/")[0].endswith(".dist-info")]
    directories = {name.partition("/")[0] for name in names}
    wanted = f"{next(iter(directories), '')}/METADATA"
    if len(directories) != 1 or names.count(wanted) != 1:
        return None
    with archive.open(wanted) as entry:
        document = entry.read(MAX_METADATA_BYTES + 1)
    return document if len(document) <= MAX_METADATA_BYTES else None


def _is_directory_too_large(reader: BinaryIO) -> bool:
    """Whether the archive's directory, which zipfile reads whole, has more entries or bytes than we hold."""
    size = reader.seek(0, 2)
    reader.seek(max(0, size - _END_RECORD_BYTES - _MAX_ZIP_COMMENT_BYTES))
    tail = reader.read(_END_RECORD_BYTES + _MAX_ZIP_COMMENT_BYTES)
    place = tail.rfind(_END_RECORD_SIGNATURE)
    end = tail[place : place + _END_RECORD_BYTES]
    if place < 0 or len(end) < _END_RECORD_BYTES:
        return False
    entries, directory = int.from_bytes(end[10:12], "little"), int.from_bytes(end[12:16], "little")
    return entries > _MAX_ZIP_ENTRIES or directory > _MAX_ZIP_DIRECTORY_BYTES


def _build_record_key(key: _ProjectKey) -> str:
    return f"own-metadata:{key[0]}:{key[1]}"


def _decode_facts(record: bytes | None) -> dict[str, str]:
    try:
        found = json.loads(record) if record is not None else {}
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {wheel: fact for wheel, fact in found.items() if isinstance(fact, str)}
