"""The page of a project: every version and file, the verdict, who published it, and why. Pure.

What is shown of a publisher comes from the verified certificate and log, and only that makes links; what an index says
(times, sizes, yanks) is said to be the index's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from packaging.version import Version

from assay.evidence import Attestation, Attested, Claims, Forged, PublisherKind, Unverifiable
from assay.policy.language.publishers import describe_claims
from assay.policy.language.times import show
from assay.policy.reasons import reasons_json
from assay.policy.verdict import Approved, Code, Withheld
from assay.simple.model import File, ProjectStatus
from assay.units import format_size
from assay.web.ui.layout import facts, page, reason_told
from assay.web.ui.markup import Child, Markup, element, joined, linked, when, words
from assay.web.ui.timeline import legend, marks_of, publisher_of, timeline

VERSIONS: Final = 30
"""On one page."""
_FILES: Final = 200
"""Of one version that are shown."""
_ATTESTATIONS: Final = 8
_OTHER: Final = "files of no version"
_BADGES: Final = {
    "withheld": "✗ withheld",
    "lifted": "✓ approved, with reasons lifted",
    "approved": "✓ approved",
}

Verdict = Approved | Withheld


def project_page(
    name: str,
    verdicts: Sequence[Verdict],
    *,
    index: str,
    reserved: str | None = None,
    status: ProjectStatus | None,
    stale_since: datetime | None,
    number: int,
    now: datetime,
) -> bytes:
    """The page, UTF-8.

    Args:
        name: of the project.
        verdicts: all of its files'.
        index: whose it is.
        reserved: why there is nothing at all: a name that the index owns and does not have.
        status: as the index says (PEP 792).
        stale_since: when the index was last asked, if it cannot be asked now.
        number: which `VERSIONS` of the versions, from 1, newest first.
        now: when.
    """
    groups = _by_version(verdicts)
    approved = sum(isinstance(verdict, Approved) for verdict in verdicts)
    last = max(1, -(-len(groups) // VERSIONS))
    number = min(number, last)
    shown = groups[(number - 1) * VERSIONS : number * VERSIONS]
    stale = "" if stale_since is None else f"The index cannot be asked now; this is as of {show(stale_since)}."
    return page(
        name,
        element("h1", name),
        when(stale, element("p", stale, class_="note")),
        element("p", f"{approved} files approved, {len(verdicts) - approved} withheld; from the index {index}."),
        _status(status),
        element("h2", "Who published it"),
        _picture(verdicts),
        element("h2", "Versions"),
        when(not groups, element("p", reserved or "The index lists no files of this project.")),
        _pages(name, number, last),
        *(_version(version, files, opened=position == 0) for position, (version, files) in enumerate(shown)),
        _pages(name, number, last),
        element(
            "p", f"Judged at {show(now)}. The same verdicts hold for pip, uv and every other client.", class_="soft"
        ),
        root="../",
        searched=name,
    )


def _by_version(verdicts: Iterable[Verdict]) -> list[tuple[Version | None, list[Verdict]]]:
    """Newest version first; what has none at the end."""
    found: dict[Version | None, list[Verdict]] = {}
    for verdict in verdicts:
        distribution = verdict.file.distribution
        found.setdefault(distribution.version if distribution is not None else None, []).append(verdict)
    nameless = found.pop(None, None)
    versions: list[tuple[Version | None, list[Verdict]]] = [
        (version, found[version]) for version in sorted((each for each in found if each is not None), reverse=True)
    ]
    return versions if nameless is None else [*versions, (None, nameless)]


def _status(status: ProjectStatus | None) -> Markup:
    if status is None or status.status == "active":
        return Markup()
    because = f": {status.reason}" if status.reason else "."
    return element("p", f"The index says that this project is {status.status}{because}", class_="note")


def _picture(verdicts: Sequence[Verdict]) -> Markup:
    marks = marks_of(verdicts)
    if not marks:
        return element("p", "No file says when it was published.")
    return joined((timeline(marks), legend(marks)))


def _pages(name: str, number: int, last: int) -> Markup:
    if last == 1:
        return Markup()
    links = (
        element("a", "newer versions", href=f"{name}?page={number - 1}") if number > 1 else None,
        f"page {number} of {last}",
        element("a", "older versions", href=f"{name}?page={number + 1}") if number < last else None,
    )
    return element("p", words(links, " · "))


def _version(version: Version | None, verdicts: Sequence[Verdict], *, opened: bool) -> Markup:
    title = _OTHER if version is None else str(version)
    withheld = sum(isinstance(verdict, Withheld) for verdict in verdicts)
    state = f"{withheld} of {len(verdicts)} withheld" if withheld else ""
    hidden = len(verdicts) - _FILES
    return element(
        "section",
        element("h3", title, " ", element("span", state, class_="withheld") if state else None),
        *(_file(verdict, opened=opened or isinstance(verdict, Withheld)) for verdict in verdicts[:_FILES]),
        when(hidden > 0, element("p", f"and {hidden} more files, which assay explain shows")),
        aria_label=f"Version {title}",
    )


def _file(verdict: Verdict, *, opened: bool) -> Markup:
    file = verdict.file
    return element(
        "details",
        element("summary", _badge(verdict), " ", element("code", file.filename), " ", _by(verdict)),
        _reasons(verdict),
        facts(
            [
                ("rule", verdict.rule or "none governs"),
                ("SHA-256", element("code", file.sha256) if file.sha256 else "none given"),
                ("the index says", _claimed(file)),
            ]
        ),
        _evidence(verdict),
        class_=_standing(verdict),
        open="" if opened else None,
    )


def _standing(verdict: Verdict) -> str:
    if isinstance(verdict, Withheld):
        return "withheld"
    return "lifted" if verdict.despite else "approved"


def _badge(verdict: Verdict) -> Markup:
    return element("span", _BADGES[_standing(verdict)], class_=f"badge {_standing(verdict)}")


def _by(verdict: Verdict) -> Markup:
    return element("span", f"· {publisher_of(verdict.evidence)}", class_="soft")


def _reasons(verdict: Verdict) -> Markup:
    if isinstance(verdict, Withheld):
        return element("ul", *(element("li", reason_told(reason)) for reason in reasons_json(verdict)))
    lifted = [joined(("despite ", element("strong", each.code.value), f": {each.message}")) for each in verdict.despite]
    said: list[Child] = [*lifted, *verdict.notes]
    return when(said, element("ul", *(element("li", each) for each in said)))


def _claimed(file: File) -> Markup:
    said: list[Child] = [
        f"uploaded {show(file.upload_time)}" if file.upload_time else None,
        format_size(file.size) if file.size is not None else None,
        f"needs Python {file.requires_python}" if file.requires_python else None,
        None if file.yanked is None else f"yanked{': ' + file.yanked if file.yanked else ''}",
    ]
    return words(said, "; ")


def _evidence(verdict: Verdict) -> Markup:
    match verdict.evidence:
        case Attested(attestations=attestations, ignored=ignored):
            return joined(
                (
                    *(_attestation(one) for one in attestations[:_ATTESTATIONS]),
                    when(ignored, element("p", "Counts for nothing: ", "; ".join(ignored), class_="soft")),
                )
            )
        case Forged() if isinstance(verdict, Withheld) and Code.FORGED in {each.code for each in verdict.reasons}:
            return Markup()  # said with the reason
        case Forged(step=step, expected=expected, found=found):
            return facts([("forged at", step), ("expected", expected), ("found", found)])
        case Unverifiable(reason=reason):
            return facts([("not verifiable here", reason)])
        case None:
            return element("p", "Its provenance was not looked at: it could not change the verdict.", class_="soft")
        case _:
            return element("p", "It has no attestation.", class_="soft")


def _attestation(one: Attestation) -> Markup:
    claims = one.claims
    return facts(
        [
            ("published by", linked(describe_claims(claims), claims.repository_uri)),
            ("built from commit", linked(claims.digest, _commit(claims)) if claims.digest else None),
            ("by workflow run", linked(_run_name(claims), claims.run_url) if claims.run_url else None),
            ("triggered by", claims.trigger),
            ("builder", claims.builder),
            ("logged", f"{show(one.integrated_time)}, entry {one.log_index} of the log of {one.trust_root}"),
            ("certificate", element("code", one.certificate)),
            ("states", one.predicate_type),
        ]
    )


def _commit(claims: Claims) -> str | None:
    """Where the repository's host shows the commit; the two hosts whose form of it we know."""
    if not claims.repository_uri or not claims.digest or not claims.digest.isalnum():
        return None
    between = {PublisherKind.GITHUB: "/commit/", PublisherKind.GITLAB: "/-/commit/"}
    if claims.kind not in between:
        return None
    return f"{claims.repository_uri.rstrip('/')}{between[claims.kind]}{claims.digest}"


def _run_name(claims: Claims) -> str:
    return (claims.run_url or "").rpartition("://")[2]
