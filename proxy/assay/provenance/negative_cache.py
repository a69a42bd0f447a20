"""What an index did not have, or had forged, since it last confirmed a page: not asked for again by the next view.

Owns these answers and for how long they are good. Good evidence is a record; a doubtful one is not, because it is
looked for again with each renewal of its page, and once for all views that judge the page then.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime

from assay.evidence import Forged
from assay.ports import Key, Page
from assay.provenance.documents import FileKey, Proof

_MOST = 10_000
"""Answers of all projects together."""

_Renewal = tuple[str, datetime, str]
"""(version, when the index confirmed it, digest of the trust roots)"""


class Doubts:
    """Doubtful answers by project, of the last renewal alone."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, tuple[_Renewal, dict[FileKey, Proof]]] = OrderedDict()
        self._count = 0

    def of(self, page: Page, roots: str) -> Mapping[FileKey, Proof]:
        """What was answered for the files of this page, as it was last renewed."""
        renewal, proofs = self._kept.get(_key(page), (None, {}))
        return proofs if renewal == _renewal(page, roots) else {}

    def keep(self, page: Page, roots: str, proofs: Mapping[FileKey, Proof]) -> None:
        """Remember which of these answers would cost another question."""
        doubtful = {
            key: proof for key, proof in proofs.items() if proof.document is None or isinstance(proof.evidence, Forged)
        }
        known = {**self.of(page, roots), **doubtful}
        self.forget(_key(page))
        if not known:
            return
        self._kept[_key(page)] = (_renewal(page, roots), known)
        self._count += len(known)
        while self._count > _MOST and len(self._kept) > 1:
            self.forget(next(iter(self._kept)))

    def forget(self, key: Key) -> None:
        """There may be other answers now."""
        _, proofs = self._kept.pop(key, (None, {}))
        self._count -= len(proofs)


def _key(page: Page) -> Key:
    return page.index.name, page.project.name


def _renewal(page: Page, roots: str) -> _Renewal:
    return page.version, page.checked, roots
