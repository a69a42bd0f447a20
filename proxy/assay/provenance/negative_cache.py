"""Negative cache: provenance that was missing or forged at its page's last renewal; shared by all views.

Owns these answers and how long they are valid. Good evidence is recorded; missing or forged evidence is not, because it
is fetched again with each renewal of its page, once for all views that judge the page then.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from assay.caching.lru import Lru
from assay.evidence import Forged
from assay.ports import IndexPage, ProjectKey
from assay.provenance.documents import FileEvidence, FileKey

_MAX_ANSWERS = 10_000
"""Answers of all projects together."""

_PageRevision = tuple[str, datetime, str]
"""(version, when the index confirmed it, digest of the trust roots)"""
_Answers = tuple[_PageRevision, Mapping[FileKey, FileEvidence]]


class NegativeCache:
    """Missing and forged evidence by project, of the last renewal only."""

    def __init__(self) -> None:
        self._answers = Lru[ProjectKey, _Answers](max_weight=_MAX_ANSWERS, weigh=lambda answers: len(answers[1]))

    def get(self, page: IndexPage, roots_digest: str) -> Mapping[FileKey, FileEvidence]:
        """Return the answers for files of this page since it was last renewed."""
        renewal, proofs = self._answers.get(_page_key(page)) or (None, {})
        return proofs if renewal == _page_revision(page, roots_digest) else {}

    def put(self, page: IndexPage, roots_digest: str, file_evidence: Mapping[FileKey, FileEvidence]) -> None:
        """Keep those of these answers that are missing or forged evidence."""
        doubtful = {
            key: proof
            for key, proof in file_evidence.items()
            if proof.document is None or isinstance(proof.evidence, Forged)
        }
        known = {**self.get(page, roots_digest), **doubtful}
        if known:
            self._answers.put(_page_key(page), (_page_revision(page, roots_digest), known))
        else:
            self.invalidate(_page_key(page))

    def invalidate(self, key: ProjectKey) -> None:
        """Drop the answers for a project."""
        self._answers.pop(key)


def _page_key(page: IndexPage) -> ProjectKey:
    return page.index.name, page.project.name


def _page_revision(page: IndexPage, roots_digest: str) -> _PageRevision:
    return page.content_digest, page.confirmed_at, roots_digest
