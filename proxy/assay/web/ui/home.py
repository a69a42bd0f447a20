"""The page at ``/``: what this is, how to point installers at it, what it does just now. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from assay.indexes import is_loopback, split_host
from assay.policy.language.times import format_instant
from assay.policy.reasons import reasons_to_json
from assay.units import format_size
from assay.web.ui.layout import render_facts, render_instant, render_page, render_table
from assay.web.ui.markup import Child, Markup, element, escape_lines, join_markup, markup_if
from assay.web.ui.refusals import Refusal

_PLACEHOLDER_ORIGIN = "http://ADDRESS"


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeStats:
    """What the proxy holds and has done since it started."""

    projects: int
    """Judged pages in memory."""
    approved: int
    """Files on them."""
    withheld: int
    blobs: int
    blob_bytes: int
    refused: int
    """Requests for withheld files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeContext:
    """Where this page stands."""

    origin: str | None
    """The proxy's own address; None where none can be believed."""
    prefix: str = ""
    """Of the view."""
    view: str | None = None
    """Its name; None where there is no need to say it."""
    others: tuple[tuple[str, str], ...] = ()
    """Names and paths of the views that this reader may go to."""


def render_home_page(
    context: HomeContext, stats: HomeStats, refusals: tuple[Refusal, ...], now: datetime, *, no_such_name: bool = False
) -> bytes:
    """The page, UTF-8.

    Args:
        context: where it stands.
        stats: of just now.
        refusals: newest first.
        now: when.
        no_such_name: what was searched for cannot be a project.
    """
    return render_page(
        "Assay",
        element("h1", "Assay: packages whose provenance was tested"),
        markup_if(
            no_such_name,
            element("p", "That cannot be the name of a project: letters, digits, -, _ and . only.", class_="note"),
        ),
        element(
            "p",
            "This is a package index in front of others. It verifies the provenance of every distribution, and lists"
            " and serves only what the organisation's policy approves. A file that is withheld answers 403 and says"
            " why, in pip's and uv's console too. What the policy asks for is said ",
            element("a", "in words", href="policy"),
            "; what it makes of a project is found by the project's name, above.",
        ),
        *_render_views(context),
        element("h2", "Use it"),
        *_render_instructions(context),
        element("h2", "Just now"),
        _render_stats(stats),
        element("h2", "Last refusals"),
        _render_refusals(refusals),
        element("p", f"As of {format_instant(now)}; counted since the proxy started.", class_="soft"),
        root="",
    )


def _render_views(context: HomeContext) -> list[Markup]:
    said = element("p", "This is the view ", element("code", context.view), ", which has a policy of its own.")
    links = (element("li", element("a", name, href=path.lstrip("/"))) for name, path in context.others)
    return [
        markup_if(context.view is not None, said),
        markup_if(context.others, element("p", "Other policies hold in other views of this proxy:")),
        markup_if(context.others, element("ul", *links)),
    ]


def _render_instructions(context: HomeContext) -> list[Child]:
    origin = context.origin
    index = f"{_PLACEHOLDER_ORIGIN}/simple/" if origin is None else f"{origin}{context.prefix}/simple/"
    missing = element("p", "Replace ", element("code", _PLACEHOLDER_ORIGIN), " by the address of this page.")
    return [
        markup_if(origin is None, missing),
        element(
            "p",
            "Make it the ",
            element("strong", "only"),
            " index: a second one (",
            element("code", "extra-index-url"),
            ") is a way around the policy.",
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
    """Pip refuses plain http but on loopback."""
    scheme, _, authority = (origin or "https://").partition("://")
    if scheme == "https" or is_loopback(split_host(authority)[0]):
        return ""
    return f"\npip config set global.trusted-host {authority}"


def _render_snippet(name: str, content: str) -> tuple[Markup, Markup]:
    return element("h3", name), element(
        "pre", element("code", escape_lines(content)), tabindex=0, role="region", aria_label=f"Lines for {name}"
    )


def _render_stats(stats: HomeStats) -> Markup:
    return render_facts(
        [
            ("projects in memory", f"{stats.projects:,}"),
            ("their files approved", element("span", f"{stats.approved:,}", class_="approved")),
            ("their files withheld", element("span", f"{stats.withheld:,}", class_="withheld")),
            ("requests refused", f"{stats.refused:,}"),
            ("files kept", f"{stats.blobs:,}"),
            ("in all", format_size(stats.blob_bytes)),
        ],
        class_="counts",
    )


def _render_refusals(refusals: tuple[Refusal, ...]) -> Markup:
    if not refusals:
        return element("p", "None since the proxy started.")
    return render_table(
        "Last refusals", ("Time", "File", "Rule", "Why"), [_render_refusal_row(refusal) for refusal in refusals]
    )


def _render_refusal_row(refusal: Refusal) -> tuple[Child, ...]:
    file, reasons = refusal.withheld.file, reasons_to_json(refusal.withheld)
    project = file.distribution.project if file.distribution is not None else None
    name = element("code", file.filename)
    return (
        render_instant(refusal.time),
        name if project is None else element("a", name, href=f"project/{project}"),
        refusal.withheld.rule or "none",
        join_markup((element("strong", reasons[0]["code"]), ": ", reasons[0]["message"])),
    )
