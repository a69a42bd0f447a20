"""Search page: the projects that clients used, or those whose names resemble the search. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from packaging.utils import canonicalize_name

from assay.simple.model import NormalizedName
from assay.simple.search import SearchTarget
from assay.web.ui.layout import render_page
from assay.web.ui.markup import Markup, element, join_markup, markup_if

MAX_SUGGESTIONS: Final = 20
_MAX_LISTED: Final = 200
_MIN_SIMILARITY: Final = 0.75
_MAX_COMPARED: Final = 1000
"""Maximum number of names that are compared letter by letter."""


def suggest_projects(text: str, seen: Sequence[NormalizedName]) -> list[NormalizedName]:
    """Return the seen names that contain the text, then those that resemble it, at most `MAX_SUGGESTIONS`.

    Args:
        text: text that the user entered.
        seen: names of used projects, the last used first.
    """
    wanted = canonicalize_name(text.strip())
    if not wanted:
        return []
    begins = [name for name in seen if name.startswith(wanted)]
    contains = [name for name in seen if wanted in name and not name.startswith(wanted)]
    resembles = get_close_matches(wanted, seen[:_MAX_COMPARED], n=MAX_SUGGESTIONS, cutoff=_MIN_SIMILARITY)
    found = [*begins, *contains, *map(NormalizedName, resembles)]
    return list(dict.fromkeys(found))[:MAX_SUGGESTIONS]


def render_search_page(
    text: str, target: SearchTarget | None, seen: Sequence[NormalizedName], suggestions: Sequence[NormalizedName]
) -> bytes:
    """Return the search page as UTF-8 HTML.

    Args:
        text: text that the user entered; empty for the list of all seen projects.
        target: project that the text names, which is not among `seen`; None if it names none.
        seen: names of used projects, the last used first.
        suggestions: names that resemble the text.
    """
    invalid = (
        "This text names no project. Enter a name, a requirement such as foo[extra]>=1, a filename, or the address of a"
        " project or file on PyPI."
    )
    return render_page(
        "Search",
        element("h1", "Search"),
        markup_if(text and target is None, element("p", invalid, class_="note")),
        _render_target(target),
        markup_if(suggestions, element("h2", "Did you mean")),
        _render_names(suggestions),
        markup_if(not text, element("h2", "Projects seen")),
        markup_if(not text, _render_seen(seen)),
        root="",
        search_text=text,
        path="search",
    )


def _render_target(target: SearchTarget | None) -> Markup:
    if target is None:
        return Markup()
    link = element("a", f"Show the project {target.project}", href=f"project/{target.project}")
    return element("p", "No client has used a project of this name here. ", link, ".")


def _render_seen(seen: Sequence[NormalizedName]) -> Markup:
    if not seen:
        return element("p", "No client has used a project yet.")
    more = len(seen) - _MAX_LISTED
    return join_markup(
        (
            element("p", "The projects that clients used, the last used first."),
            _render_names(seen[:_MAX_LISTED]),
            markup_if(more > 0, element("p", f"{more:,} more are not shown.")),
        )
    )


def _render_names(names: Sequence[NormalizedName]) -> Markup:
    items = (element("li", element("a", name, href=f"project/{name}")) for name in names)
    return markup_if(names, element("ul", *items))
