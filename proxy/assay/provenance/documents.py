"""Documents as records: their bytes by digest, and for each source which ones it offered for a file.

A source may replace a document (PEP 740: provenance is mutable); the earlier ones stay, because evidence once recorded
counts. A lost or broken record costs a request.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote

from assay import telemetry
from assay.evidence import INDEX_SOURCE, Evidence
from assay.ports import RecordStore
from assay.simple.model import File, Sha256
from assay.simple.parse import parse_sha256

_MAX_EARLIER_DOCUMENTS = 4
"""Replaced documents remembered of one file; an index that replaces them all day proves nothing."""

FileKey: TypeAlias = tuple[str, Sha256]
"""(filename, digest): what an attestation's statement names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentPointer:
    """The documents that a source offered for a file."""

    document: Sha256
    """The one that it offered last."""
    earlier: tuple[Sha256, ...] = ()
    """Those that it replaced, newest first."""
    checked_at: float = 0.0
    """When the source was last asked, in seconds since 1970."""

    def advance(self, document: Sha256, checked_at: float) -> DocumentPointer:
        """Return the pointer after the source was asked again."""
        if document == self.document:
            return DocumentPointer(document=document, earlier=self.earlier, checked_at=checked_at)
        earlier = (self.document, *(each for each in self.earlier if each != document))[:_MAX_EARLIER_DOCUMENTS]
        return DocumentPointer(document=document, earlier=earlier, checked_at=checked_at)

    def encode(self) -> bytes:
        """As a record."""
        return json.dumps({"document": self.document, "earlier": self.earlier, "checked": self.checked_at}).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEvidence:
    """A file's evidence and the document that it comes from."""

    evidence: Evidence
    document: Sha256 | None
    """Digest of the document; None if there is none."""


class DocumentCache:
    """The recorded documents of one source."""

    def __init__(self, records: RecordStore, source: str = INDEX_SOURCE) -> None:
        self._records = records
        self._source = source

    async def load_pointers(self, files: Sequence[File]) -> dict[FileKey, DocumentPointer]:
        """Return the pointers of those files that have one."""
        keys = {file_key(file): pointer_key(file, self._source) for file in files}
        found = await self._records.get_many(list(keys.values()))
        decoded = {file: _decode_pointer(found.get(key)) for file, key in keys.items()}
        return {key: pointer for key, pointer in decoded.items() if pointer is not None}

    async def load_pointer(self, file: File) -> DocumentPointer | None:
        """Return the pointer of one file; None if it has none."""
        return _decode_pointer(await self._records.get(pointer_key(file, self._source)))

    async def save_pointer(self, file: File, pointer: DocumentPointer) -> None:
        """Record which documents the source offered."""
        await self._records.put(pointer_key(file, self._source), pointer.encode())

    async def load_document(self, digest: Sha256) -> bytes | None:
        """Return a document's bytes; None if they are not recorded any more."""
        document = await self._records.get(document_key(digest))
        if document is None or hash_document(document) == digest:
            return document
        telemetry.warning("record-broken", record="provenance", sha256=digest)
        await self._records.delete(document_key(digest))
        return None


def require_sha256(file: File) -> Sha256:
    """Return the digest of a file whose evidence matters: policy withholds one without it, whatever its evidence."""
    if file.sha256 is None:
        raise RuntimeError(f"{file.filename} has no sha256, so policy withholds it and never asks for its evidence")
    return file.sha256


def file_key(file: File) -> FileKey:
    """Return what evidence is about."""
    return file.filename, require_sha256(file)


def hash_document(document: bytes) -> Sha256:
    """Return the digest that names a document."""
    return Sha256(hashlib.sha256(document).hexdigest())


def pointer_key(file: File, source: str = INDEX_SOURCE) -> str:
    """Return the key of the record that says which documents a source offered for a file."""
    kind = "provenance" if source == INDEX_SOURCE else f"provenance@{quote(source, safe='')}"
    return f"{kind}:{file.sha256}:{file.filename}"


def document_key(digest: Sha256) -> str:
    """Return the key of the record that has a document's bytes: the same for all sources, since the digest names it."""
    return f"document:{digest}"


def _decode_pointer(record: bytes | None) -> DocumentPointer | None:
    if record is None:
        return None
    try:
        content = json.loads(record)
        document = parse_sha256(content["document"])
        earlier = tuple(digest for each in content["earlier"] if (digest := parse_sha256(each)) is not None)
        if document is None:
            return None
        return DocumentPointer(
            document=document, earlier=earlier[:_MAX_EARLIER_DOCUMENTS], checked_at=float(content["checked"])
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
