"""The page of the policy: its rules, waivers and revocations in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from assay.policy.language.model import Attestations, Mode, Policy, RatchetMode, Requirements, Revocation, Rule, Waiver
from assay.policy.language.publishers import describe_publisher
from assay.policy.language.times import format_instant
from assay.units import format_duration
from assay.web.ui.layout import render_instant, render_name, render_page, render_table
from assay.web.ui.markup import Child, Markup, element, join_markup, join_separated, markup_if

_EXPIRY_WARNING = timedelta(days=14)
_REQUIREMENT_PHRASES = {
    "min_age": "is at least {} old",
    "min_age_attested": "or {} where an established publisher signed it",
    "uploaded_before": "was uploaded before {}",
    "late_files": "came within {} of the first file of its version",
    "indexes": "comes from {}",
    "trust": "is vouched for by {}",
    "types": "is one of {}",
    "project_status": "is of a project whose status is {}",
    "yanked": "is not yanked",
    "metadata": "has its metadata served from the verified wheel alone",
    "release": "belongs to a release all of whose files are approved",
}
"""By key; the last three are for the value that asks for something."""


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

    def stated(key: str) -> object:
        value = getattr(rule, key)
        return getattr(defaults, key) if value is None else value

    said: list[Child] = [*_describe_provenance(rule, defaults)]
    for key, phrase in _REQUIREMENT_PHRASES.items():
        match stated(key):
            case timedelta() as age:
                said.append(phrase.format(format_duration(age)))
            case datetime() as instant:
                said.append(phrase.format(format_instant(instant)))
            case tuple() as values:
                said.append(phrase.format(" or ".join(str(value) for value in values)))
            case "deny" | "wheel" | "whole":
                said.append(phrase)
            case _:
                pass
    said.append(_describe_ratchet(stated("ratchet")))
    if rule.pins:
        only = "; nothing else is approved" if rule.pinned_only else ", whatever else holds"
        which = "the file" if len(rule.pins) == 1 else f"one of {len(rule.pins)} files"
        said.append(f"or is {which} pinned by digest{only}")
    return [each for each in said if each]


def _describe_provenance(rule: Rule, defaults: Requirements) -> list[Child]:
    publishers = rule.publishers or defaults.publishers
    predicates = rule.predicates or defaults.predicates
    builders = rule.builder or defaults.builder
    said: list[Child] = []
    if isinstance(publishers, tuple):
        who = element("ul", *(element("li", describe_publisher(each)) for each in publishers))
        said.append(join_markup(("is attested by " + ("one of" if len(publishers) > 1 else "this publisher"), who)))
    elif publishers or predicates or builders or _get_effective_attestations(rule, defaults) is Attestations.REQUIRED:
        said.append("is attested by any Trusted Publisher")
    else:
        said.append("is, where it is attested, attested well")
    if predicates:
        said.append(f"carries {' and '.join(predicates)}")
    if builders:
        said.append(f"was built by {' or '.join(builders)}")
    return said


def _get_effective_attestations(rule: Rule, defaults: Requirements) -> Attestations | None:
    return rule.attestations or defaults.attestations


def _describe_ratchet(mode: object) -> str | None:
    match mode:
        case RatchetMode.OFF:
            return None
        case RatchetMode.WARN:
            return "loses no provenance and changes no publisher without a note"
        case _:
            return "is attested, and by a known publisher, once the project has an established one"


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
