"""The provenance that a file's own index offers: where its page says, or in another index's Integrity API (PEP 740).

A provenance that the page promises and the index does not have is forged by omission. So is one that was seen before
and that neither the index nor the records have any more: evidence once recorded counts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from assay.evidence import INDEX_SOURCE, PROVENANCE_OMITTED, Evidence, Forged, Unattested
from assay.indexes import IndexSettings
from assay.ports import FetchedDocument, Upstream
from assay.provenance.documents import require_sha256
from assay.provenance.sources.base import ProjectQuery
from assay.simple.model import File, NormalizedName

_MAX_REQUESTS_PER_INDEX: Final = 24
"""Provenance requests to one index at a time: below what PyPI's front counts as abuse, enough to hide its latency."""
_MAX_RETRY_AFTER_SECONDS: Final = 60.0
"""Seconds that a document may be held back by the index's ``Retry-After``."""


class IndexSource:
    """The evidence source that is always there."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._request_slots: dict[str, asyncio.Semaphore] = {}

    @property
    def name(self) -> str:
        """The name of the index's own provenance."""
        return INDEX_SOURCE

    def covers(self, query: ProjectQuery, file: File) -> bool:
        """Return whether the file has a provenance URL, or had provenance before."""
        url = find_provenance_url(query.index, query.project, file)
        return bool(url) or require_sha256(file) in query.history.evidence

    async def fetch(self, query: ProjectQuery, file: File, ensure_may_fetch: Callable[[], None]) -> bytes | None:
        """Fetch the file's provenance document; None if the index says that there is none.

        Raises:
            UpstreamError: the index cannot answer now, or its answer is unusable.
        """
        index = query.index
        url = find_provenance_url(index, query.project, file)
        if url is None:
            return None
        slots = self._request_slots.setdefault(index.name, asyncio.Semaphore(_MAX_REQUESTS_PER_INDEX))
        async with slots:
            ensure_may_fetch()
            answer = await self._upstream.get_index(index).fetch_provenance(
                url, max_wait_seconds=_MAX_RETRY_AFTER_SECONDS
            )
        return answer.body if isinstance(answer, FetchedDocument) else None

    def judge_absence(self, query: ProjectQuery, file: File) -> Evidence:
        """Return `Unattested`, or `Forged` if the page promises a provenance or one was seen before."""
        seen = query.history.evidence.get(require_sha256(file))
        if file.provenance is None and seen is None:
            return Unattested()
        expected = "the provenance that the page promises" if file.provenance else f"the provenance {seen}, seen before"
        return Forged(step=PROVENANCE_OMITTED, expected=expected, found="none: the index answers that there is none")

    def revalidates(self, file: File) -> bool:
        """Return whether the file's page names a provenance document."""
        return bool(file.provenance)

    def can_replace(self, document: bytes) -> bool:
        """Return whether `document` is JSON: a login page, for example, replaces nothing that was proven."""
        try:
            json.loads(document)
        except (ValueError, RecursionError):
            return False
        return True


def find_provenance_url(index: IndexSettings, project: NormalizedName, file: File) -> str | None:
    """Return where the file's provenance is: where the page says, else in the index's other Integrity API."""
    if file.provenance is not None or index.provenance_from is None or file.distribution is None:
        return file.provenance
    version, filename = quote(str(file.distribution.version)), quote(file.filename, safe="")
    return f"{index.provenance_from}integrity/{project}/{version}/{filename}/provenance"
