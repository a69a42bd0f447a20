"""Home page of a view: introduction, configuration of installers, statistics and recent refusals. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from assay.gate.hidden_versions import HiddenVersion, Hiding
from assay.indexes import is_loopback, split_host
from assay.policy.language.model import Showing
from assay.policy.language.times import format_instant
from assay.policy.reasons import reasons_to_json
from assay.units import format_size
from assay.web.ui.layout import render_facts, render_instant, render_page, render_table
from assay.web.ui.markup import Child, Markup, element, escape_lines, join_markup, markup_if
from assay.web.ui.policy import describe_showing
from assay.web.ui.refusals import Refusal

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
    """View and address of a home page."""

    showing: Showing
    """Listing of withheld versions on index pages."""
    origin: str | None
    """Origin at which the client reaches the proxy, for example ``https://host``. None if no origin is trusted."""
    prefix: str = ""
    """Path prefix of the view, for example ``/strict``; empty for the view at ``/``."""
    view: str | None = None
    """Name of the view; None for the view ``default``, which the page does not name."""
    others: tuple[tuple[str, str], ...] = ()
    """Name and path of each other view that the user may use."""


def render_home_page(
    context: HomeContext, stats: HomeStats, refusals: tuple[Refusal, ...], now: datetime, *, no_such_name: bool = False
) -> bytes:
    """Return the home page of a view as UTF-8 HTML.

    Args:
        context: view and address of the page.
        stats: statistics to show.
        refusals: recent refusals, newest first.
        now: current time in UTC.
        no_such_name: True if the user searched for an invalid project name. The page then says so.
    """
    return render_page(
        "Assay",
        element("h1", "Assay: a package index that verifies provenance"),
        markup_if(
            no_such_name,
            element("p", "This is not a valid project name. Use letters, digits, -, _ and . only.", class_="note"),
        ),
        element(
            "p",
            "Assay is a caching proxy in front of other package indexes. It verifies the provenance of distributions"
            " and serves only the files that the policy approves. A request for a withheld file gets the response 403"
            f" with the reason. {describe_showing(context.showing)} Read ",
            element("a", "the policy in words", href="policy"),
            ", or enter the name of a project above to see the verdicts on its files.",
        ),
        *_render_views(context),
        element("h2", "Configure your installer"),
        *_render_instructions(context),
        element("h2", "Statistics"),
        _render_stats(stats),
        element("h2", "Recent refusals"),
        _render_refusals(refusals),
        element("p", f"As of {format_instant(now)}. Refusals are counted since the proxy started.", class_="soft"),
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
        *_render_snippet("pip", f"pip config set global.index-url {index}{_format_trusted_host(origin)}"),
        *_render_snippet("uv, in uv.toml", f'[[index]]\nurl = "{index}"\ndefault = true'),
        *_render_snippet(
            "Poetry, in pyproject.toml",
            f'[[tool.poetry.source]]\nname = "assay"\nurl = "{index}"\npriority = "primary"',
        ),
        *_render_snippet("PDM, in pyproject.toml", f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{index}"'),
    ]


def _format_trusted_host(origin: str | None) -> str:
    """Return the pip command that makes pip trust the host of `origin`, or an empty string if pip trusts it already.

    pip accepts https, and plain http from loopback. From any other host pip refuses plain http without this command.
    """
    scheme, _, authority = (origin or "https://").partition("://")
    if scheme == "https" or is_loopback(split_host(authority)[0]):
        return ""
    return f"\npip config set global.trusted-host {authority}"


def _render_snippet(name: str, content: str) -> tuple[Markup, Markup]:
    return element("h3", name), element(
        "pre", element("code", escape_lines(content)), tabindex=0, role="region", aria_label=f"Settings for {name}"
    )


def _render_stats(stats: HomeStats) -> Markup:
    return render_facts(
        [
            ("projects in memory", f"{stats.projects:,}"),
            ("approved files", element("span", f"{stats.approved:,}", class_="approved")),
            ("withheld files", element("span", f"{stats.withheld:,}", class_="withheld")),
            ("hidden versions", f"{stats.hidden:,}"),
            ("refused requests", f"{stats.refused:,}"),
            ("cached files", f"{stats.blobs:,}"),
            ("cache size", format_size(stats.blob_bytes)),
        ],
        class_="counts",
    )


def _render_refusals(refusals: tuple[Refusal, ...]) -> Markup:
    if not refusals:
        return element("p", "No refusals since the proxy started.")
    return render_table(
        "Recent refusals",
        ("Time", "Event", "File", "Rule", "Reason"),
        [_render_refusal_row(refusal) for refusal in refusals],
    )


def _render_refusal_row(refusal: Refusal) -> tuple[Child, ...]:
    file, reasons = refusal.withheld.file, reasons_to_json(refusal.withheld)
    project = file.distribution.project if file.distribution is not None else None
    name = element("code", file.filename)
    return (
        render_instant(refusal.time),
        _describe_event(refusal.hidden),
        name if project is None else element("a", name, href=f"project/{project}"),
        refusal.withheld.rule or "no rule",
        join_markup((element("strong", reasons[0]["code"]), ": ", reasons[0]["message"])),
    )


def _describe_event(hidden: HiddenVersion | None) -> str:
    """Return the event of a row: a refused request, or a requested page that hides a version."""
    if hidden is None:
        return "request refused"
    if hidden.hiding is Hiding.NEWEST:
        return f"newest version {hidden.version} withheld"
    return f"wheels of {hidden.version} withheld, only an sdist is left"
