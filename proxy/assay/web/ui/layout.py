"""Parts that all HTML pages share: head, navigation, style and security headers. Pure.

A page has one inline style element, which the Content-Security-Policy permits by its digest. It has no scripts, fonts
or frames, and no image but its icon. The colours follow the user's light or dark setting, with a contrast of at least
4.5 to 1. No information is shown by colour alone. On a phone, the cells of a table row are stacked.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from assay.policy.language.times import format_instant
from assay.policy.reasons import ReasonJson
from assay.simple.search import MAX_SEARCH_CHARS
from assay.telemetry.build import get_version
from assay.web.ui.markup import Child, Markup, element, join_markup

_STYLESHEET: Final = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#545c66;--line:#d0d7de;--panel:#f5f7f9;--link:#0550ae;
--good:#116329;--bad:#a40e26;--warn:#7a4b00;--mark:#8250df}
@media(prefers-color-scheme:dark){:root{--paper:#11151a;--ink:#e6edf3;--soft:#a3adb8;--line:#3a424c;--panel:#1a2027;
--link:#79b8ff;--good:#6ede8a;--bad:#ff9aa2;--warn:#f2cc60;--mark:#c8a6ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
header,main,footer{max-width:64rem;margin:0 auto;padding:0 1rem}
header{display:flex;flex-wrap:wrap;gap:.5rem 1.5rem;align-items:center;padding-top:1rem;padding-bottom:1rem}
header>a{font-weight:700;font-size:1.15rem;color:inherit;text-decoration:none}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1rem}nav a[aria-current]{color:inherit;font-weight:600}
form{display:flex;gap:.5rem;flex-wrap:wrap;align-items:center}header form{margin-left:auto}
main form{margin:1rem 0}
input,button,select{font:inherit;color:inherit;background:var(--panel);border:1px solid var(--soft);
border-radius:.35rem;padding:.3rem .6rem;max-width:100%}
::placeholder{color:var(--soft);opacity:1}a{color:var(--link)}
a:focus-visible,input:focus-visible,textarea:focus-visible,button:focus-visible,select:focus-visible,summary:focus-visible,[tabindex]:focus-visible{
outline:3px solid var(--mark);outline-offset:2px}
h1{font-size:1.7rem;line-height:1.25;margin:.6rem 0;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2rem 0 .6rem}
h3{font-size:1.05rem;margin:1.4rem 0 .4rem}
p,li,dd,summary{overflow-wrap:anywhere}td,th{overflow-wrap:break-word}
code,pre{font:14px/1.5 ui-monospace,"DejaVu Sans Mono",monospace}
pre,.scroll{overflow:auto;background:var(--panel);border:1px solid var(--line);border-radius:.4rem}
pre{padding:.7rem;margin:.4rem 0 1rem}
textarea{width:100%;color:inherit;background:var(--panel);border:1px solid var(--soft);border-radius:.4rem;
padding:.7rem;font:14px/1.5 ui-monospace,"DejaVu Sans Mono",monospace}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.45rem .6rem;border-bottom:1px solid var(--line)}
dl{display:grid;grid-template-columns:9rem 1fr;gap:.15rem 1rem;margin:.4rem 0}
dt{color:var(--soft)}dd{margin:0}
.counts{grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));gap:.6rem}
.counts div{background:var(--panel);border:1px solid var(--line);border-radius:.4rem;padding:.5rem .8rem;
display:flex;flex-direction:column}
.counts dd:not(.soft){font-size:1.3rem;font-weight:600}.counts dd.soft{font-size:.9rem}
details{border:1px solid var(--line);border-radius:.4rem;padding:.35rem .7rem;margin:.35rem 0}
details:target,section:target>h2{outline:3px solid var(--mark);outline-offset:2px}
:target{scroll-margin-top:1rem}summary{cursor:pointer}details[open]>summary{margin-bottom:.4rem}
.answer{font-size:1.25rem;font-weight:600;margin:.6rem 0}.answer.withheld{color:var(--bad)}
.answer.approved{color:var(--good)}
.row{border:1px solid var(--line);border-left-width:4px;border-radius:.4rem;padding:.35rem .7rem;margin:.35rem 0}
.row.approved{border-left-color:var(--good)}.row.withheld{border-left-color:var(--bad)}
.row.lifted,.row.undecided{border-left-color:var(--warn)}.row strong{margin-right:.4rem}
.group details{border:0;padding:.05rem .2rem;margin:0}
.group{border-top:1px solid var(--line);padding:.3rem 0}.group>p{margin:.3rem 0}.group>ul{margin:.3rem 0}
.row>.group:first-of-type,section>.group:first-of-type{border-top:0}
.choice a[aria-current]{color:inherit;font-weight:600}
.badge{font-weight:700}.badge,.short{white-space:nowrap}
span.approved{color:var(--good)}span.withheld{color:var(--bad)}span.lifted,span.undecided{color:var(--warn)}
.soft{color:var(--soft)}
.tabs{position:relative;display:flex;flex-wrap:wrap;gap:0 .25rem;border:0;padding:0;margin:.6rem 0;min-width:0}
.tabs>legend{padding:0;margin-bottom:.3rem;color:var(--soft)}.tabs>input{position:absolute;opacity:0}
.tabs>label{padding:.3rem .8rem;border:1px solid var(--line);border-radius:.35rem .35rem 0 0;cursor:pointer}
.tabs>input:checked+label{background:var(--panel);font-weight:700;box-shadow:inset 0 -3px var(--link)}
.tabs>input:focus-visible+label{outline:3px solid var(--mark);outline-offset:2px}
.tabs>div{order:1;width:100%;display:none}.tabs>input:checked+label+div{display:block}
.note,.alert{border-left:4px solid var(--warn);background:var(--panel);padding:.5rem .8rem;margin:1rem 0}
.alert{border-left-color:var(--bad)}.alert>*{margin:.3rem 0}.alert strong{color:var(--bad)}
footer{color:var(--soft);padding-top:2.5rem;padding-bottom:1.5rem;font-size:.9rem}
.picture{background:var(--panel);border:1px solid var(--line);border-radius:.4rem;padding:.7rem 1rem}
.timeline{display:block;width:100%;overflow:visible;font:12px system-ui,sans-serif}
.timeline text{fill:var(--ink)}.timeline text.soft{fill:var(--soft)}
.timeline .lane{stroke:var(--line)}
.timeline .thread{stroke:var(--soft);stroke-width:1.5}
.timeline .mark{stroke-width:2.5}
.timeline .mark.approved{fill:var(--good);stroke:var(--good)}
.timeline .mark.withheld{fill:none;stroke:var(--bad)}
.timeline .break{stroke:var(--mark);stroke-width:1.5;stroke-dasharray:5 4}
.timeline text.change{fill:var(--mark);font-weight:700}
.timeline text.version{font-size:11px;paint-order:stroke;stroke:var(--panel);stroke-width:5px}
@media(min-width:40.01rem){table{min-width:44rem}th,td{min-width:7rem}}
@media(max-width:40rem){.timeline text.version{display:none}
dl:not(.counts){grid-template-columns:1fr}dd{margin-bottom:.3rem}header form{margin-left:0;width:100%}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table,tbody,tr,td{display:block}tr{padding:.45rem .6rem;border-bottom:1px solid var(--line)}
tbody tr:last-child{border-bottom:0}
td{padding:.1rem 0;border:0;overflow-wrap:anywhere}td:empty{display:none}
td::before{content:attr(data-label)": ";color:var(--soft)}td .short{white-space:normal}}
"""
VERSION: Final = get_version()
"""Version of Assay, which the footer shows."""
_NAVIGATION: Final = (("Overview", "overview"), ("Refusals", "refusals"), ("Policy", "policy"))
"""Title and path of each page in the navigation. The list of all projects (``/simple/``) is not among them, because it
has more than 40 MB."""
_MAX_UNBROKEN_CHARS: Final = 24
_STYLE_DIGEST: Final = b64encode(hashlib.sha256(_STYLESHEET.encode()).digest()).decode()

HTML_HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def render_page(
    title: str, *body: Child, root: str, search_text: str = "", path: str = "", show_version: bool = True
) -> bytes:
    """Return a whole HTML page as UTF-8.

    Args:
        title: title of the browser tab. The ``h1`` is part of `body`.
        body: children of the ``main`` element.
        root: relative URL of the view's home page from this page. It is empty, or it ends in ``/``.
        search_text: initial text of the search field.
        path: path of this page below the view's home page, for example ``policy``. The navigation marks the page.
        show_version: True to show the version of Assay in the footer. False for clients that are not authenticated.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{title} · Assay" if title != "Assay" else title),
        element("link", rel="icon", href=f"{root}favicon.svg", type="image/svg+xml"),
        # A constant of this module. Escaping it would change its digest.
        Markup(f"<style>{_STYLESHEET}</style>"),
    )
    top = element(
        "header",
        element("a", "Assay", href=root or "./"),
        element("nav", *(_render_nav_link(name, to, root, path) for name, to in _NAVIGATION), aria_label="Main"),
        _render_search_form(root, search_text),
    )
    name = f"Assay {VERSION}" if show_version else "Assay"
    foot = element("footer", f"{name} verifies provenance and serves only the files that the policy approves.")
    whole = element("html", head, element("body", top, element("main", *body), foot), lang="en")
    return f"<!DOCTYPE html>{whole}".encode("utf-8", "backslashreplace")


def _render_nav_link(name: str, to: str, root: str, path: str) -> Markup:
    return element("a", name, href=f"{root}{to}", aria_current="page" if to == path else None)


def _render_search_form(root: str, search_text: str) -> Markup:
    return element(
        "form",
        element("label", "Project", for_="name"),
        element(
            "input",
            id="name",
            name="name",
            type="search",
            value=search_text or None,
            placeholder="name, file or URL",
            maxlength=MAX_SEARCH_CHARS,
            autocomplete="off",
        ),
        element("button", "Show", type="submit"),
        action=f"{root}search",
        method="get",
        role="search",
    )


def render_facts(rows: list[tuple[str, Child]], *, class_: str | None = None) -> Markup:
    """Return a description list of the rows that have a value. Return empty markup if no row has one.

    If `class_` is given, the list gets this class, and each row is in a ``div``.
    """
    made = [
        join_markup((element("dt", name), element("dd", value)))
        if class_ is None
        else element("div", element("dt", name), element("dd", value))
        for name, value in rows
        if value
    ]
    return element("dl", *made, class_=class_) if made else Markup()


def render_reason(reason: ReasonJson) -> Markup:
    """Return the code and message of a reason, with its expected value, found value and end time if they exist."""
    until = reason.get("until")
    rows: list[tuple[str, Child]] = [
        ("expected", reason["expected"]),
        ("found", reason["found"]),
        ("withheld until", None if until is None else format_instant(datetime.fromisoformat(until))),
    ]
    return join_markup((element("strong", reason["code"]), f": {reason['message']}", render_facts(rows)))


def render_name(content: str) -> Markup:
    """Return a name in a ``code`` element. A name of at most 24 characters does not wrap."""
    return element("code", content, class_="short" if len(content) <= _MAX_UNBROKEN_CHARS else None)


def render_instant(time: datetime) -> Markup:
    """Return a time as text that does not wrap."""
    return element("span", format_instant(time), class_="short")


def render_table(caption: str, header: tuple[str, ...], rows: list[tuple[Child, ...]]) -> Markup:
    """Return a table with the accessible name `caption`.

    A wide table scrolls inside a box, also by keyboard. On a phone, each row is a block with one line for each cell
    that is not empty, which begins with the name of the column.
    """
    return element(
        "div",
        element(
            "table",
            element("thead", element("tr", *(element("th", name, scope="col") for name in header))),
            element("tbody", *(_render_row(header, row) for row in rows)),
            aria_label=caption,
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )


def _render_row(header: tuple[str, ...], row: tuple[Child, ...]) -> Markup:
    return element("tr", *(element("td", cell, data_label=name) for name, cell in zip(header, row, strict=True)))
