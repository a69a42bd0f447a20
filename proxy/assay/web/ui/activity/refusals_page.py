"""Page of recorded refusals with filters, and its form as JSON. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from packaging.utils import canonicalize_name

from assay.policy.reasons import escape_controls
from assay.policy.verdict import ReasonCode
from assay.ports import RefusedRequest
from assay.web.routing.targets import get_query_parameter
from assay.web.ui.layout import render_instant, render_page, render_table
from assay.web.ui.markup import Child, Markup, element, join_markup, markup_if

PAGE_SIZE: Final = 50
"""Number of refusals on one page."""
ALL_VIEWS: Final = "*"
"""Value of the filter ``view`` for all views that the user may use."""


_MAX_FILTER_CHARS: Final = 256
_NUMBER: Final = re.compile(r"[1-9]\d{0,15}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterQuery:
    """Filter in the query of a request. None: any value."""

    project: str | None = None
    rule: str | None = None
    reason: str | None = None
    """Code of a reason."""
    view: str | None = None
    """Name of a view, or `ALL_VIEWS`; None: the view of the route."""
    user: str | None = None
    before: int | None = None
    """Number of the refusal before which the page begins; None: the page begins with the latest refusal."""


def parse_filter_query(query: str) -> FilterQuery:
    """Return the filter in a query. Invalid parameters are ignored."""

    def get(name: str) -> str | None:
        value = (get_query_parameter(query, name) or "").strip()
        return value if 0 < len(value) <= _MAX_FILTER_CHARS else None

    project, before = get("project"), get("before") or ""
    return FilterQuery(
        project=None if project is None else canonicalize_name(project),
        rule=get("rule"),
        reason=get("reason"),
        view=get("view"),
        user=get("user"),
        before=int(before) if _NUMBER.fullmatch(before) else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalListing:
    """One page of refusals."""

    refusals: Sequence[RefusedRequest]
    """The refusals, the latest first."""
    next_before: int | None
    """Value of ``before`` for the next page; None if this is the last page."""
    wanted: FilterQuery
    """Filter of the page."""
    view: str
    """Name of the view of the route."""
    views: Sequence[str]
    """Names of all views that the user may use on this page."""

    def link_to(self, **changes: str | int | None) -> str:
        """Return the relative URL of the page with a changed filter. None removes a filter."""
        wanted = self.wanted
        stated: dict[str, str | int | None] = {
            "project": wanted.project,
            "rule": wanted.rule,
            "reason": wanted.reason,
            "view": wanted.view,
            "user": wanted.user,
            **changes,
        }
        query = urlencode({key: value for key, value in stated.items() if value is not None}, errors="replace")
        return f"refusals?{query}" if query else "refusals"


def render_refusals_page(listing: RefusalListing) -> bytes:
    """Return the page as UTF-8 HTML."""
    wanted = listing.wanted
    is_filtered = any((wanted.project, wanted.rule, wanted.reason, wanted.view, wanted.user))
    return render_page(
        "Refusals",
        element("h1", "Refusals"),
        element(
            "p",
            "Requests for withheld files that Assay refused, the latest first. The record survives a restart; the"
            " oldest entries are removed. The audit trail, if it is configured, has all of them.",
        ),
        _render_filter(listing),
        markup_if(is_filtered, element("p", element("a", "Remove all filters", href="refusals"))),
        _render_table(listing),
        _render_pagination(listing),
        root="",
        path="refusals",
    )


def refusals_to_json(listing: RefusalListing) -> dict[str, Any]:
    """Return the page as a JSON object."""
    return {
        "refusals": [
            {
                "number": each.number,
                "time": each.time.isoformat(),
                "view": each.view,
                "route": each.route,
                "project": each.project,
                "filename": escape_controls(each.filename),
                "sha256": each.sha256,
                "rule": each.rule,
                "reasons": list(each.codes),
                "message": escape_controls(each.message),
                "user": each.user,
            }
            for each in listing.refusals
        ],
        "next": None if listing.next_before is None else listing.link_to(before=listing.next_before),
    }


def _render_filter(listing: RefusalListing) -> Markup:
    wanted = listing.wanted
    fields = [
        _render_field("project", "Project name", wanted.project),
        _render_field("rule", "Rule", wanted.rule),
        _render_choice("reason", "Reason", [(each.value, each.value) for each in ReasonCode], wanted.reason),
        _render_field("user", "User", wanted.user),
    ]
    if len(listing.views) > 1:
        choices = [(ALL_VIEWS, "all views"), *((name, name) for name in listing.views)]
        fields.append(_render_choice("view", "View", choices, wanted.view or listing.view, optional=False))
    return element(
        "form",
        *fields,
        element("button", "Filter", type="submit"),
        action="refusals",
        method="get",
        aria_label="Filter",
    )


def _render_field(name: str, label: str, value: str | None) -> Markup:
    field = element("input", name=name, value=value, maxlength=256, size=14, autocomplete="off")
    return element("label", f"{label} ", field)


def _render_choice(
    name: str, label: str, choices: Sequence[tuple[str, str]], chosen: str | None, *, optional: bool = True
) -> Markup:
    options = [element("option", "any", value="")] if optional else []
    options += [
        element("option", text, value=value, selected="" if value == chosen else None) for value, text in choices
    ]
    return element("label", f"{label} ", element("select", *options, name=name))


def _render_table(listing: RefusalListing) -> Markup:
    if not listing.refusals:
        return element("p", "No recorded refusal matches.")
    has_users = any(each.user is not None for each in listing.refusals)
    has_views = len({each.view for each in listing.refusals} | {listing.view}) > 1
    columns = (
        "Time",
        "File",
        "Rule",
        "Reason",
        *(("View",) if has_views else ()),
        *(("User",) if has_users else ()),
    )
    rows: list[tuple[Child, ...]] = [
        (
            render_instant(each.time),
            _render_file(each),
            "no rule" if each.rule is None else element("a", each.rule, href=listing.link_to(rule=each.rule)),
            _render_reason(each, listing),
            *((each.view,) if has_views else ()),
            *((_render_user(each, listing),) if has_users else ()),
        )
        for each in listing.refusals
    ]
    return render_table("Refused requests", columns, rows)


def _render_file(refused: RefusedRequest) -> Child:
    name = element("code", refused.filename)
    shown: Child = name if refused.project is None else element("a", name, href=f"project/{refused.project}")
    return shown if refused.route == "file" else join_markup((shown, f" ({refused.route})"))


def _render_reason(refused: RefusedRequest, listing: RefusalListing) -> Markup:
    first, *others = refused.codes
    more = f"; also: {', '.join(others)}" if others else ""
    link = element("a", element("strong", first), href=listing.link_to(reason=first))
    return join_markup((link, f": {refused.message}", more))


def _render_user(refused: RefusedRequest, listing: RefusalListing) -> Child:
    return None if refused.user is None else element("a", refused.user, href=listing.link_to(user=refused.user))


def _render_pagination(listing: RefusalListing) -> Markup:
    if listing.next_before is None:
        return Markup()
    return element("p", element("a", "Older refusals", href=listing.link_to(before=listing.next_before)))
