"""Records of provenance documents: the bytes by digest, and for each file the documents that a source offered.

A source may replace a document (PEP 740: provenance is mutable). The record of a replaced document is kept, because its
evidence still counts. A lost or broken record costs one request.
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
"""Maximum number of replaced documents that are recorded for one file. An index could replace documents all the
time."""

FileKey: TypeAlias = tuple[str, Sha256]
"""Filename and SHA-256, as in the subject of an attestation's statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentPointer:
    """Record of the documents that one source offered for one file, by digest."""

    document: Sha256
    """Digest of the latest document."""
    earlier: tuple[Sha256, ...] = ()
    """Digests of the replaced documents, newest first."""
    checked_at: float = 0.0
    """Time of the last request to the source, in seconds since 1970."""

    def advance(self, document: Sha256, checked_at: float) -> DocumentPointer:
        """Return a new pointer whose latest document is `document`, last requested at `checked_at`."""
        if document == self.document:
            return DocumentPointer(document=document, earlier=self.earlier, checked_at=checked_at)
        earlier = (self.document, *(each for each in self.earlier if each != document))[:_MAX_EARLIER_DOCUMENTS]
        return DocumentPointer(document=document, earlier=earlier, checked_at=checked_at)

    def encode(self) -> bytes:
        """Return the pointer as a JSON record."""
        return json.dumps({"document": self.document, "earlier": self.earlier, "checked": self.checked_at}).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEvidence:
    """Evidence about a file, with the digest of the document that it comes from."""

    evidence: Evidence
    document: Sha256 | None
    """Digest of the document; None if the file has no document."""


class DocumentCache:
    """Cache of the documents of one source, in the record store."""

    def __init__(self, records: RecordStore, source: str = INDEX_SOURCE) -> None:
        self._records = records
        self._source = source

    async def load_pointers(self, files: Sequence[File]) -> dict[FileKey, DocumentPointer]:
        """Return the recorded pointers, by file. Files without a valid pointer are left out."""
        keys = {file_key(file): pointer_key(file, self._source) for file in files}
        found = await self._records.get_many(list(keys.values()))
        decoded = {file: _decode_pointer(found.get(key)) for file, key in keys.items()}
        return {key: pointer for key, pointer in decoded.items() if pointer is not None}

    async def load_pointer(self, file: File) -> DocumentPointer | None:
        """Return the recorded pointer of a file; None if no valid pointer is recorded."""
        return _decode_pointer(await self._records.get(pointer_key(file, self._source)))

    async def save_pointer(self, file: File, pointer: DocumentPointer) -> None:
        """Record the pointer of a file."""
        await self._records.put(pointer_key(file, self._source), pointer.encode())

    async def load_document(self, digest: Sha256) -> bytes | None:
        """Return the recorded bytes of a document; None if they are missing or do not match `digest`."""
        document = await self._records.get(document_key(digest))
        if document is None or hash_document(document) == digest:
            return document
        telemetry.warning("record-corrupt", record="provenance", sha256=digest)
        await self._records.delete(document_key(digest))
        return None


def require_sha256(file: File) -> Sha256:
    """Return the digest of a file for which evidence is requested.

    Raises:
        RuntimeError: the file has no digest. This is a programming error, because policy withholds such a file and
            never requests evidence for it.
    """
    if file.sha256 is None:
        raise RuntimeError(f"{file.filename} has no sha256, so its evidence must not be requested")
    return file.sha256


def file_key(file: File) -> FileKey:
    """Return the file's key for evidence: its filename and digest.

    Raises:
        RuntimeError: the file has no digest (see `require_sha256`).
    """
    # Called many times for each file of a page.
    return file.filename, file.sha256 or require_sha256(file)


def hash_document(document: bytes) -> Sha256:
    """Return the SHA-256 of a document, under which its bytes are recorded."""
    return Sha256(hashlib.sha256(document).hexdigest())


def pointer_key(file: File, source: str = INDEX_SOURCE) -> str:
    """Return the record key of a file's `DocumentPointer` for one source."""
    kind = "provenance" if source == INDEX_SOURCE else f"provenance@{quote(source, safe='')}"
    return f"{kind}:{file.sha256}:{file.filename}"


def document_key(digest: Sha256) -> str:
    """Return the record key of a document's bytes. It contains only the digest, so it is the same for all sources."""
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
