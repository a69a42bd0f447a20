"""Files of a release on the project page: one block for each group of equal verdicts, and the facts of each file. Pure.

The facts about a publisher come from the verified certificate and the transparency log. Only these facts become links.
Values that only the index states (upload time, size, yank) are labelled as statements of the index.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from assay.evidence import (
    INDEX_SOURCE,
    Attestation,
    Attested,
    Claims,
    Forged,
    KeyStatement,
    Rejection,
    Unattested,
    Unstated,
    Unverifiable,
)
from assay.policy.language.times import format_instant
from assay.policy.reasons import reasons_to_json
from assay.policy.verdict import Approved, ReasonCode, Withheld
from assay.publishers.registry import find_publisher_kind
from assay.publishers.signers import describe_signer
from assay.simple.model import File
from assay.units import format_size
from assay.web.ui.layout import render_facts, render_reason
from assay.web.ui.markup import Child, Markup, element, join_markup, join_separated, link_if_safe, markup_if
from assay.web.ui.releases import FileGroup, FileVerdict, State, UndecidedFile, get_file_anchor, get_state

MAX_FILES_PER_RELEASE: Final = 200
"""Maximum number of files that are shown of one release."""
_MAX_ATTESTATIONS: Final = 8
"""Maximum number of attestations that are shown of one file."""
_BADGES: Final = {
    State.WITHHELD: "✗ {} withheld",
    State.UNDECIDED: "… {} undecided",
    State.LIFTED: "✓ {} approved by exception",
    State.APPROVED: "✓ {} approved",
}
_UNDECIDED_NOTE: Final = "Undecided files are listed, but not served."


def render_badge(state: State, number: int | str) -> Markup:
    """Return the badge of a state with a number of files, such as ``✗ 3 withheld``."""
    return element("span", _BADGES[state].format(number), class_=f"badge {state.value}")


def count_files(number: int) -> str:
    """Return a number of files in words, such as ``1 file``."""
    return f"{number:,} file{'' if number == 1 else 's'}"


def render_groups(groups: Iterable[FileGroup], *, max_files: int, anchors: set[str]) -> Markup:
    """Return the blocks of a release's groups: the reasons, the signer, and each file with its facts, folded.

    A block without files has no signer.

    Args:
        groups: groups of the files to show.
        max_files: number of files whose facts are shown. The other files are only counted.
        anchors: ids of the files that the page shows already. The function adds those of its files.
    """
    drawn: list[Markup] = []
    for group in groups:
        shown = group.files[:max_files]
        max_files -= len(shown)
        drawn.append(_render_group(group, [_render_file(each, _claim_anchor(each.file, anchors)) for each in shown]))
    return join_markup(drawn)


def _claim_anchor(file: File, taken: set[str]) -> str | None:
    """Return the id for a file's element, or None if the id is taken: a page of an index may list a filename twice."""
    anchor = get_file_anchor(file.filename)
    if anchor in taken:
        return None
    taken.add(anchor)
    return anchor


def _render_group(group: FileGroup, rows: list[Markup]) -> Markup:
    first = group.files[0]
    rule = None if isinstance(first, UndecidedFile) else (first.rule or "no rule")
    return element(
        "div",
        element(
            "p",
            render_badge(group.state, count_files(len(group.files))),
            None if rule is None else element("span", f" · rule: {rule}", class_="soft"),
        ),
        _render_reasons(first),
        _render_signer(first) if rows else None,
        *rows,
        class_=f"group {group.state.value}",
    )


def _render_reasons(verdict: FileVerdict) -> Markup:
    match verdict:
        case UndecidedFile(problem=problem):
            text = f"{problem or 'the provenance is being fetched'}. {_UNDECIDED_NOTE}"
            return element("ul", element("li", text))
        case Withheld():
            return element("ul", *(element("li", render_reason(reason)) for reason in reasons_to_json(verdict)))
        case Approved(despite=despite, notes=notes):
            lifted: list[Child] = [
                join_markup(("approved despite ", element("strong", each.code.value), f": {each.message}"))
                for each in despite
            ]
            items = [*lifted, *notes]
            return markup_if(items, element("ul", *(element("li", each) for each in items)))


def _render_signer(verdict: FileVerdict) -> Markup:
    """Return what the evidence of all files of a group says."""
    if isinstance(verdict, UndecidedFile):
        return Markup()
    match verdict.evidence:
        case Attested(attestations=attestations, ignored=ignored):
            shown = attestations[:_MAX_ATTESTATIONS]
            claims = dict.fromkeys((each.claims, each.is_provenance) for each in shown)
            notes = element("p", "Ignored attestations: ", "; ".join(ignored), class_="soft")
            signers = [_render_claims(each, is_provenance=is_provenance) for each, is_provenance in claims]
            return join_markup((*signers, markup_if(ignored, notes)))
        case Forged() if isinstance(verdict, Withheld) and ReasonCode.FORGED in {each.code for each in verdict.reasons}:
            return Markup()  # the reason already states it
        case Forged(step=step, expected=expected, found=found):
            return render_facts([("failed check", step), ("expected", expected), ("found", found)])
        case Unverifiable(reason=reason):
            return render_facts([("not verifiable", reason)])
        case Unstated() as unstated:
            return element("p", f"It is unknown if the files have attestations: {unstated.problem}.", class_="soft")
        case Unattested() if isinstance(verdict, Withheld) and verdict.reasons[0].code is ReasonCode.UNATTESTED:
            return Markup()  # the reason already states it
        case Unattested():
            return element("p", "No attestation.", class_="soft")
        case None:
            text = "The provenance was not examined, because it could not change the verdict."
            return element("p", text, class_="soft")


def _render_claims(claims: Claims, *, is_provenance: bool) -> Markup:
    role = "published by" if is_provenance else "other statement by"
    return render_facts(
        [
            (role, link_if_safe(describe_signer(claims), claims.repository_uri)),
            ("built from commit", link_if_safe(claims.digest, _build_commit_url(claims)) if claims.digest else None),
            ("by workflow run", link_if_safe(_format_run_name(claims), claims.run_url) if claims.run_url else None),
            ("triggered by", claims.trigger),
            ("builder", claims.builder),
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


def _render_file(verdict: FileVerdict, anchor: str | None) -> Markup:
    file = verdict.file
    facts: list[tuple[str, Child]] = [
        ("SHA-256", element("code", file.sha256) if file.sha256 else "not given"),
        ("stated by index", _render_index_claims(file)),
    ]
    evidence = None if isinstance(verdict, UndecidedFile) else verdict.evidence
    attestations = evidence.attestations[:_MAX_ATTESTATIONS] if isinstance(evidence, Attested) else ()
    rejected = evidence.rejected[:_MAX_ATTESTATIONS] if isinstance(evidence, Attested | Unattested) else ()
    statements = () if evidence is None or isinstance(evidence, Forged) else evidence.key_statements[:_MAX_ATTESTATIONS]
    return element(
        "details",
        element("summary", element("code", file.filename)),
        render_facts(facts),
        *map(_render_attestation, attestations),
        *map(_render_statement, statements),
        *map(_render_rejection, rejected),
        class_=get_state(verdict).value,
        id=anchor,
    )


def _render_statement(statement: KeyStatement) -> Markup:
    return render_facts(
        [
            ("countersigned by", f"the key {statement.key}"),
            ("predicate type", statement.predicate_type),
            ("evidence from", statement.source),
        ]
    )


def _render_index_claims(file: File) -> Markup:
    claims: list[Child] = [
        f"uploaded {format_instant(file.upload_time)}" if file.upload_time else None,
        format_size(file.size) if file.size is not None else None,
        f"requires Python {file.requires_python}" if file.requires_python else None,
        None if file.yanked is None else f"yanked{': ' + file.yanked if file.yanked else ''}",
    ]
    return join_separated(claims, "; ")


def _render_attestation(attestation: Attestation) -> Markup:
    logged_at = format_instant(attestation.integrated_time)
    return render_facts(
        [
            ("logged", f"{logged_at}, entry {attestation.log_index} of {_name_log(attestation)}"),
            ("certificate", element("code", attestation.certificate)),
            ("predicate type", attestation.predicate_type),
            ("evidence from", "the index" if attestation.source == INDEX_SOURCE else attestation.source),
        ]
    )


def _render_rejection(rejection: Rejection) -> Markup:
    """Return why a bundle of another source does not count. It has no effect on the verdict."""
    return render_facts(
        [
            ("rejected bundle", f"of {rejection.source}; failed check: {rejection.step}"),
            ("expected", rejection.expected),
            ("found", rejection.found),
        ]
    )


def _name_log(attestation: Attestation) -> str:
    """Return the name of the transparency log that recorded the attestation."""
    return f"the log {f'of {attestation.trust_root}' if attestation.log is None else attestation.log.url}"
