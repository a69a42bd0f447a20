"""Home page of a view: introduction, configuration of installers, statistics and recent refusals. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from assay.indexes import is_loopback, split_host
from assay.policy.language.model import Mode, Policy, Showing
from assay.policy.language.times import format_instant
from assay.simple.filename import parse_filename
from assay.simple.model import NormalizedName
from assay.units import format_size
from assay.web.ui.layout import render_facts, render_instant, render_page, render_table
from assay.web.ui.markup import Child, Markup, element, escape_lines, join_markup, markup_if
from assay.web.ui.policy import describe_showing, render_rejection
from assay.web.ui.refusals import RecentRefusal
from assay.web.ui.releases import build_row_url

_PLACEHOLDER_ORIGIN = "http://ADDRESS"


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeStats:
    """Statistics that the home page of a view shows."""

    projects: int
    """Number of projects whose judged page is in memory."""
    approved: int
    """Number of approved files on the judged pages in memory."""
    withheld: int
    """Number of withheld files on the judged pages in memory."""
    blobs: int
    """Number of files in the cache, which all views share."""
    blob_bytes: int
    """Size of the files in the cache, in bytes."""
    hidden: int
    """Number of hidden versions on the judged pages in memory: withheld newest versions, and versions of which only an
    sdist is left."""
    refused: int
    """Number of requests for withheld files since the proxy started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeContext:
    """View, address and policy of a home page."""

    showing: Showing
    """Listing of withheld versions on index pages."""
    policy: Policy
    """Policy in force."""
    policy_since: datetime | None = None
    """Time since which the policy is in force in this process, if it is known."""
    rejection: str | None = None
    """Reason why the contents of the policy file are refused; None if they are in force."""
    origin: str | None
    """Origin at which the client reaches the proxy, for example ``https://host``. None if no origin is trusted."""
    prefix: str = ""
    """Path prefix of the view, for example ``/strict``; empty for the view at ``/``."""
    view: str | None = None
    """Name of the view; None for the view ``default``, which the page does not name."""
    others: tuple[tuple[str, str], ...] = ()
    """Name and path of each other view that the user may use."""


def render_home_page(
    context: HomeContext, stats: HomeStats, refusals: tuple[RecentRefusal, ...], now: datetime
) -> bytes:
    """Return the home page of a view as UTF-8 HTML.

    Args:
        context: view, address and policy of the page.
        stats: statistics to show.
        refusals: recent refusals and hidden versions, the latest first.
        now: current time in UTC.
    """
    return render_page(
        "Assay",
        element("h1", "Assay: a package index that verifies provenance"),
        render_rejection(context.rejection),
        element(
            "p",
            "Assay is a caching proxy in front of other package indexes. It verifies the provenance of distributions"
            " and serves only the files that the policy approves. A request for a withheld file gets the response 403"
            f" with the reason. {describe_showing(context.showing)} Enter the name of a project above to see the"
            " verdicts on its files.",
        ),
        *_render_views(context),
        element("h2", "Point your tools here"),
        *_render_instructions(context),
        element("h2", "Status"),
        _render_status(context),
        element("h2", "Counts"),
        _render_stats(stats),
        element("h2", "Recent refusals"),
        _render_refusals(refusals),
        element(
            "p",
            f"As of {format_instant(now)}. Requests are counted since the proxy started. ",
            element("a", "All refusals", href="refusals"),
            class_="soft",
        ),
        root="",
    )


def _render_views(context: HomeContext) -> list[Markup]:
    introduction = element("p", "This is the view ", element("code", context.view), ", which has its own policy.")
    links = (element("li", element("a", name, href=path.lstrip("/"))) for name, path in context.others)
    return [
        markup_if(context.view is not None, introduction),
        markup_if(context.others, element("p", "Other views of this proxy, each with its own policy:")),
        markup_if(context.others, element("ul", *links)),
    ]


def _render_instructions(context: HomeContext) -> list[Child]:
    origin = context.origin
    index = f"{_PLACEHOLDER_ORIGIN}/simple/" if origin is None else f"{origin}{context.prefix}/simple/"
    missing = element("p", "Replace ", element("code", _PLACEHOLDER_ORIGIN), " with the address of this proxy.")
    return [
        markup_if(origin is None, missing),
        element(
            "p",
            "Configure this proxy as the ",
            element("strong", "only"),
            " index. A second index (",
            element("code", "extra-index-url"),
            ") bypasses the policy.",
        ),
        _render_tabs(_list_settings(index, origin)),
    ]


def _list_settings(index: str, origin: str | None) -> list[tuple[str, str, str]]:
    """Return the name of each tool, the place of its settings, and the settings for the URL of the index."""
    return [
        ("pip", "on the command line", f"pip config set global.index-url {index}{_format_trusted_host(origin)}"),
        ("uv", "in uv.toml", f'[[index]]\nurl = "{index}"\ndefault = true'),
        (
            "Poetry",
            "in pyproject.toml",
            f'[[tool.poetry.source]]\nname = "assay"\nurl = "{index}"\npriority = "primary"',
        ),
        ("PDM", "in pyproject.toml", f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{index}"'),
        ("Pipenv", "in the Pipfile", f'[[source]]\nname = "pypi"\nurl = "{index}"\nverify_ssl = true'),
        ("CI", "as environment variables of pip and uv", f"PIP_INDEX_URL={index}\nUV_DEFAULT_INDEX={index}"),
    ]


def _render_tabs(tabs: list[tuple[str, str, str]]) -> Markup:
    """Return tabs that need no scripts: radio buttons, each followed by its panel.

    Args:
        tabs: name of a tool, place of its settings, and the settings, for each tab.
    """
    drawn: list[Markup] = []
    for number, (tool, place, content) in enumerate(tabs):
        name, checked = f"tool-{number}", "" if number == 0 else None
        snippet = element("code", escape_lines(content))
        drawn += (
            element("input", type="radio", name="tool", id=name, checked=checked, autocomplete="off"),
            element("label", tool, for_=name),
            element(
                "div",
                element("p", f"{tool}, {place}:"),
                element("pre", snippet, tabindex=0, role="region", aria_label=f"Settings for {tool}"),
            ),
        )
    return element("fieldset", element("legend", "Tool"), *drawn, class_="tabs")


def _render_status(context: HomeContext) -> Markup:
    policy = context.policy
    parts = [(policy.rules, "rule"), (policy.waivers, "waiver"), (policy.revocations, "revocation")]
    counts = ", ".join(f"{len(found)} {name}{'' if len(found) == 1 else 's'}" for found, name in parts)
    mode = "unmet requirements are reported, but not enforced" if policy.mode is Mode.AUDIT else "enforced"
    since = context.policy_since
    return render_facts(
        [
            ("policy in force", join_markup((element("a", counts, href="policy"), f"; {mode}"))),
            ("since", None if since is None else format_instant(since)),
            ("digest", element("code", policy.digest)),
            ("policy file", "refused, see above" if context.rejection is not None else None),
        ]
    )


def _format_trusted_host(origin: str | None) -> str:
    """Return the pip command that makes pip trust the host of `origin`, or an empty string if pip trusts it already.

    pip accepts https, and plain http from loopback. From any other host pip refuses plain http without this command.
    """
    scheme, _, authority = (origin or "https://").partition("://")
    if scheme == "https" or is_loopback(split_host(authority)[0]):
        return ""
    return f"\npip config set global.trusted-host {authority}"


def _render_stats(stats: HomeStats) -> Markup:
    """Return the statistics, each with what it counts."""
    rows: list[tuple[str, Child, str]] = [
        ("projects in memory", f"{stats.projects:,}", "whose page was requested and has verdicts now"),
        (
            "approved files",
            element("span", f"{stats.approved:,}", class_="approved"),
            "of these projects: listed for installers, and served",
        ),
        (
            "withheld files",
            element("span", f"{stats.withheld:,}", class_="withheld"),
            "of these projects: not served; their pages have the reasons",
        ),
        ("hidden versions", f"{stats.hidden:,}", "withheld newest versions, and versions with only an sdist left"),
        ("refused requests", f"{stats.refused:,}", "for withheld files, since the proxy started"),
        ("cached files", f"{stats.blobs:,}", "on the disk, for all views"),
        ("cache size", format_size(stats.blob_bytes), "of the cached files"),
    ]
    cards = [
        element("div", element("dt", name), element("dd", value), element("dd", meaning, class_="soft"))
        for name, value, meaning in rows
    ]
    return element("dl", *cards, class_="counts")


def _render_refusals(refusals: tuple[RecentRefusal, ...]) -> Markup:
    if not refusals:
        return element("p", "No recorded refusals.")
    return render_table(
        "Recent refusals",
        ("Time", "Event", "File", "Rule", "Reason"),
        [_render_refusal_row(refusal) for refusal in refusals],
    )


def _render_refusal_row(refusal: RecentRefusal) -> tuple[Child, ...]:
    name = element("code", refusal.filename)
    return (
        render_instant(refusal.time),
        refusal.event,
        name if refusal.project is None else _link_to_file(name, refusal.project, refusal.filename),
        refusal.rule or "no rule",
        join_markup((element("strong", refusal.code), ": ", refusal.message)),
    )


def _link_to_file(name: Markup, project: NormalizedName, filename: str) -> Markup:
    distribution = parse_filename(filename, project).distribution
    version = None if distribution is None else distribution.version
    return element("a", name, href=build_row_url("", project, version, filename))
