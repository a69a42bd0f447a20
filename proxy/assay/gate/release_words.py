"""Provenance of the releases on a judged page, in PyPI's six words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from packaging.version import Version

from assay.gate.judged_page import JudgedPage
from assay.policy.verdict import Approved, Withheld
from assay.publishers.release_provenance import (
    ReleaseFile,
    ReleaseProvenance,
    classify_releases,
    get_publication_time,
)
from assay.simple.model import File


def classify_page(judged: JudgedPage) -> Mapping[Version, ReleaseProvenance]:
    """Return the provenance of each release on a page, the earliest release first.

    The time is proportional to the number of files. Files without a valid filename belong to no release.
    """
    return classify_releases(_list_files(judged.verdicts, judged.listing.undecided))


def _list_files(verdicts: Iterable[Approved | Withheld], undecided: Iterable[File]) -> Iterator[ReleaseFile]:
    for verdict in verdicts:
        file, evidence = verdict.file, verdict.evidence
        if file.distribution is not None:
            time = get_publication_time(evidence, file.upload_time)
            yield ReleaseFile(version=file.distribution.version, time=time, evidence=evidence)
    for file in undecided:
        if file.distribution is not None:
            yield ReleaseFile(version=file.distribution.version, time=file.upload_time, evidence=None)
