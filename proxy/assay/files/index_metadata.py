"""The METADATA that an index serves beside a file (PEP 658/714), checked against the digest on its page.

Owns these documents by their digest: as records, and in memory what is asked for again and again. Serves nothing for a
file that is not `Approved`.
"""

from __future__ import annotations

import hashlib

from assay import telemetry
from assay.caching.lru import Held
from assay.errors import DigestMismatchError, FileNotListedError, UpstreamGoneError
from assay.indexes import IndexSettings
from assay.policy.verdict import Approved
from assay.ports import Records
from assay.simple.model import Sha256
from assay.upstream.client import Fetched, Upstream

MOST = 16 * 2**20
"""Bytes; the largest on PyPI has about 1 MB."""
_HELD = 4 * 2**20
"""Bytes of all documents in memory."""
_LARGEST_HELD = 128 * 2**10


class Metadata:
    """METADATA documents of approved files."""

    def __init__(self, *, upstream: Upstream, records: Records) -> None:
        self._upstream = upstream
        self._records = records
        self._held = Held(_HELD, _LARGEST_HELD)

    async def of(self, approved: Approved, index: IndexSettings) -> bytes:
        """The document, with the digest that the page gives where it gives one.

        Raises:
            FileNotListedError: the page offers none.
            DigestMismatchError: the index's bytes are not those of its page: a security event.
            UpstreamError: it cannot be had.
        """
        file, core = approved.file, approved.file.core_metadata
        if core is None:
            raise FileNotListedError(f"the index offers no metadata for {file.filename}")
        if core.sha256 is not None and (kept := await self.kept(core.sha256)) is not None:
            return kept
        answer = await self._upstream.document(index, _address(file.url), accept="*/*", limit=MOST)
        if not isinstance(answer, Fetched):
            raise UpstreamGoneError(f"the index promises metadata for {file.filename} and does not have it")
        if core.sha256 is None:
            return answer.body
        found = hashlib.sha256(answer.body).hexdigest()
        if found != core.sha256:
            telemetry.security("metadata-digest-mismatch", filename=file.filename, expected=core.sha256, found=found)
            raise DigestMismatchError(
                f"the metadata of {file.filename} has SHA-256 {found}, the index's page says {core.sha256}"
            )
        self._held.put(core.sha256, answer.body)
        await self._records.put(record_of(core.sha256), answer.body)
        return answer.body

    def held(self, digest: Sha256) -> bytes | None:
        """The document of a digest, if it is in memory."""
        return self._held.get(digest)

    async def kept(self, digest: Sha256) -> bytes | None:
        """The document of a digest, wherever it came from; None where it is not here."""
        if (held := self.held(digest)) is not None:
            return held
        kept = await self._records.get(record_of(digest))
        if kept is None:
            return None
        if hashlib.sha256(kept).hexdigest() == digest:
            self._held.put(digest, kept)
            return kept
        telemetry.warning("record-broken", record="metadata", sha256=digest)
        await self._records.delete(record_of(digest))
        return None


def record_of(digest: Sha256) -> str:
    """Where a document is."""
    return f"metadata:{digest}"


def _address(url: str) -> str:
    """PEP 658: the file's URL with ``.metadata`` behind its path; a query (a signature, a token) stays where it was."""
    path, question, query = url.partition("?")
    return f"{path}.metadata{question}{query}"
