"""What an index did not have, or had forged, since it last confirmed a page: not asked for again by the next view.

Owns these answers and for how long they are good. Good evidence is a record; a doubtful one is not, because it is
looked for again with each renewal of its page, and once for all views that judge the page then.
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
    """Doubtful answers by project, of the last renewal alone."""

    def __init__(self) -> None:
        self._answers = Lru[ProjectKey, _Answers](max_weight=_MAX_ANSWERS, weigh=lambda answers: len(answers[1]))

    def get(self, page: IndexPage, roots_digest: str) -> Mapping[FileKey, FileEvidence]:
        """What was answered for the files of this page, as it was last renewed."""
        renewal, proofs = self._answers.get(_page_key(page)) or (None, {})
        return proofs if renewal == _page_revision(page, roots_digest) else {}

    def put(self, page: IndexPage, roots_digest: str, file_evidence: Mapping[FileKey, FileEvidence]) -> None:
        """Remember which of these answers would cost another question."""
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
        """There may be other answers now."""
        self._answers.pop(key)


def _page_key(page: IndexPage) -> ProjectKey:
    return page.index.name, page.project.name


def _page_revision(page: IndexPage, roots_digest: str) -> _PageRevision:
    return page.content_digest, page.confirmed_at, roots_digest
