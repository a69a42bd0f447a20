"""The page of a project: every version and file, the verdict, who published it, and why. Pure.

What is shown of a publisher comes from the verified certificate and log, and only that makes links; what an index says
(times, sizes, yanks) is said to be the index's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from packaging.version import Version

from assay.evidence import Attestation, Attested, Claims, Forged, Unverifiable
from assay.policy.language.times import format_instant
from assay.policy.reasons import reasons_to_json
from assay.policy.verdict import Approved, ReasonCode, Withheld
from assay.publishers.registry import find_publisher_kind
from assay.publishers.signers import describe_signer
from assay.simple.model import File, ProjectStatus
from assay.units import format_size
from assay.web.ui.layout import render_facts, render_page, render_reason
from assay.web.ui.markup import Child, Markup, element, join_markup, join_separated, link_if_safe, markup_if
from assay.web.ui.timeline import collect_marks, get_publisher_label, render_legend, render_timeline

VERSIONS_PER_PAGE: Final = 30
"""On one page."""
_MAX_FILES_PER_VERSION: Final = 200
"""Of one version that are shown."""
_MAX_ATTESTATIONS: Final = 8
_NO_VERSION_TITLE: Final = "files of no version"
_BADGES: Final = {
    "withheld": "✗ withheld",
    "lifted": "✓ approved, with reasons lifted",
    "approved": "✓ approved",
}

DecidedVerdict = Approved | Withheld


def render_project_page(
    name: str,
    verdicts: Sequence[DecidedVerdict],
    *,
    index: str,
    absence_reason: str | None = None,
    status: ProjectStatus | None,
    stale_since: datetime | None,
    page_number: int,
    now: datetime,
) -> bytes:
    """The page, UTF-8.

    Args:
        name: of the project.
        verdicts: all of its files'.
        index: whose it is.
        absence_reason: why there is nothing at all: a name that the index owns and does not have.
        status: as the index says (PEP 792).
        stale_since: when the index was last asked, if it cannot be asked now.
        page_number: which `VERSIONS_PER_PAGE` of the versions, from 1, newest first.
        now: when.
    """
    groups = _group_by_version(verdicts)
    approved = sum(isinstance(verdict, Approved) for verdict in verdicts)
    last = max(1, -(-len(groups) // VERSIONS_PER_PAGE))
    page_number = min(page_number, last)
    shown = groups[(page_number - 1) * VERSIONS_PER_PAGE : page_number * VERSIONS_PER_PAGE]
    stale = (
        "" if stale_since is None else f"The index cannot be asked now; this is as of {format_instant(stale_since)}."
    )
    return render_page(
        name,
        element("h1", name),
        markup_if(stale, element("p", stale, class_="note")),
        element("p", f"{approved} files approved, {len(verdicts) - approved} withheld; from the index {index}."),
        _render_status(status),
        element("h2", "Who published it"),
        _render_publisher_timeline(verdicts),
        element("h2", "Versions"),
        markup_if(not groups, element("p", absence_reason or "The index lists no files of this project.")),
        _render_pagination(name, page_number, last),
        *(_render_version(version, files, is_open=position == 0) for position, (version, files) in enumerate(shown)),
        _render_pagination(name, page_number, last),
        element(
            "p",
            f"Judged at {format_instant(now)}. The same verdicts hold for pip, uv and every other client.",
            class_="soft",
        ),
        root="../",
        search_text=name,
    )


def _group_by_version(verdicts: Iterable[DecidedVerdict]) -> list[tuple[Version | None, list[DecidedVerdict]]]:
    """Newest version first; what has none at the end."""
    found: dict[Version | None, list[DecidedVerdict]] = {}
    for verdict in verdicts:
        distribution = verdict.file.distribution
        found.setdefault(distribution.version if distribution is not None else None, []).append(verdict)
    nameless = found.pop(None, None)
    versions: list[tuple[Version | None, list[DecidedVerdict]]] = [
        (version, found[version]) for version in sorted((each for each in found if each is not None), reverse=True)
    ]
    return versions if nameless is None else [*versions, (None, nameless)]


def _render_status(status: ProjectStatus | None) -> Markup:
    if status is None or status.status == "active":
        return Markup()
    because = f": {status.reason}" if status.reason else "."
    return element("p", f"The index says that this project is {status.status}{because}", class_="note")


def _render_publisher_timeline(verdicts: Sequence[DecidedVerdict]) -> Markup:
    marks = collect_marks(verdicts)
    if not marks:
        return element("p", "No file says when it was published.")
    return join_markup((render_timeline(marks), render_legend(marks)))


def _render_pagination(name: str, page_number: int, last_page: int) -> Markup:
    if last_page == 1:
        return Markup()
    links = (
        element("a", "newer versions", href=f"{name}?page={page_number - 1}") if page_number > 1 else None,
        f"page {page_number} of {last_page}",
        element("a", "older versions", href=f"{name}?page={page_number + 1}") if page_number < last_page else None,
    )
    return element("p", join_separated(links, " · "))


def _render_version(version: Version | None, verdicts: Sequence[DecidedVerdict], *, is_open: bool) -> Markup:
    title = _NO_VERSION_TITLE if version is None else str(version)
    withheld = sum(isinstance(verdict, Withheld) for verdict in verdicts)
    state = f"{withheld} of {len(verdicts)} withheld" if withheld else ""
    hidden = len(verdicts) - _MAX_FILES_PER_VERSION
    return element(
        "section",
        element("h3", title, " ", element("span", state, class_="withheld") if state else None),
        *(
            _render_file(verdict, is_open=is_open or isinstance(verdict, Withheld))
            for verdict in verdicts[:_MAX_FILES_PER_VERSION]
        ),
        markup_if(hidden > 0, element("p", f"and {hidden} more files, which assay explain shows")),
        aria_label=f"Version {title}",
    )


def _render_file(verdict: DecidedVerdict, *, is_open: bool) -> Markup:
    file = verdict.file
    return element(
        "details",
        element(
            "summary", _render_badge(verdict), " ", element("code", file.filename), " ", _render_publisher(verdict)
        ),
        _render_reasons(verdict),
        render_facts(
            [
                ("rule", verdict.rule or "none governs"),
                ("SHA-256", element("code", file.sha256) if file.sha256 else "none given"),
                ("the index says", _render_index_claims(file)),
            ]
        ),
        _render_evidence(verdict),
        class_=_get_verdict_state(verdict),
        open="" if is_open else None,
    )


def _get_verdict_state(verdict: DecidedVerdict) -> str:
    if isinstance(verdict, Withheld):
        return "withheld"
    return "lifted" if verdict.despite else "approved"


def _render_badge(verdict: DecidedVerdict) -> Markup:
    return element("span", _BADGES[_get_verdict_state(verdict)], class_=f"badge {_get_verdict_state(verdict)}")


def _render_publisher(verdict: DecidedVerdict) -> Markup:
    return element("span", f"· {get_publisher_label(verdict.evidence)}", class_="soft")


def _render_reasons(verdict: DecidedVerdict) -> Markup:
    if isinstance(verdict, Withheld):
        return element("ul", *(element("li", render_reason(reason)) for reason in reasons_to_json(verdict)))
    lifted = [
        join_markup(("despite ", element("strong", each.code.value), f": {each.message}")) for each in verdict.despite
    ]
    said: list[Child] = [*lifted, *verdict.notes]
    return markup_if(said, element("ul", *(element("li", each) for each in said)))


def _render_index_claims(file: File) -> Markup:
    said: list[Child] = [
        f"uploaded {format_instant(file.upload_time)}" if file.upload_time else None,
        format_size(file.size) if file.size is not None else None,
        f"needs Python {file.requires_python}" if file.requires_python else None,
        None if file.yanked is None else f"yanked{': ' + file.yanked if file.yanked else ''}",
    ]
    return join_separated(said, "; ")


def _render_evidence(verdict: DecidedVerdict) -> Markup:
    match verdict.evidence:
        case Attested(attestations=attestations, ignored=ignored):
            return join_markup(
                (
                    *(_render_attestation(one) for one in attestations[:_MAX_ATTESTATIONS]),
                    markup_if(ignored, element("p", "Counts for nothing: ", "; ".join(ignored), class_="soft")),
                )
            )
        case Forged() if isinstance(verdict, Withheld) and ReasonCode.FORGED in {each.code for each in verdict.reasons}:
            return Markup()  # said with the reason
        case Forged(step=step, expected=expected, found=found):
            return render_facts([("forged at", step), ("expected", expected), ("found", found)])
        case Unverifiable(reason=reason):
            return render_facts([("not verifiable here", reason)])
        case None:
            return element("p", "Its provenance was not looked at: it could not change the verdict.", class_="soft")
        case _:
            return element("p", "It has no attestation.", class_="soft")


def _render_attestation(attestation: Attestation) -> Markup:
    claims, logged_at = attestation.claims, format_instant(attestation.integrated_time)
    return render_facts(
        [
            ("published by", link_if_safe(describe_signer(claims), claims.repository_uri)),
            ("built from commit", link_if_safe(claims.digest, _build_commit_url(claims)) if claims.digest else None),
            ("by workflow run", link_if_safe(_format_run_name(claims), claims.run_url) if claims.run_url else None),
            ("triggered by", claims.trigger),
            ("builder", claims.builder),
            ("logged", f"{logged_at}, entry {attestation.log_index} of the log of {attestation.trust_root}"),
            ("certificate", element("code", attestation.certificate)),
            ("states", attestation.predicate_type),
        ]
    )


def _build_commit_url(claims: Claims) -> str | None:
    """Where the repository's host shows the commit; None where the form of its addresses is not known."""
    if not claims.repository_uri or not claims.digest or not claims.digest.isalnum():
        return None
    kind = find_publisher_kind(claims.kind)
    if kind is None or kind.commit_path is None:
        return None
    return f"{claims.repository_uri.rstrip('/')}{kind.commit_path}{claims.digest}"


def _format_run_name(claims: Claims) -> str:
    return (claims.run_url or "").rpartition("://")[2]
