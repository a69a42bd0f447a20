"""PyPI's words for the provenance of a release, with their meanings. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from assay.publishers.release_provenance import ProvenanceWord
from assay.web.ui.markup import Markup, element, join_separated

WORD_MEANINGS: Final[Mapping[ProvenanceWord, str]] = {
    ProvenanceWord.NO: "no file of the release has a valid attestation",
    ProvenanceWord.FULL: "all files of the release are attested",
    ProvenanceWord.PARTIAL: "some files of the release are attested, others are not",
    ProvenanceWord.INCONSISTENT: "the files come from several publishers or workflows",
    ProvenanceWord.LOST: "no file is attested, but a file of an earlier release is",
    ProvenanceWord.CHANGED: "the publisher or workflow is not that of the attested release before",
}


def render_words(words: Sequence[ProvenanceWord]) -> Markup:
    """Return PyPI's words for the provenance of a release, each with its meaning as a tooltip."""
    if not words:
        return element("span", "unknown", class_="soft", title="too little of the release was examined")
    return join_separated((element("span", word.value, title=WORD_MEANINGS[word]) for word in words), ", ")
