"""What an index did not have, or had forged, since it last confirmed a page: not asked for again by the next view.

Owns these answers and for how long they are good. Good evidence is a record; a doubtful one is not, because it is
looked for again with each renewal of its page, and once for all views that judge the page then.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime

from assay.evidence import Forged
from assay.ports import IndexPage, ProjectKey
from assay.provenance.documents import FileEvidence, FileKey

_MAX_ANSWERS = 10_000
"""Answers of all projects together."""

_PageRevision = tuple[str, datetime, str]
"""(version, when the index confirmed it, digest of the trust roots)"""


class NegativeCache:
    """Doubtful answers by project, of the last renewal alone."""

    def __init__(self) -> None:
        self._entries: OrderedDict[ProjectKey, tuple[_PageRevision, dict[FileKey, FileEvidence]]] = OrderedDict()
        self._count = 0

    def get(self, page: IndexPage, roots_digest: str) -> Mapping[FileKey, FileEvidence]:
        """What was answered for the files of this page, as it was last renewed."""
        renewal, proofs = self._entries.get(_page_key(page), (None, {}))
        return proofs if renewal == _page_revision(page, roots_digest) else {}

    def put(self, page: IndexPage, roots_digest: str, file_evidence: Mapping[FileKey, FileEvidence]) -> None:
        """Remember which of these answers would cost another question."""
        doubtful = {
            key: proof
            for key, proof in file_evidence.items()
            if proof.document is None or isinstance(proof.evidence, Forged)
        }
        known = {**self.get(page, roots_digest), **doubtful}
        self.invalidate(_page_key(page))
        if not known:
            return
        self._entries[_page_key(page)] = (_page_revision(page, roots_digest), known)
        self._count += len(known)
        while self._count > _MAX_ANSWERS and len(self._entries) > 1:
            self.invalidate(next(iter(self._entries)))

    def invalidate(self, key: ProjectKey) -> None:
        """There may be other answers now."""
        _, proofs = self._entries.pop(key, (None, {}))
        self._count -= len(proofs)


def _page_key(page: IndexPage) -> ProjectKey:
    return page.index.name, page.project.name


def _page_revision(page: IndexPage, roots_digest: str) -> _PageRevision:
    return page.content_digest, page.confirmed_at, roots_digest
