"""Project page: all versions and files of a project, each file with verdict, reasons and publisher. Pure.

The facts about a publisher come from the verified certificate and the transparency log. Only these facts become links.
Values that only the index states (upload time, size, yank) are labelled as statements of the index.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import quote

from packaging.version import Version

from assay.evidence import Attestation, Attested, Claims, Forged, Unstated, Unverifiable
from assay.policy.language.times import format_instant
from assay.policy.reasons import reasons_to_json
from assay.policy.verdict import Approved, ReasonCode, Withheld
from assay.publishers.registry import find_publisher_kind
from assay.publishers.signers import describe_signer
from assay.simple.fields import parse_version
from assay.simple.model import File, NormalizedName, ProjectStatus
from assay.units import format_size
from assay.web.ui.layout import render_facts, render_page, render_reason
from assay.web.ui.markup import Child, Markup, element, join_markup, join_separated, link_if_safe, markup_if
from assay.web.ui.timeline import collect_marks, get_publisher_label, render_legend, render_timeline

VERSIONS_PER_PAGE: Final = 30
"""Maximum number of versions on one HTML page. A project with more versions has several pages."""
_MAX_FILES_PER_VERSION: Final = 200
"""Maximum number of files that are shown of one version."""
_MAX_ATTESTATIONS: Final = 8
"""Maximum number of attestations that are shown of one file."""
_UNDECIDED_NOTE: Final = "The provenance of these files is unavailable now. They are listed, but not served."
_LAST_PAGE: Final = 999_999
"""Page number in a link to a file without a version. The last page shows these files."""
_PLAIN_FILENAME: Final = re.compile(r"[A-Za-z0-9._+!-]{1,255}", re.ASCII)
"""Filename that a URL fragment may contain without encoding."""
_NO_VERSION_TITLE: Final = "files without a version"
_BADGES: Final = {
    "withheld": "✗ withheld",
    "lifted": "✓ approved by exception",
    "approved": "✓ approved",
}

DecidedVerdict = Approved | Withheld


def render_project_page(
    name: str,
    verdicts: Sequence[DecidedVerdict],
    *,
    undecided: Sequence[tuple[str, str | None]] = (),
    index: str,
    absence_reason: str | None = None,
    status: ProjectStatus | None,
    stale_since: datetime | None,
    page_number: int,
    version: str | None = None,
    now: datetime,
) -> bytes:
    """Return the page of a project as UTF-8 HTML.

    Args:
        name: normalized name of the project.
        verdicts: verdicts on the decided files of the project.
        undecided: filename of each undecided file, and the problem that prevents the decision. The problem is None
            while the provenance is being fetched.
        index: name of the index that owns the project.
        absence_reason: message to show if the index owns the name but has no such project.
        status: status of the project as the index states it (PEP 792).
        stale_since: last time at which the index confirmed its page, if the index is unavailable now; else None.
        page_number: number of the HTML page, from 1. A page shows `VERSIONS_PER_PAGE` versions, newest first. A number
            beyond the last page shows the last page.
        version: version to show. The HTML page with this version is chosen instead of `page_number`. An invalid or
            unknown version is ignored.
        now: time of the verdicts.
    """
    groups = _group_by_version(verdicts)
    approved = sum(isinstance(verdict, Approved) for verdict in verdicts)
    last = max(1, -(-len(groups) // VERSIONS_PER_PAGE))
    wanted = None if version is None else parse_version(version)
    place = next((place for place, (found, _) in enumerate(groups) if wanted is not None and found == wanted), None)
    page_number = min(page_number, last) if place is None else place // VERSIONS_PER_PAGE + 1
    shown = groups[(page_number - 1) * VERSIONS_PER_PAGE : page_number * VERSIONS_PER_PAGE]
    stale = (
        ""
        if stale_since is None
        else f"The index is unavailable. It last confirmed this page at {format_instant(stale_since)}."
    )
    return render_page(
        name,
        element("h1", name),
        markup_if(stale, element("p", stale, class_="note")),
        *(element("p", f"{problem}.", class_="note") for problem in _list_unstated(verdicts)),
        element("p", f"{approved} files approved, {len(verdicts) - approved} withheld. Index: {index}."),
        _render_status(status),
        _render_undecided(undecided),
        element("h2", "Publishers"),
        _render_publisher_timeline(verdicts),
        element("h2", "Versions"),
        markup_if(not groups, element("p", absence_reason or "The index lists no files of this project.")),
        _render_pagination(name, page_number, last),
        *(
            _render_version(found, files, is_open=position == 0 or found == wanted)
            for position, (found, files) in enumerate(shown)
        ),
        _render_pagination(name, page_number, last),
        element(
            "p",
            f"Judged at {format_instant(now)}. The same verdicts apply to pip, uv and all other clients.",
            class_="soft",
        ),
        root="../",
        search_text=name,
    )


def build_version_url(root: str, project: NormalizedName, version: str) -> str:
    """Return the URL of a version on the page of a project.

    Args:
        root: relative URL of the view's home page from the page with the link.
        project: normalized name of the project.
        version: the version in its normal form (PEP 440).
    """
    return f"{root}project/{project}?version={quote(version, safe='')}#{_get_version_anchor(version)}"


def build_file_url(root: str, project: NormalizedName, file: File) -> str:
    """Return the URL of a file on the page of a project. The arguments are those of `build_version_url`."""
    version = None if file.distribution is None else str(file.distribution.version)
    query = f"page={_LAST_PAGE}" if version is None else f"version={quote(version, safe='')}"
    return f"{root}project/{project}?{query}#{_get_file_anchor(file.filename)}"


def _get_version_anchor(version: str) -> str:
    return f"version-{version}"


def _get_file_anchor(filename: str) -> str:
    """Return the id of a file's element: the filename, or a digest of it if a fragment cannot have the filename."""
    if _PLAIN_FILENAME.fullmatch(filename):
        return f"file-{filename}"
    return f"file-{hashlib.sha256(filename.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _list_unstated(verdicts: Iterable[DecidedVerdict]) -> list[str]:
    """Return the problem of each index that does not say which files have provenance."""
    unstated = (verdict.evidence for verdict in verdicts if isinstance(verdict.evidence, Unstated))
    return list(dict.fromkeys(evidence.problem for evidence in unstated))


def _render_undecided(undecided: Sequence[tuple[str, str | None]]) -> Markup:
    if not undecided:
        return Markup()
    listed = [
        element("li", element("code", filename), ": ", problem or "the provenance is being fetched")
        for filename, problem in undecided[:_MAX_FILES_PER_VERSION]
    ]
    return join_markup((element("h2", "Undecided"), element("p", _UNDECIDED_NOTE), element("ul", *listed)))


def _group_by_version(verdicts: Iterable[DecidedVerdict]) -> list[tuple[Version | None, list[DecidedVerdict]]]:
    """Group verdicts by version, newest first. Files without a version form the last group."""
    found: dict[Version | None, list[DecidedVerdict]] = {}
    for verdict in verdicts:
        distribution = verdict.file.distribution
        found.setdefault(distribution.version if distribution is not None else None, []).append(verdict)
    unversioned = found.pop(None, None)
    versions: list[tuple[Version | None, list[DecidedVerdict]]] = [
        (version, found[version]) for version in sorted((each for each in found if each is not None), reverse=True)
    ]
    return versions if unversioned is None else [*versions, (None, unversioned)]


def _render_status(status: ProjectStatus | None) -> Markup:
    if status is None or status.status == "active":
        return Markup()
    reason = f": {status.reason}" if status.reason else "."
    return element("p", f"The index marks this project as {status.status}{reason}", class_="note")


def _render_publisher_timeline(verdicts: Sequence[DecidedVerdict]) -> Markup:
    marks = collect_marks(verdicts)
    if not marks:
        return element("p", "No file of this project has a publication time.")
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
    shown = verdicts[:_MAX_FILES_PER_VERSION]
    # A page may list a filename twice, but an id is unique in a document. The files of other versions have other names.
    first = {each.file.filename: each for each in reversed(shown)}
    return element(
        "section",
        element("h3", title, " ", element("span", state, class_="withheld") if state else None),
        *(
            _render_file(
                each,
                is_open=is_open or isinstance(each, Withheld),
                anchor=_get_file_anchor(each.file.filename) if first[each.file.filename] is each else None,
            )
            for each in shown
        ),
        markup_if(hidden > 0, element("p", f"{hidden} more files are not shown; the command assay explain lists them")),
        aria_label=f"Version {title}",
        id=None if version is None else _get_version_anchor(title),
    )


def _render_file(verdict: DecidedVerdict, *, is_open: bool, anchor: str | None) -> Markup:
    file = verdict.file
    return element(
        "details",
        element(
            "summary", _render_badge(verdict), " ", element("code", file.filename), " ", _render_publisher(verdict)
        ),
        _render_reasons(verdict),
        render_facts(
            [
                ("rule", verdict.rule or "no rule"),
                ("SHA-256", element("code", file.sha256) if file.sha256 else "not given"),
                ("stated by index", _render_index_claims(file)),
            ]
        ),
        _render_evidence(verdict),
        class_=_get_verdict_state(verdict),
        id=anchor,
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
        join_markup(("approved despite ", element("strong", each.code.value), f": {each.message}"))
        for each in verdict.despite
    ]
    items: list[Child] = [*lifted, *verdict.notes]
    return markup_if(items, element("ul", *(element("li", each) for each in items)))


def _render_index_claims(file: File) -> Markup:
    claims: list[Child] = [
        f"uploaded {format_instant(file.upload_time)}" if file.upload_time else None,
        format_size(file.size) if file.size is not None else None,
        f"requires Python {file.requires_python}" if file.requires_python else None,
        None if file.yanked is None else f"yanked{': ' + file.yanked if file.yanked else ''}",
    ]
    return join_separated(claims, "; ")


def _render_evidence(verdict: DecidedVerdict) -> Markup:
    match verdict.evidence:
        case Attested(attestations=attestations, ignored=ignored):
            return join_markup(
                (
                    *(_render_attestation(one) for one in attestations[:_MAX_ATTESTATIONS]),
                    markup_if(ignored, element("p", "Ignored attestations: ", "; ".join(ignored), class_="soft")),
                )
            )
        case Forged() if isinstance(verdict, Withheld) and ReasonCode.FORGED in {each.code for each in verdict.reasons}:
            return Markup()  # the reason already states it
        case Forged(step=step, expected=expected, found=found):
            return render_facts([("failed check", step), ("expected", expected), ("found", found)])
        case Unverifiable(reason=reason):
            return render_facts([("not verifiable", reason)])
        case Unstated() as unstated:
            return element("p", f"It is unknown if the file has an attestation: {unstated.problem}.", class_="soft")
        case None:
            text = "The provenance was not examined, because it could not change the verdict."
            return element("p", text, class_="soft")
        case _:
            return element("p", "The file has no attestation.", class_="soft")


def _render_attestation(attestation: Attestation) -> Markup:
    claims, logged_at = attestation.claims, format_instant(attestation.integrated_time)
    return render_facts(
        [
            ("published by", link_if_safe(describe_signer(claims), claims.repository_uri)),
            ("built from commit", link_if_safe(claims.digest, _build_commit_url(claims)) if claims.digest else None),
            ("by workflow run", link_if_safe(_format_run_name(claims), claims.run_url) if claims.run_url else None),
            ("triggered by", claims.trigger),
            ("builder", claims.builder),
            ("logged", f"{logged_at}, entry {attestation.log_index} of {_name_log(attestation)}"),
            ("certificate", element("code", attestation.certificate)),
            ("predicate type", attestation.predicate_type),
        ]
    )


def _build_commit_url(claims: Claims) -> str | None:
    """Return the URL of the commit on the repository's host, or None if there is no such URL.

    Some kinds of publisher have no URLs of commits.
    """
    if not claims.repository_uri or not claims.digest or not claims.digest.isalnum():
        return None
    kind = find_publisher_kind(claims.kind)
    if kind is None or kind.commit_path is None:
        return None
    return f"{claims.repository_uri.rstrip('/')}{kind.commit_path}{claims.digest}"


def _format_run_name(claims: Claims) -> str:
    return (claims.run_url or "").rpartition("://")[2]


def _name_log(attestation: Attestation) -> str:
    """Return the name of the transparency log that recorded the attestation."""
    return f"the log {f'of {attestation.trust_root}' if attestation.log is None else attestation.log.url}"
