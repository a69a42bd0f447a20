"""Policy page: the rules, waivers and revocations of a view's policy in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from assay.policy.language.model import AdvisoryMode, MalwareMode, Mode, Policy, Revocation, Rule, Showing, Waiver
from assay.policy.language.times import format_instant
from assay.policy.language.wording import describe_rule
from assay.policy.requirements.base import Phrase
from assay.publishers.signers import describe_publisher
from assay.web.ui.layout import render_instant, render_name, render_page, render_table
from assay.web.ui.markup import Child, Markup, element, join_markup, join_separated, markup_if

_EXPIRY_WARNING = timedelta(days=14)
_MAX_PROBLEMS = 10
"""Maximum number of problems of a refused policy file that are shown."""


def describe_advisories(policy: Policy) -> str:
    """Return sentences about the effect of advisories, for a page."""
    malware = (
        "A malware advisory withholds the files that it covers, in every mode."
        if policy.malware is MalwareMode.DENY
        else "A malware advisory is only shown, and withholds nothing."
    )
    others = "are shown" if policy.advisories is AdvisoryMode.NOTE else "are not shown"
    return f"{malware} Other advisories {others}, and withhold nothing."


def describe_showing(showing: Showing) -> str:
    """Return a sentence on withheld versions and installers."""
    match showing:
        case Showing.STOP:
            return (
                "In place of a withheld version, pip, uv and Poetry install the nearest lower version that is approved."
                " Without one, they stop and print the reason."
            )
        case Showing.EXPLAIN:
            return (
                "Index pages list withheld versions as yanked: pip and uv print the reason of a version that is pinned,"
                " and otherwise choose another version without a message."
            )
        case Showing.HIDE:
            return (
                "Index pages do not list withheld versions, so pip and uv choose another version or report that no"
                " version exists, without the reason."
            )


def render_rejection(rejection: str | None) -> Markup:
    """Return a banner that says why the policy file is refused; empty markup if it is in force.

    Args:
        rejection: the reason. Each line is one problem, with the file and the line of the file.
    """
    if rejection is None:
        return Markup()
    lines = rejection.split("\n")
    items = [element("li", line) for line in lines[:_MAX_PROBLEMS]]
    more = len(lines) - _MAX_PROBLEMS
    return element(
        "section",
        element("p", element("strong", "The policy file is refused."), " The policy before it stays in force."),
        element("ul", *items, markup_if(more > 0, element("li", f"{more} more problems; see the log"))),
        class_="alert",
        aria_label="Refused policy file",
    )


def render_policy_page(policy: Policy, showing: Showing, now: datetime, rejection: str | None = None) -> bytes:
    """Return the policy page as UTF-8 HTML. A waiver that expired before `now` is marked as expired.

    Args:
        policy: the policy of the view.
        showing: listing of withheld versions on the index pages of the view.
        now: current time in UTC.
        rejection: reason why the contents of the policy file are refused; None if they are in force.
    """
    audit = "Audit mode: unmet requirements are reported but not enforced."
    return render_page(
        "Policy",
        element("h1", "Approval policy"),
        render_rejection(rejection),
        markup_if(policy.mode is Mode.AUDIT, element("p", audit, class_="note")),
        element(
            "p",
            "The first rule that covers the name of a project governs its files. Files of a project without a rule are"
            " withheld. Under every rule, a file is withheld if it is revoked, if its entry on the index page is"
            " invalid, or if its provenance is forged and the rule does not pin the file.",
        ),
        element("p", describe_showing(showing)),
        element("h2", "Rules"),
        markup_if(not policy.rules, element("p", "The policy has no rules, so nothing is approved.")),
        *(_render_rule(number, rule, policy) for number, rule in enumerate(policy.rules)),
        element("h2", "Waivers"),
        render_waivers(policy.waivers, now),
        element("h2", "Revocations"),
        _render_revocations(policy),
        element("h2", "Advisories"),
        element("p", describe_advisories(policy)),
        _render_ignored_advisories(policy, now),
        element("p", "Digest of this policy: ", element("code", policy.digest), class_="soft"),
        root="",
        path="policy",
    )


def _render_rule(number: int, rule: Rule, policy: Policy) -> Markup:
    words = describe_rule(number, rule, policy)
    return element(
        "section",
        element("h3", words.title),
        element("p", "A file of ", _render_names(words.projects), f" {words.consequence}"),
        markup_if(words.phrases, element("ul", *(element("li", _render_phrase(each)) for each in words.phrases))),
        markup_if(words.mode_note, element("p", words.mode_note, class_="soft")),
        aria_label=f"Rule {number + 1}",
    )


def _render_phrase(phrase: Phrase) -> Child:
    if not phrase.items:
        return phrase.text
    return join_markup((phrase.text, element("ul", *(element("li", item) for item in phrase.items))))


def render_waivers(waivers: Sequence[Waiver], now: datetime) -> Markup:
    """Return a table of waivers, the first to expire first. A waiver that expired before `now` is marked."""
    if not waivers:
        return element("p", "The policy has no waivers.")
    rows = [_render_waiver_row(waiver, now) for waiver in sorted(waivers, key=lambda each: each.expires)]
    return render_table("Waivers", ("Projects", "Files", "Lifted requirements", "Expires", "Reason"), rows)


def _render_waiver_row(waiver: Waiver, now: datetime) -> tuple[Child, ...]:
    files = [
        f"versions {waiver.versions}" if waiver.versions is not None else "",
        f"uploaded before {format_instant(waiver.uploaded_before)}" if waiver.uploaded_before is not None else "",
        f"files listed by SHA-256: {len(waiver.sha256)}" if waiver.sha256 else "",
    ]
    return (
        _render_names(waiver.projects),
        ", ".join(each for each in files if each),
        _render_names(lift.value for lift in waiver.lifts),
        _render_expiry(waiver.expires, now),
        f"{waiver.reason}{f' (approved by {waiver.approved_by})' if waiver.approved_by else ''}",
    )


def _render_expiry(expires: datetime, now: datetime) -> Markup:
    if expires <= now:
        return element("span", f"✗ expired {format_instant(expires)}", class_="badge withheld")
    if expires - now < _EXPIRY_WARNING:
        return element("span", f"! expires soon: {format_instant(expires)}", class_="badge lifted")
    return render_instant(expires)


def _render_revocations(policy: Policy) -> Markup:
    if not policy.revocations:
        return element("p", "The policy has no revocations.")
    rows: list[tuple[Child, ...]] = [(_describe_revocation(each), each.reason) for each in policy.revocations]
    return render_table("Revocations", ("Revoked", "Reason"), rows)


def _render_ignored_advisories(policy: Policy, now: datetime) -> Markup:
    if not policy.ignored_advisories:
        return element("p", "The policy ignores no advisories.")
    ends = sorted(policy.ignored_advisories, key=lambda each: each.expires)
    rows: list[tuple[Child, ...]] = [
        (render_name(each.id), _render_expiry(each.expires, now), each.reason) for each in ends
    ]
    return render_table("Ignored advisories", ("Advisory", "Expires", "Reason"), rows)


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
        indexes = f"from index {revocation.log_index_from} to before index {revocation.log_index_until}"
        return f"entries of the log {revocation.log} {indexes}"
    if revocation.certificates:
        return f"certificates listed by SHA-256: {len(revocation.certificates)}"
    return f"files listed by SHA-256: {len(revocation.sha256 or ())}"


def _render_names(names: Iterable[str]) -> Markup:
    return join_separated((render_name(each) for each in names), ", ")
