"""METADATA in the wheels themselves. It states a wheel's dependencies, even if the index serves another document.

Each wheel is inspected before a client gets its last bytes for the first time. The inspection records the digest of the
wheel's METADATA, which is called the wheel's *fact*. Each project has one record with the facts of its wheels, by the
digest of the wheel. If the record is lost, a wheel is inspected again when it is served.

Wheels are untrusted, so the sizes of the zip directory and of the METADATA are limited. If a wheel has no METADATA, or
more than one, it contradicts any METADATA digest on the index's page.
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
from assay.ports import Notice, Notices, NoticeTopic, RecordStore
from assay.simple.model import CoreMetadata, File, Kind, NormalizedName, Project, Sha256
from assay.simple.parse import parse_sha256

_NO_METADATA = ""
"""Fact of a wheel without usable METADATA: it has none or more than one, its METADATA is too large, or its zip file is
invalid."""
_TOO_LARGE = "-"
"""Fact of a wheel whose zip directory is too large to read. Its METADATA is unknown."""
_MAX_PROJECTS = 2000
"""Maximum number of projects whose facts are in memory."""
_MAX_CHANGED_PROJECTS = 20_000
"""Maximum number of projects that have a separate facts version (`get_facts_version`). Each takes about 300 bytes."""
_MAX_WHEELS_PER_PROJECT = 20_000
"""Maximum number of facts of one project."""
_MAX_ZIP_ENTRIES = 60_000
"""Maximum number of entries of a zip directory. A directory with more entries is not read."""
_MAX_ZIP_DIRECTORY_BYTES = 16 * 2**20
"""Maximum size of a zip directory in bytes. A larger directory is not read."""
_END_RECORD_SIGNATURE = b"PK\x05\x06"
_END_RECORD_BYTES = 22
_MAX_ZIP_COMMENT_BYTES = 65_535

_ProjectKey = tuple[str, NormalizedName]
ReaderOpener = Callable[[], Awaitable[BinaryIO]]
"""Function that opens a new file object for a complete wheel. Its caller must close the file object."""


class WheelMetadata:
    """Inspector of wheels, with a cache of their facts (the digests of the METADATA in them).

    Args:
        records: storage of facts and METADATA documents.
        notices: tells other replicas that a project has a new fact. None: no other process shares the records.
        max_changed_projects: maximum number of projects that have a separate facts version (`get_facts_version`). All
            other projects share one version. If one more project needs a separate version, all projects get a new one,
            so the pages of all projects are judged again.
    """

    def __init__(
        self,
        *,
        records: RecordStore,
        notices: Notices | None = None,
        max_changed_projects: int = _MAX_CHANGED_PROJECTS,
    ) -> None:
        self._records = records
        self._notices = notices
        if notices is not None:
            notices.subscribe(self._handle_notice)
        self._max_changed_projects = max_changed_projects
        self._facts = Lru[_ProjectKey, Lru[str, str]](max_items=_MAX_PROJECTS)
        self._facts_versions: dict[_ProjectKey, int] = {}
        self._base_version = 0
        """Version number for all projects that have no separate one."""
        self._last_version = 0
        """Highest version number that any project ever had."""
        self._inspections = SingleFlight[tuple[_ProjectKey, Sha256], None]("inspect wheel")

    def get_facts_version(self, index: IndexSettings, project: NormalizedName) -> int:
        """Return the version number of a project's facts.

        The number grows whenever an inspection finds that a wheel's METADATA differs from the digest on the page. A
        page that was judged at a lower number must be judged again.
        """
        return self._facts_versions.get((index.name, project), self._base_version)

    async def load_facts(self, index: IndexSettings, project: NormalizedName) -> Mapping[str, str]:
        """Return the digests of the METADATA in a project's inspected wheels, by the digest of the wheel.

        For a wheel without usable METADATA, the value is a marker instead: `_NO_METADATA` or `_TOO_LARGE`.
        """
        return (await self._load_facts((index.name, project))).snapshot()

    async def _load_facts(self, key: _ProjectKey) -> Lru[str, str]:
        if (facts := self._facts.get(key)) is not None:
            return facts
        recorded = _decode_facts(await self._records.get(_build_record_key(key)))
        if (facts := self._facts.get(key)) is None:  # another caller may have loaded and extended them meanwhile
            facts = Lru[str, str](max_items=_MAX_WHEELS_PER_PROJECT)
            for wheel, fact in recorded.items():
                facts.put(wheel, fact)
            self._facts.put(key, facts)
        return facts

    async def reload_facts(self, index: IndexSettings, project: NormalizedName) -> None:
        """Add the facts that other replicas have recorded to those in memory. Do nothing if records are not shared."""
        if not self._records.is_shared:
            return
        key = (index.name, project)
        recorded = _decode_facts(await self._records.get(_build_record_key(key)))
        facts = await self._load_facts(key)
        news = {wheel: fact for wheel, fact in recorded.items() if wheel not in facts}
        for wheel, fact in news.items():
            facts.put(wheel, fact)
        if news:
            self._raise_facts_version(key)

    async def get_own_digest(self, index: IndexSettings, project: NormalizedName, file: File) -> Sha256 | None:
        """Return the digest of the METADATA in a wheel.

        Return None if the wheel was not inspected or has no usable METADATA.
        """
        return _get_own_digest(await self._load_facts((index.name, project)), file)

    def peek_own_digest(self, index: IndexSettings, project: NormalizedName, file: File) -> tuple[bool, Sha256 | None]:
        """Look up the result of `get_own_digest` in memory only.

        Returns:
            True and the result, if the facts of the project are in memory; else False and None.
        """
        facts = self._facts.get((index.name, project))
        return facts is not None, None if facts is None else _get_own_digest(facts, file)

    def has_inspected(self, index: IndexSettings, project: NormalizedName, file: File) -> bool:
        """Return True if memory shows that the wheel was inspected. Also return True for a file that is not a wheel."""
        if not is_wheel(file):
            return True
        facts = self._facts.get((index.name, project))
        return facts is not None and file.sha256 is not None and file.sha256 in facts

    async def inspect(self, index: IndexSettings, project: NormalizedName, file: File, opener: ReaderOpener) -> None:
        """Read the METADATA of a wheel and record its digest, unless the wheel was inspected before.

        If the digest differs from the METADATA digest on the page, log a security event. Ignore a file that is not a
        wheel.

        Args:
            index: the index of the project.
            project: the project.
            file: the file, which must be complete and verified.
            opener: opens the file.
        """
        digest = file.sha256
        if not is_wheel(file) or digest is None or digest in await self._load_facts((index.name, project)):
            return
        # The key contains the project, because two pages may list the same wheel with different METADATA digests.
        flight_key = ((index.name, project), digest)
        await self._inspections.join(flight_key, partial(self._inspect, index, project, file, opener))

    async def read_metadata(self, file: File, opener: ReaderOpener) -> bytes:
        """Return the METADATA in a wheel.

        Args:
            file: the wheel, which must be complete and verified.
            opener: opens the wheel.

        Raises:
            InvalidResponseError: the wheel has no METADATA or more than one, or exceeds a limit.
        """
        reader = await opener()
        try:
            _, document = await asyncio.to_thread(_read_wheel, reader)
        finally:
            reader.close()
        if document is None:
            raise InvalidResponseError(f"{file.filename} has no readable METADATA")
        return document

    def _handle_notice(self, notice: Notice) -> None:
        """Read the facts of a project again if another replica has new ones, and have its page judged again."""
        if not notice.is_remote or notice.topic not in {NoticeTopic.WHEELS, None}:
            return
        if notice.index is None or notice.project is None:
            self._facts.clear()
            self._raise_all_facts_versions()
            return
        key = (notice.index, notice.project)
        self._facts.pop(key)
        self._raise_facts_version(key)

    async def close(self) -> None:
        """Cancel the running inspections."""
        await self._inspections.close()

    async def _inspect(self, index: IndexSettings, project: NormalizedName, file: File, opener: ReaderOpener) -> None:
        reader = await opener()
        try:
            fact, document = await asyncio.to_thread(_read_wheel, reader)
        finally:
            reader.close()
        key = (index.name, project)
        facts = await self._load_facts(key)
        index_digest = None if file.core_metadata is None else file.core_metadata.sha256
        # No await between these two steps: a task that saw the fact with the old version would use an outdated verdict.
        facts.put(str(file.sha256), fact)
        is_news = fact not in {_TOO_LARGE, index_digest} and not (fact == _NO_METADATA and index_digest is None)
        if is_news:
            self._raise_facts_version(key)
        known = facts.snapshot()
        if self._records.is_shared:  # another replica may have inspected other wheels of the project meanwhile
            merged = _decode_facts(await self._records.get(_build_record_key(key))) | known
            known = dict(list(merged.items())[-_MAX_WHEELS_PER_PROJECT:])
        records = {_build_record_key(key): json.dumps(known).encode()}
        if document is not None:
            records[metadata_record_key(Sha256(fact))] = document
        if contradicts_index(file, fact):
            telemetry.security(
                "metadata-mismatch",
                index=index.name,
                project=project,
                filename=file.filename,
                sha256=file.sha256,
                expected=index_digest,
                found=fact or "none, or more than one",
            )
        await self._records.put_many(records)
        if is_news and self._notices is not None:
            self._notices.publish(Notice(index=index.name, project=project, topic=NoticeTopic.WHEELS))

    def _raise_all_facts_versions(self) -> None:
        self._facts_versions.clear()
        self._last_version = self._base_version = self._last_version + 1

    def _raise_facts_version(self, key: _ProjectKey) -> None:
        """Give the facts of a project a higher version number than any project had before."""
        if key not in self._facts_versions and len(self._facts_versions) >= self._max_changed_projects:
            # Every project gets a new version, so that no page that was judged by older facts appears current.
            self._raise_all_facts_versions()
        self._last_version += 1
        self._facts_versions[key] = self._last_version


def _get_own_digest(facts: Lru[str, str], file: File) -> Sha256 | None:
    return parse_sha256(facts.get(file.sha256 or _NO_METADATA) or _NO_METADATA)


def is_wheel(file: File) -> bool:
    """Return True if the filename is that of a wheel."""
    return file.distribution is not None and file.distribution.kind is Kind.WHEEL


def contradicts_index(file: File, own_digest: str | None) -> bool:
    """Return True if the page gives a METADATA digest for a wheel, and the METADATA in the wheel has another digest.

    Args:
        file: the wheel as the page lists it.
        own_digest: digest of the METADATA in the wheel, or the marker of a wheel without usable METADATA; None if the
            wheel was not inspected.
    """
    if own_digest in {None, _TOO_LARGE} or file.core_metadata is None or file.core_metadata.sha256 is None:
        return False
    return file.core_metadata.sha256 != own_digest


def find_mismatched(project: Project, own_digests: Mapping[str, str]) -> frozenset[Sha256]:
    """Return the wheels that contain another METADATA than the page announces (`contradicts_index`), by their digests.

    Args:
        project: the project as its page lists it.
        own_digests: maps the digest of each inspected wheel to the digest of the METADATA in the wheel.
    """
    if not own_digests:
        return frozenset()
    return frozenset(
        file.sha256
        for file in project.files
        if file.sha256 is not None and contradicts_index(file, own_digests.get(file.sha256))
    )


def apply_own_metadata(project: Project, own_digests: Mapping[str, str]) -> Project:
    """Return the project, with the METADATA digests on its page (PEP 658) replaced by those from inspected wheels.

    Args:
        project: the project as its page lists it.
        own_digests: maps the digest of each inspected wheel to the digest of the METADATA in the wheel.
    """
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
    """Read the METADATA in a wheel; return its digest and the METADATA itself.

    Without usable METADATA, return a marker (`_NO_METADATA` or `_TOO_LARGE`) and None. Any bytes are accepted: a broken
    or hostile zip file yields a marker and no exception.
    """
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
    # As in pip, there must be exactly one top-level *.dist-info. An entry that occurs twice is refused too, because
    # readers of zip files disagree about which of the two counts.
    names = [name for name in archive.namelist() if name.partition("/")[0].endswith(".dist-info")]
    directories = {name.partition("/")[0] for name in names}
    wanted = f"{next(iter(directories), '')}/METADATA"
    if len(directories) != 1 or names.count(wanted) != 1:
        return None
    with archive.open(wanted) as entry:
        document = entry.read(MAX_METADATA_BYTES + 1)
    return document if len(document) <= MAX_METADATA_BYTES else None


def _is_directory_too_large(reader: BinaryIO) -> bool:
    """Return True if the zip directory of a wheel exceeds a limit.

    The caller must not open such a wheel with `zipfile`, which reads the whole directory.
    """
    size = reader.seek(0, 2)
    reader.seek(max(0, size - _END_RECORD_BYTES - _MAX_ZIP_COMMENT_BYTES))
    tail = reader.read(_END_RECORD_BYTES + _MAX_ZIP_COMMENT_BYTES)
    position = tail.rfind(_END_RECORD_SIGNATURE)
    end = tail[position : position + _END_RECORD_BYTES]
    if position < 0 or len(end) < _END_RECORD_BYTES:
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
