"""METADATA that an index serves beside a file (PEP 658, PEP 714), checked against the digest on the index's page.

The documents are cached by their digest: all of them as records in storage, small ones also in memory. The functions
take an `Approved`, so that no client can get METADATA of a file that is not approved.
"""

from __future__ import annotations

import hashlib
import re

from packaging.utils import canonicalize_name

from assay import telemetry
from assay.caching.lru import Lru
from assay.errors import DigestMismatchError, FileNotListedError, InvalidResponseError, UpstreamGoneError
from assay.indexes import IndexSettings
from assay.policy.verdict import Approved
from assay.ports import FetchedDocument, RecordStore, Upstream
from assay.simple.fields import parse_version
from assay.simple.model import File, Sha256

MAX_METADATA_BYTES = 16 * 2**20
"""Maximum size of one document in bytes. The largest document on PyPI has about 1 MB."""
_MEMORY_CACHE_BYTES = 4 * 2**20
"""Maximum size of all documents in memory together, in bytes."""
_MAX_CACHED_DOCUMENT_BYTES = 128 * 2**10
"""Maximum size of one document in memory, in bytes."""
_FIELD = re.compile(rb"^(Metadata-Version|Name|Version):([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
MEMORY_MAX_AGE_SECONDS = 3600.0
"""Maximum time in seconds that a file or document stays in memory. The blob store evicts the files that were not read
for the longest time, and does not see reads from memory. Each item is therefore read from storage again at least
hourly, so that a file that is often served is not evicted."""


class IndexMetadata:
    """Cache of the METADATA documents of approved files. It fetches missing documents from the index."""

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
        """Return the METADATA that the index serves for an approved file, from the cache or the index.

        If the page gives a digest, the returned document has this digest. Without a digest, the document is not cached
        and is fetched at each call, and it has the name and version of the file.

        Raises:
            FileNotListedError: the page offers no METADATA for the file.
            DigestMismatchError: the document does not have the digest on the page. A security event is logged.
            UpstreamGoneError: the index does not have the document.
            InvalidResponseError: the document is no METADATA of the file, for example an HTML page.
            UpstreamError: the document cannot be fetched.
        """
        file, core = approved.file, approved.file.core_metadata
        if core is None:
            raise FileNotListedError(f"the index offers no metadata for {file.filename}")
        if core.sha256 is not None and (stored := await self.find_stored(core.sha256)) is not None:
            return stored
        source = self._upstream.get_index(index)
        answer = await source.fetch_metadata(_metadata_url(file.url), max_bytes=MAX_METADATA_BYTES)
        if not isinstance(answer, FetchedDocument):
            raise UpstreamGoneError(f"the index's page offers metadata for {file.filename}, but the index has none")
        if core.sha256 is None:
            # Without a digest, a part of the dependencies could be missing unnoticed.
            if not (answer.is_delimited and _is_metadata_of(answer.body, file)):
                raise InvalidResponseError(
                    f"the index's page offers metadata for {file.filename}, but the index sent something else or a part"
                )
            return answer.body
        found = hashlib.sha256(answer.body).hexdigest()
        if found != core.sha256:
            telemetry.security("metadata-digest-mismatch", filename=file.filename, expected=core.sha256, found=found)
            raise DigestMismatchError(
                f"the metadata of {file.filename} has SHA-256 {found}, but the index's page says {core.sha256}"
            )
        self._memory_cache.put(core.sha256, answer.body)
        await self._records.put(metadata_record_key(core.sha256), answer.body)
        return answer.body

    def peek(self, digest: Sha256) -> bytes | None:
        """Return the document with this digest if it is in memory, else None."""
        return self._memory_cache.get(digest)

    async def find_stored(self, digest: Sha256) -> bytes | None:
        """Return the document with this digest from memory or storage; None if neither has it.

        The document may come from an index or from a wheel. A broken record is deleted.
        """
        if (cached := self.peek(digest)) is not None:
            return cached
        stored = await self._records.get(metadata_record_key(digest))
        if stored is None:
            return None
        if hashlib.sha256(stored).hexdigest() == digest:
            self._memory_cache.put(digest, stored)
            return stored
        telemetry.warning("record-corrupt", record="metadata", sha256=digest)
        await self._records.delete(metadata_record_key(digest))
        return None


def _is_metadata_of(document: bytes, file: File) -> bool:
    """Return whether a document has the form of METADATA (core metadata specification) and describes a file."""
    head = re.split(rb"\r?\n\r?\n", document, maxsplit=1)[0]
    fields: dict[str, str] = {}
    for name, value in _FIELD.findall(head):
        fields.setdefault(name.decode().lower(), value.decode(errors="replace").strip())
    distribution = file.distribution
    if distribution is None or not {"metadata-version", "name", "version"} <= fields.keys():
        return False
    version = parse_version(fields["version"])
    return canonicalize_name(fields["name"]) == distribution.project and version == distribution.version


def metadata_record_key(digest: Sha256) -> str:
    """Return the record key of the METADATA document with this digest."""
    return f"metadata:{digest}"


def _metadata_url(url: str) -> str:
    """Return the URL of a file's METADATA: the file's URL with ``.metadata`` appended to its path (PEP 658).

    The query stays at the end, because it may contain a signature or a token.
    """
    path, question, query = url.partition("?")
    return f"{path}.metadata{question}{query}"
