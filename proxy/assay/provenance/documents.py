"""Provenance documents as records: their bytes by digest, and which ones were seen for a file.

Owns what is remembered of a document. An index may replace one (PEP 740: provenance is mutable); the earlier ones stay,
because evidence once recorded counts. A lost or broken record costs a request.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from assay import telemetry
from assay.evidence import Evidence
from assay.ports import Records
from assay.simple.model import File, Sha256
from assay.simple.parse import parse_sha256

_MOST_EARLIER = 4
"""Replaced documents remembered of one file; an index that replaces them all day proves nothing."""

FileKey: TypeAlias = tuple[str, Sha256]
"""(filename, digest): what an attestation's statement names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Which documents were seen for a file."""

    document: Sha256
    """The one that the index offered last."""
    earlier: tuple[Sha256, ...] = ()
    """Those that it replaced, newest first."""
    checked: float = 0.0
    """When the index was last asked, in seconds since 1970."""

    def followed_by(self, document: Sha256, checked: float) -> Pointer:
        """The pointer after the index was asked again."""
        if document == self.document:
            return Pointer(document=document, earlier=self.earlier, checked=checked)
        earlier = (self.document, *(each for each in self.earlier if each != document))[:_MOST_EARLIER]
        return Pointer(document=document, earlier=earlier, checked=checked)

    def encoded(self) -> bytes:
        """As a record."""
        return json.dumps({"document": self.document, "earlier": self.earlier, "checked": self.checked}).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A file's evidence and the document that it comes from."""

    evidence: Evidence
    document: Sha256 | None
    """Digest of the provenance document; None where there is none."""


class Documents:
    """The documents that are remembered."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def pointers(self, files: Sequence[File]) -> dict[FileKey, Pointer]:
        """The pointers of those files that have one."""
        found = await self._records.get_many([pointer_key(file) for file in files])
        decoded = {key_of(file): _decoded(found.get(pointer_key(file))) for file in files}
        return {key: pointer for key, pointer in decoded.items() if pointer is not None}

    async def pointer(self, file: File) -> Pointer | None:
        """One file's."""
        return _decoded(await self._records.get(pointer_key(file)))

    async def point(self, file: File, pointer: Pointer) -> None:
        """Remember which documents were seen."""
        await self._records.put(pointer_key(file), pointer.encoded())

    async def stored(self, digest: Sha256) -> bytes | None:
        """A document's bytes; None where they are not here any more."""
        document = await self._records.get(document_key(digest))
        if document is None or sha256_of(document) == digest:
            return document
        telemetry.warning("record-broken", record="provenance", sha256=digest)
        await self._records.delete(document_key(digest))
        return None


def digest_of(file: File) -> Sha256:
    """The digest of a file whose evidence matters: policy withholds one without it, whatever its evidence."""
    if file.sha256 is None:
        raise RuntimeError(f"{file.filename} has no sha256, so policy withholds it and never asks for its evidence")
    return file.sha256


def key_of(file: File) -> FileKey:
    """What evidence is about."""
    return file.filename, digest_of(file)


def sha256_of(document: bytes) -> Sha256:
    """What names a document."""
    return Sha256(hashlib.sha256(document).hexdigest())


def pointer_key(file: File) -> str:
    """The record that says which documents were seen for a file."""
    return f"provenance:{file.sha256}:{file.filename}"


def document_key(digest: Sha256) -> str:
    """The record that has a document's bytes."""
    return f"document:{digest}"


def _decoded(record: bytes | None) -> Pointer | None:
    if record is None:
        return None
    try:
        content = json.loads(record)
        document = parse_sha256(content["document"])
        earlier = tuple(digest for each in content["earlier"] if (digest := parse_sha256(each)) is not None)
        if document is None:
            return None
        return Pointer(document=document, earlier=earlier[:_MOST_EARLIER], checked=float(content["checked"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
