"""The page of the policy: its rules, waivers and revocations in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from assay.policy.language.model import (
    Mode,
    Policy,
    Requirements,
    Revocation,
    Rule,
    Waiver,
    get_rule_terms,
    merge_requirements,
)
from assay.policy.language.times import format_instant
from assay.policy.requirements.base import Phrase, Requirement
from assay.policy.requirements.registry import REQUIREMENTS
from assay.publishers.signers import describe_publisher
from assay.web.ui.layout import render_instant, render_name, render_page, render_table
from assay.web.ui.markup import Child, Markup, element, join_markup, join_separated, markup_if

_EXPIRY_WARNING = timedelta(days=14)
_SHOWN_EARLY = (
    "attestations",
    "publishers",
    "predicates",
    "builder",
    "min-age",
    "uploaded-before",
    "late-files",
    "indexes",
    "trust",
    "types",
    "project-status",
)
"""The requirements that a reader looks for first, by the words of their waivers."""
_SHOWN_LATE = ("ratchet",)


def render_policy_page(policy: Policy, now: datetime) -> bytes:
    """The page, UTF-8."""
    audit = "Requirements are reported and not enforced (audit mode)."
    return render_page(
        "Policy",
        element("h1", "What is approved here"),
        markup_if(policy.mode is Mode.AUDIT, element("p", audit, class_="note")),
        element(
            "p",
            "The first rule whose projects cover a name governs it; a name that no rule covers is withheld. What is"
            " revoked, forged, or not what its page says is withheld whatever a rule says.",
        ),
        element("h2", "Rules"),
        markup_if(not policy.rules, element("p", "There are none: nothing is approved.")),
        *(_render_rule(number, rule, policy) for number, rule in enumerate(policy.rules)),
        element("h2", "Waivers"),
        _render_waivers(policy, now),
        element("h2", "Revocations"),
        _render_revocations(policy),
        element("p", "Digest of this policy: ", element("code", policy.digest), class_="soft"),
        root="",
    )


def _render_rule(number: int, rule: Rule, policy: Policy) -> Markup:
    said = (
        [rule_in_words] if (rule_in_words := _describe_denial(rule)) else describe_requirements(rule, policy.defaults)
    )
    mode = rule.mode or policy.mode
    return element(
        "section",
        element("h3", f"{number + 1}. {rule.name or 'without a name'}"),
        element("p", "A file of ", _render_names(rule.projects), " is" if rule.deny else " is approved where it"),
        element("ul", *(element("li", each) for each in said)),
        markup_if(rule.mode is not None, element("p", f"This rule is in {mode} mode.", class_="soft")),
        aria_label=f"Rule {number + 1}",
    )


def _describe_denial(rule: Rule) -> str | None:
    return None if rule.deny is None else f"denied: {rule.deny}"


def describe_requirements(rule: Rule, defaults: Requirements) -> list[Child]:
    """What a rule asks for, with what it leaves to the defaults, a sentence each."""
    merged = merge_requirements(rule, defaults)
    terms = get_rule_terms(merged, rule.name)
    said: list[Child] = [
        _render_phrase(phrase)
        for requirement in sorted(REQUIREMENTS, key=_find_place)
        for phrase in requirement.describe(merged, terms)
    ]
    if rule.pins:
        only = "; nothing else is approved" if rule.pinned_only else ", whatever else holds"
        which = "the file" if len(rule.pins) == 1 else f"one of {len(rule.pins)} files"
        said.append(f"or is {which} pinned by digest{only}")
    return said


def _find_place(requirement: Requirement[Any]) -> int:
    """Where the requirement stands on the page; those of the same place stand in the order of the language."""
    if requirement.lift in _SHOWN_EARLY:
        return _SHOWN_EARLY.index(requirement.lift)
    return len(_SHOWN_EARLY) + (requirement.lift in _SHOWN_LATE)


def _render_phrase(phrase: Phrase) -> Child:
    if not phrase.items:
        return phrase.text
    return join_markup((phrase.text, element("ul", *(element("li", item) for item in phrase.items))))


def _render_waivers(policy: Policy, now: datetime) -> Markup:
    if not policy.waivers:
        return element("p", "None.")
    rows = [_render_waiver_row(waiver, now) for waiver in sorted(policy.waivers, key=lambda each: each.expires)]
    return render_table("Waivers", ("Projects", "Files", "Lifts", "Expires", "Reason"), rows)


def _render_waiver_row(waiver: Waiver, now: datetime) -> tuple[Child, ...]:
    files = [
        f"versions {waiver.versions}" if waiver.versions is not None else "",
        f"uploaded before {format_instant(waiver.uploaded_before)}" if waiver.uploaded_before is not None else "",
        f"{len(waiver.sha256)} by digest" if waiver.sha256 else "",
    ]
    return (
        _render_names(waiver.projects),
        ", ".join(each for each in files if each),
        _render_names(lift.value for lift in waiver.lifts),
        _render_expiry(waiver.expires, now),
        f"{waiver.reason}{f' ({waiver.approved_by})' if waiver.approved_by else ''}",
    )


def _render_expiry(expires: datetime, now: datetime) -> Markup:
    if expires <= now:
        return element("span", f"✗ expired {format_instant(expires)}", class_="badge withheld")
    if expires - now < _EXPIRY_WARNING:
        return element("span", f"! soon: {format_instant(expires)}", class_="badge lifted")
    return render_instant(expires)


def _render_revocations(policy: Policy) -> Markup:
    if not policy.revocations:
        return element("p", "None.")
    rows: list[tuple[Child, ...]] = [(_describe_revocation(each), each.reason) for each in policy.revocations]
    return render_table("Revocations", ("What", "Reason"), rows)


def _describe_revocation(revocation: Revocation) -> Child:
    if revocation.publishers:
        window = "".join(
            f" {word} {format_instant(instant)}"
            for word, instant in (("from", revocation.signed_from), ("until", revocation.signed_until))
            if instant is not None
        )
        return f"signed by {' or '.join(describe_publisher(each) for each in revocation.publishers)}{window}"
    if revocation.projects:
        versions = f" {revocation.versions}" if revocation.versions is not None else ", all versions"
        return join_markup((_render_names(revocation.projects), versions))
    if revocation.log_index_from is not None:
        return f"log entries from {revocation.log_index_from} until {revocation.log_index_until}"
    return f"{len(revocation.certificates or revocation.sha256 or ())} certificates or files by digest"


def _render_names(names: Iterable[str]) -> Markup:
    return join_separated((render_name(each) for each in names), ", ")
