"""Negative cache of provenance that was missing or forged when its page was last renewed. All views share it.

Valid evidence is recorded on disk and needs no such cache. Missing or forged provenance is fetched again after each
renewal of its page. The negative cache ensures that it is fetched once, although several views judge the renewed page.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from assay.caching.lru import Lru
from assay.evidence import Forged
from assay.ports import IndexPage, ProjectKey
from assay.provenance.documents import FileEvidence, FileKey

_MAX_ANSWERS = 10_000
"""Maximum number of files with cached evidence, for all projects together."""

_PageRevision = tuple[str, datetime, str, int]
"""Digest of the page's content, time of the page's last renewal, digest of the trust roots, and version of the ledger's
facts."""
_Answers = tuple[_PageRevision, Mapping[FileKey, FileEvidence]]


class NegativeCache:
    """Cache of missing and forged evidence by project. An entry is valid until the project's page is renewed."""

    def __init__(self) -> None:
        self._answers = Lru[ProjectKey, _Answers](max_weight=_MAX_ANSWERS, weigh=lambda answers: len(answers[1]))

    def get(self, page: IndexPage, roots_digest: str, *, ledger_version: int = 0) -> Mapping[FileKey, FileEvidence]:
        """Return the cached evidence by file.

        Return nothing if the page or the trust roots have been renewed since `put`, or if facts were forgotten.
        """
        renewal, proofs = self._answers.get(_page_key(page)) or (None, {})
        return proofs if renewal == (*_page_revision(page, roots_digest), ledger_version) else {}

    def put(
        self,
        page: IndexPage,
        roots_digest: str,
        file_evidence: Mapping[FileKey, FileEvidence],
        *,
        ledger_version: int = 0,
    ) -> None:
        """Add the missing and forged evidence in `file_evidence` to the cache, and ignore other evidence."""
        doubtful = {
            key: proof
            for key, proof in file_evidence.items()
            if proof.document is None or isinstance(proof.evidence, Forged)
        }
        known = {**self.get(page, roots_digest, ledger_version=ledger_version), **doubtful}
        if known:
            self._answers.put(_page_key(page), ((*_page_revision(page, roots_digest), ledger_version), known))
        else:
            self.invalidate(_page_key(page))

    def invalidate(self, key: ProjectKey) -> None:
        """Remove the cached evidence of a project."""
        self._answers.pop(key)


def _page_key(page: IndexPage) -> ProjectKey:
    return page.index.name, page.project.name


def _page_revision(page: IndexPage, roots_digest: str) -> tuple[str, datetime, str]:
    return page.content_digest, page.confirmed_at, roots_digest
