"""Evidence source for the provenance that a file's own index offers (PEP 740).

The document is fetched from the URL on the project's page. If the page has no URL for a file and `provenance-from` is
configured, the document is fetched from the Integrity API of another index. If no document exists, the evidence about
the file is `Forged` in two cases, and otherwise `Unattested` or `Unstated`:

- The page promises a document by a URL.
- A document was seen before, but neither the index nor the records have it now. Evidence that was once recorded still
  counts, so it must not disappear.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from assay.errors import InvalidResponseError
from assay.evidence import INDEX_SOURCE, PROVENANCE_OMITTED, Evidence, Forged, Unattested, Unstated
from assay.indexes import IndexSettings
from assay.ports import DocumentFormat, FetchedDocument, Upstream
from assay.provenance.documents import require_sha256
from assay.provenance.sources.base import ProjectQuery
from assay.simple.model import File, NormalizedName

_MAX_REQUESTS_PER_INDEX: Final = 24
"""Maximum number of concurrent provenance requests to one index. More requests could exceed PyPI's rate limit. With
much fewer, the documents of a page would take longer, because each request waits for a response."""
_MAX_RETRY_AFTER_SECONDS: Final = 60.0
"""Maximum delay in seconds that ``Retry-After`` may cause. If the index asks for a longer delay, the request fails."""


class IndexSource:
    """Evidence source for the index's own provenance. It always exists."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._request_slots: dict[str, asyncio.Semaphore] = {}

    @property
    def name(self) -> str:
        """The name `INDEX_SOURCE`."""
        return INDEX_SOURCE

    @property
    def document_format(self) -> DocumentFormat:
        """Provenance documents (PEP 740)."""
        return DocumentFormat.PROVENANCE

    @property
    def lifetimes(self) -> None:
        """None, because the renewals of pages and revalidation decide when a document is requested again."""
        return None

    def covers(self, query: ProjectQuery, file: File) -> bool:
        """Return whether the file has a provenance URL, or the ledger has the digest of a document for it."""
        url = find_provenance_url(query.index, query.project, file)
        return bool(url) or require_sha256(file) in query.history.evidence

    async def fetch(self, query: ProjectQuery, file: File, ensure_may_fetch: Callable[[], None]) -> bytes | None:
        """Fetch the file's provenance document; return None if no provenance URL or no document exists.

        Raises:
            UpstreamError: the index cannot answer now, or its response is unusable.
        """
        index = query.index
        url = find_provenance_url(index, query.project, file)
        if url is None:
            return None
        slots = self._request_slots.get(index.name)
        if slots is None:
            slots = self._request_slots[index.name] = asyncio.Semaphore(_MAX_REQUESTS_PER_INDEX)
        async with slots:
            ensure_may_fetch()
            answer = await self._upstream.get_index(index).fetch_provenance(
                url, max_wait_seconds=_MAX_RETRY_AFTER_SECONDS
            )
        if not isinstance(answer, FetchedDocument):
            return None
        if not is_provenance_document(answer.body):
            kind = answer.content_type.partition(";")[0].strip()[:100] or "no stated type"
            raise InvalidResponseError(f"answered 200 with {len(answer.body)} bytes of {kind}")
        return answer.body

    def judge_absence(self, query: ProjectQuery, file: File) -> Evidence:
        """Return `Forged` if the page promises a document or a document was seen before.

        Otherwise return `Unattested`, or `Unstated` if neither the page nor `provenance-from` says that no document
        exists.
        """
        seen = query.history.evidence.get(require_sha256(file))
        if file.provenance is None and seen is None:
            if not query.states_provenance and query.index.provenance_from is None:
                return Unstated(index=query.index.name)
            return Unattested()
        expected = (
            "the provenance document that the index's page promises"
            if file.provenance
            else f"a provenance document, because the index served one before (SHA-256 {seen})"
        )
        return Forged(step=PROVENANCE_OMITTED, expected=expected, found="no document: the index does not have one")

    def revalidates(self, file: File) -> bool:
        """Return whether the file's page has a provenance URL for it."""
        return bool(file.provenance)

    def can_replace(self, document: bytes) -> bool:
        """Return whether `document` has the form of a provenance document, unlike a login page, for example."""
        return is_provenance_document(document)


def is_provenance_document(body: bytes) -> bool:
    """Return whether `body` looks like a provenance document (PEP 740): a JSON object with attestation bundles.

    This check only detects other pages that a server sends instead, such as a login page. Verification checks the
    document.
    """
    return body.lstrip()[:1] == b"{" and b'"attestation_bundles"' in body


def find_provenance_url(index: IndexSettings, project: NormalizedName, file: File) -> str | None:
    """Return the URL of the file's provenance; None if the file has no such URL.

    The URL comes from the page. If the page has no URL for the file, and `provenance-from` names an Integrity API,
    return the file's URL at that API.
    """
    if file.provenance is not None or index.provenance_from is None or file.distribution is None:
        return file.provenance
    version, filename = quote(str(file.distribution.version)), quote(file.filename, safe="")
    return f"{index.provenance_from}integrity/{project}/{version}/{filename}/provenance"
