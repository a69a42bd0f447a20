"""Verified attestations about a file, found by the file's digest, for programs that verify them again."""

from __future__ import annotations

from assay.errors import FileNotListedError, ProjectNotFoundError
from assay.gate.gate import Gate, WithheldError, require_decision
from assay.gate.judged_page import JudgedPage
from assay.policy.verdict import Approved, Undecided, Withheld
from assay.provenance.known_bundles import KnownBundle
from assay.simple.model import NormalizedName


async def find_attestations(
    gate: Gate, sha256: str, project: NormalizedName | None
) -> tuple[Approved, tuple[KnownBundle, ...]]:
    """Return the approval of a file, and all verified bundles about it from the recorded documents of all sources.

    Args:
        gate: gate of the view.
        sha256: digest of the file.
        project: project of the file; None to look for the digest on the judged pages in memory.

    Raises:
        WithheldError: the file is withheld, so its attestations are withheld too.
        FileNotListedError: no page lists a file with this digest.
        AssayError: the page, a source or verification is not available now.
    """
    name = project or _find_project(gate, sha256)
    if name is None:
        raise FileNotListedError(f"no page in memory lists a file with the SHA-256 {sha256}; add ?project=NAME")
    judged, approved = await _require_approved(gate, name, sha256)
    bundles = await gate.resources.provenance.resolver.find_bundles(
        judged.page.index, approved.file, judged.sources, await gate.get_history(judged)
    )
    # The verdict may have changed while documents were read.
    return (await _require_approved(gate, name, sha256))[1], bundles


def _find_project(gate: Gate, sha256: str) -> NormalizedName | None:
    """Return a project whose judged page in memory lists a digest, best one that is approved; None without one."""
    found = None
    for judged in gate.list_cached_pages():
        for verdict in judged.by_location.values():
            if verdict.file.sha256 == sha256:
                if not isinstance(verdict, Withheld):
                    return judged.page.project.name
                found = judged.page.project.name
    return found


async def _require_approved(gate: Gate, name: NormalizedName, sha256: str) -> tuple[JudgedPage, Approved]:
    """Return the judged page of a project, and the approval of its file with a digest.

    Raises:
        WithheldError: all files with this digest are withheld.
        FileNotListedError: the page lists no such file.
        EvidencePendingError: the provenance of the file is still being fetched for the first time.
        EvidenceUnavailableError: the last try to fetch the provenance of the file failed.
        AssayError: the page cannot be fetched or judged now.
    """
    try:
        judged = await gate.get_page(name)
    except ProjectNotFoundError as error:
        raise FileNotListedError(f"{name} does not exist") from error
    same = [verdict for verdict in judged.by_location.values() if verdict.file.sha256 == sha256]
    if not same:
        raise FileNotListedError(f"the page of {name} lists no file with the SHA-256 {sha256}")
    if (approved := next((each for each in same if isinstance(each, Approved)), None)) is not None:
        return judged, approved
    # An undecided file is listed, so its error comes before the refusal of a withheld one.
    first = next((each for each in same if isinstance(each, Undecided)), same[0])
    if isinstance(decided := require_decision(judged, first), Withheld):
        raise WithheldError(decided)
    return judged, decided
