"""The METADATA that an index serves beside a file (PEP 658/714), checked against the digest on its page.

Owns these documents by their digest: as records, and in memory what is asked for again and again. Serves nothing for a
file that is not `Approved`.
"""

from __future__ import annotations

import hashlib

from assay import telemetry
from assay.caching.lru import Lru
from assay.errors import DigestMismatchError, FileNotListedError, UpstreamGoneError
from assay.indexes import IndexSettings
from assay.policy.verdict import Approved
from assay.ports import FetchedDocument, RecordStore, Upstream
from assay.simple.model import Sha256

MAX_METADATA_BYTES = 16 * 2**20
"""Bytes; the largest on PyPI has about 1 MB."""
_MEMORY_CACHE_BYTES = 4 * 2**20
"""Bytes of all documents in memory."""
_MAX_CACHED_DOCUMENT_BYTES = 128 * 2**10
MEMORY_MAX_AGE_SECONDS = 3600.0
"""Seconds in memory. A store evicts what was not read for longest and marks what is read at most hourly, so that what
is in memory is read from the store again now and then."""


class IndexMetadata:
    """METADATA documents of approved files."""

    def __init__(self, *, upstream: Upstream, records: RecordStore) -> None:
        self._upstream = upstream
        self._records = records
        self._memory_cache = Lru[Sha256, bytes](
            max_weight=_MEMORY_CACHE_BYTES,
            max_item_weight=_MAX_CACHED_DOCUMENT_BYTES,
            weigh=len,
            max_age_seconds=MEMORY_MAX_AGE_SECONDS,
        )

    async def get_document(self, approved: Approved, index: IndexSettings) -> bytes:
        """The document, with the digest that the page gives where it gives one.

        Raises:
            FileNotListedError: the page offers none.
            DigestMismatchError: the index's bytes are not those of its page: a security event.
            UpstreamError: it cannot be had.
        """
        file, core = approved.file, approved.file.core_metadata
        if core is None:
            raise FileNotListedError(f"the index offers no metadata for {file.filename}")
        if core.sha256 is not None and (kept := await self.find_stored(core.sha256)) is not None:
            return kept
        source = self._upstream.get_index(index)
        answer = await source.fetch_metadata(_metadata_url(file.url), max_bytes=MAX_METADATA_BYTES)
        if not isinstance(answer, FetchedDocument):
            raise UpstreamGoneError(f"the index promises metadata for {file.filename} and does not have it")
        if core.sha256 is None:
            return answer.body
        found = hashlib.sha256(answer.body).hexdigest()
        if found != core.sha256:
            telemetry.security("metadata-digest-mismatch", filename=file.filename, expected=core.sha256, found=found)
            raise DigestMismatchError(
                f"the metadata of {file.filename} has SHA-256 {found}, the index's page says {core.sha256}"
            )
        self._memory_cache.put(core.sha256, answer.body)
        await self._records.put(metadata_record_key(core.sha256), answer.body)
        return answer.body

    def peek(self, digest: Sha256) -> bytes | None:
        """The document of a digest, if it is in memory."""
        return self._memory_cache.get(digest)

    async def find_stored(self, digest: Sha256) -> bytes | None:
        """The document of a digest, wherever it came from; None where it is not here."""
        if (held := self.peek(digest)) is not None:
            return held
        kept = await self._records.get(metadata_record_key(digest))
        if kept is None:
            return None
        if hashlib.sha256(kept).hexdigest() == digest:
            self._memory_cache.put(digest, kept)
            return kept
        telemetry.warning("record-broken", record="metadata", sha256=digest)
        await self._records.delete(metadata_record_key(digest))
        return None


def metadata_record_key(digest: Sha256) -> str:
    """Where a document is."""
    return f"metadata:{digest}"


def _metadata_url(url: str) -> str:
    """PEP 658: the file's URL with ``.metadata`` behind its path; a query (a signature, a token) stays where it was."""
    path, question, query = url.partition("?")
    return f"{path}.metadata{question}{query}"
