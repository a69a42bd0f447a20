"""Policy as text that a person pastes: rules for what is proven today, waivers for exactly these files. Pure.

A rule proposed here names publishers by their numeric ids as well, so that a name that is registered again is not the
same publisher. What stands in it was proven by certificates, but it is text of others all the same: every value is
written as a TOML string, every comment in one printable line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TypeAlias

from assay.evidence import Attestation, Claims
from assay.policy.language.model import Lift
from assay.policy.reasons import escape_controls
from assay.publishers.registry import get_publisher_kind
from assay.simple.model import NormalizedName, Sha256

PublisherEntry: TypeAlias = tuple[tuple[str, str], ...]
"""A publisher's keys and values, in the order in which they are written."""


@dataclass(slots=True, kw_only=True)
class ProvenProject:
    """What a project's approved files prove today."""

    project: NormalizedName
    versions: set[str] = field(default_factory=set)
    publishers: dict[PublisherEntry, datetime] = field(default_factory=dict)
    """Who signed, and when the last of it was logged."""
    unproven: dict[Sha256, str] = field(default_factory=dict)
    """Approved files without an attestation that counts: digest to filename."""

    def add(self, attestations: Iterable[Attestation]) -> bool:
        """Take a file's attestations; False where none is a Trusted Publisher's."""
        counts = False
        for each in attestations:
            if (found := make_publisher_entry(each.claims)) is not None:
                counts = True
                self.publishers[found] = max(each.integrated_time, self.publishers.get(found, each.integrated_time))
        return counts


def make_publisher_entry(claims: Claims) -> PublisherEntry | None:
    """The publisher that a certificate proves, as a policy names it; None for nobody's Trusted Publisher."""
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
    """A rule for each group of projects with the same publishers, whose files are all proven but for pinned ones."""
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
    """A rule for the projects whose files prove nothing: exactly these files, and no others."""
    members = [each for each in projects if not each.publishers and each.unproven]
    if not members:
        return []
    return [
        "",
        "# Nothing proves where these come from: exactly the files below, and no others, until somebody looks again.",
        "[[rules]]",
        'name = "unproven, pinned as they are today"',
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
    """A waiver for exactly these files (digest to filename)."""
    lines = ["", "[[waivers]]", f"projects = {format_toml_array(sorted(set(projects)))}", "sha256 = ["]
    lines += [
        f"  {quote_toml(digest)},  # {escape_toml_comment(name)}"
        for digest, name in sorted(files.items(), key=_filename_sort_key)
    ]
    lines += ["]", f"lifts = {format_toml_array(lift.value for lift in lifts)}", f"expires = {expires.isoformat()}"]
    lines += [f"reason = {quote_toml(reason)}"]
    return lines if approved_by is None else [*lines, f"approved-by = {quote_toml(approved_by)}"]


def quote_toml(text: str) -> str:
    """A TOML basic string: "any Unicode character may be used except those that must be escaped" (TOML 1.0)."""
    escaped = "".join(
        f"\\{each}" if each in '"\\' else each if each.isprintable() else _escape_character(each) for each in text
    )
    return f'"{escaped}"'


def _escape_character(character: str) -> str:
    code = ord(character)
    # A lone surrogate is no Unicode scalar value, which is all that TOML can hold.
    return "\\uFFFD" if 0xD800 <= code <= 0xDFFF else f"\\U{code:08X}"  # noqa: PLR2004 - Unicode's own range


def escape_toml_comment(text: str) -> str:
    """One line that ends no comment early."""
    return escape_controls(text)


def format_toml_array(values: Iterable[str]) -> str:
    """A TOML array of strings."""
    return f"[{', '.join(quote_toml(value) for value in values)}]"


def _format_inline_table(publisher: PublisherEntry) -> str:
    return f"{{ {', '.join(f'{key} = {quote_toml(value)}' for key, value in publisher)} }}"


def _describe_publisher_entry(publisher: PublisherEntry) -> str:
    stated = dict(publisher)
    name = stated.get(get_publisher_kind(stated["kind"]).name_key, "somebody")
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
