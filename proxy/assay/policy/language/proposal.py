"""Policy text that Assay proposes: rules for proven publishers, and waivers for exact files. Pure.

The operator pastes the text into a policy. A proposed rule also contains the numeric ids of a publisher, so it does not
match if another owner registers the same name later. The values come from verified certificates but are still untrusted
text. Each value is therefore written as a TOML string, and each comment as one printable line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TypeAlias

from assay.evidence import Attestation, Claims
from assay.policy.language.model import Lift
from assay.policy.reasons import escape_controls
from assay.policy.verdict import Withheld
from assay.policy.waivers import find_lifts
from assay.publishers.registry import get_publisher_kind
from assay.simple.model import NormalizedName, Sha256

PublisherEntry: TypeAlias = tuple[tuple[str, str], ...]
"""Keys and values of a publisher table, in the order in which they are written."""


@dataclass(slots=True, kw_only=True)
class ProvenProject:
    """Proven publishers of a project, and its approved files that have no proven publisher."""

    project: NormalizedName
    versions: set[str] = field(default_factory=set)
    publishers: dict[PublisherEntry, datetime] = field(default_factory=dict)
    """For each publisher, the log time of its latest signature."""
    unproven: dict[Sha256, str] = field(default_factory=dict)
    """Approved files without an attestation by a Trusted Publisher: filename by digest."""

    def add(self, attestations: Iterable[Attestation]) -> bool:
        """Record the publishers of a file's attestations; return False if no attestation is by a Trusted Publisher."""
        counts = False
        for each in attestations:
            if (found := make_publisher_entry(each.claims)) is not None:
                counts = True
                self.publishers[found] = max(each.integrated_time, self.publishers.get(found, each.integrated_time))
        return counts


def make_publisher_entry(claims: Claims) -> PublisherEntry | None:
    """Return the publisher that a certificate proves, as keys and values of a policy.

    Return None if the certificate is not that of a Trusted Publisher.
    """
    if claims.kind is None:
        return None
    kind = get_publisher_kind(claims.kind)
    stated: dict[str, str | None] = {
        "kind": kind.name,
        "issuer": None if claims.issuer.rstrip("/") == kind.issuer else claims.issuer,
        **{key: kind.claim_keys[key].propose(claims) for key in kind.proposed_keys},
    }
    return tuple((key, value) for key, value in stated.items() if value)


def format_publisher_rules(projects: Iterable[ProvenProject]) -> list[str]:
    """Return the lines of rules for projects with proven publishers.

    Projects with equal publishers share one rule. The rule pins the approved files of these projects that have no
    proven publisher.
    """
    groups: dict[tuple[PublisherEntry, ...], list[ProvenProject]] = {}
    for each in projects:
        if each.publishers:
            groups.setdefault(tuple(sorted(each.publishers)), []).append(each)
    lines: list[str] = []
    for publishers, members in sorted(groups.items(), key=lambda group: group[1][0].project):
        names = ", ".join(dict.fromkeys(_describe_publisher_entry(each) for each in publishers))
        lines += ["", "[[rules]]", *(_format_signed_comment(each) for each in members)]
        lines += [
            f"name = {quote_toml(f'signed by {names}')}",
            f"projects = {format_toml_array(each.project for each in members)}",
        ]
        lines += ["publishers = [", *(f"  {_format_inline_table(each)}," for each in publishers), "]"]
        lines += _format_pins(members)
    return lines


def format_pinned_rule(projects: Iterable[ProvenProject]) -> list[str]:
    """Return the lines of a rule that approves only pinned files, for the projects without a proven publisher.

    Return an empty list if there are no such projects.
    """
    members = [each for each in projects if not each.publishers and each.unproven]
    if not members:
        return []
    return [
        "",
        "# No attestation proves the origin of these projects: only the files below are approved.",
        "[[rules]]",
        'name = "no proven publisher, only pinned files"',
        f"projects = {format_toml_array(each.project for each in members)}",
        "pinned-only = true",
        *_format_pins(members),
    ]


def format_waiver(
    *,
    projects: Iterable[NormalizedName],
    files: Mapping[Sha256, str],
    lifts: Sequence[Lift],
    expires: date,
    reason: str,
    approved_by: str | None,
) -> list[str]:
    """Return the lines of a waiver for exactly these `files`, which are filenames by digest.

    `expires` is the last day of the waiver in UTC, or an instant, which must be in UTC.
    """
    lines = ["", "[[waivers]]", f"projects = {format_toml_array(sorted(set(projects)))}", "sha256 = ["]
    lines += [
        f"  {quote_toml(digest)},  # {escape_toml_comment(name)}"
        for digest, name in sorted(files.items(), key=_filename_sort_key)
    ]
    lines += ["]", f"lifts = {format_toml_array(lift.value for lift in lifts)}", f"expires = {_format_expiry(expires)}"]
    lines += [f"reason = {quote_toml(reason)}"]
    return lines if approved_by is None else [*lines, f"approved-by = {quote_toml(approved_by)}"]


def format_waiver_of(
    withheld: Sequence[Withheld],
    *,
    lifts: Iterable[Lift] = (),
    expires: date,
    reason: str,
    approved_by: str | None = None,
) -> list[str]:
    """Return the lines of a waiver for withheld files. It lifts their reasons, and also `lifts`."""
    return format_waiver(
        projects=(each.file.distribution.project for each in withheld if each.file.distribution is not None),
        files={each.file.sha256: each.file.filename for each in withheld if each.file.sha256 is not None},
        lifts=sorted(frozenset(lifts).union(*map(find_lifts, withheld))),
        expires=expires,
        reason=reason,
        approved_by=approved_by,
    )


def _format_expiry(expires: date) -> str:
    return expires.isoformat().replace("+00:00", "Z")


def quote_toml(text: str) -> str:
    """Return the text as a TOML basic string (TOML 1.0). Each non-printable character is escaped."""
    escaped = "".join(
        f"\\{each}" if each in '"\\' else each if each.isprintable() else _escape_character(each) for each in text
    )
    return f'"{escaped}"'


def _escape_character(character: str) -> str:
    code = ord(character)
    # TOML strings hold Unicode scalar values only, so a lone surrogate is replaced.
    return "\\uFFFD" if 0xD800 <= code <= 0xDFFF else f"\\U{code:08X}"  # noqa: PLR2004 - range of surrogates in Unicode


def escape_toml_comment(text: str) -> str:
    """Return text for a TOML comment on one line. Control characters and line breaks are escaped."""
    return escape_controls(text)


def format_toml_array(values: Iterable[str]) -> str:
    """Return a TOML array of strings."""
    return f"[{', '.join(quote_toml(value) for value in values)}]"


def _format_inline_table(publisher: PublisherEntry) -> str:
    return f"{{ {', '.join(f'{key} = {quote_toml(value)}' for key, value in publisher)} }}"


def _describe_publisher_entry(publisher: PublisherEntry) -> str:
    stated = dict(publisher)
    name = stated.get(get_publisher_kind(stated["kind"]).name_key, "unknown publisher")
    return f"{stated['kind']} {name}"


def _format_signed_comment(project: ProvenProject) -> str:
    last = max(project.publishers.values())
    versions = ", ".join(sorted(project.versions))
    return f"# {escape_toml_comment(f'{project.project} {versions}')}: signed {last.date().isoformat()}"


def _format_pins(members: Iterable[ProvenProject]) -> list[str]:
    unproven = {digest: name for each in members for digest, name in each.unproven.items()}
    if not unproven:
        return []
    return [
        "pins = [",
        *(
            f"  {quote_toml(digest)},  # {escape_toml_comment(name)}"
            for digest, name in sorted(unproven.items(), key=_filename_sort_key)
        ),
        "]",
    ]


def _filename_sort_key(item: tuple[str, str]) -> tuple[str, str]:
    return item[1], item[0]
