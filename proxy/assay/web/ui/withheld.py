"""Page for a request of a withheld file: the reasons, the alternatives, and the waiver that would approve it. Pure.

The page names only facts that the problem document has too, and other files of the same project. The command and the
TOML are proposals: only an operator can put a waiver into force.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from packaging.version import Version

from assay.policy.language.proposal import format_waiver_of
from assay.policy.nearest_version import collect_recommended_versions
from assay.policy.reasons import ReasonJson, escape_controls, reasons_to_json
from assay.policy.verdict import Approved, Withheld
from assay.policy.waivers import find_unliftable
from assay.simple.model import NormalizedName
from assay.web.ui.layout import render_page, render_reason
from assay.web.ui.markup import Child, Markup, element, escape_lines, join_markup, join_separated, markup_if
from assay.web.ui.releases import build_file_url, build_version_url

WAIVER_REASON: Final = "why the file is needed"
WAIVER_DURATION: Final = timedelta(weeks=2)
_WAIVER_DURATION_WORDS: Final = "2 weeks"
_MAX_NAMED_FILES: Final = 5
_TEXT_COLUMNS: Final = 80
"""Estimated number of characters in a line of the text field, for its height."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WithheldContext:
    """Facts about a refused request that the verdict does not contain."""

    project: NormalizedName | None
    """Project whose page lists the file; None if the page is not in memory."""
    approved: Sequence[Approved] = ()
    """Approved files of the project."""
    view: str | None = None
    """Name of the view; None for the view ``default``."""
    help: str | None = None
    """URL or contact from the table ``[help]`` of the configuration."""
    is_help_url: bool = False
    """True if `help` is a URL."""
    request_id: str | None = None
    now: datetime
    """Current time in UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Alternative:
    """Approved version to use in place of the file."""

    version: str
    filenames: tuple[str, ...] = ()
    """Approved files, if the version is that of the withheld file."""


def render_withheld_page(withheld: Withheld, context: WithheldContext, root: str) -> bytes:
    """Return the page for a withheld file as UTF-8 HTML.

    Args:
        withheld: verdict on the file.
        context: further facts about the request.
        root: relative URL of the view's home page from the requested URL.
    """
    title = f"{withheld.file.filename} is withheld by policy"
    reasons, alternative = reasons_to_json(withheld), _find_alternative(withheld, context.approved)
    return render_page(
        title,
        element("h1", title),
        element("ul", *(element("li", render_reason(reason)) for reason in reasons)),
        markup_if(withheld.rule, element("p", f"Governing rule: {withheld.rule}.", class_="soft")),
        element("h2", "Next steps"),
        element("ul", *(element("li", each) for each in _list_actions(withheld, context, alternative, root) if each)),
        _render_waiver(withheld, context),
        element("h2", "Text to copy"),
        _render_copyable(_write_report(withheld, context, reasons, alternative)),
        root=root,
    )


def format_waive_command(withheld: Withheld, view: str | None) -> str | None:
    """Return the shell command that writes a waiver for the file; None if no waiver can approve the file."""
    if find_unliftable(withheld) is not None or withheld.file.sha256 is None:
        return None
    words = ["assay", "waive", withheld.file.filename, "--reason", WAIVER_REASON, "--expires", _WAIVER_DURATION_WORDS]
    return shlex.join(words if view is None else [*words, "--view", view])


def _find_alternative(withheld: Withheld, approved: Sequence[Approved]) -> _Alternative | None:
    """Return the nearest approved version: that of the file itself, if it has approved files, else `nearest`.

    For a file without a version, it is the newest approved version. Yanked versions and pre-releases count only if
    there is no other.
    """
    if withheld.nearest is not None:
        return _Alternative(version=withheld.nearest)
    versions = {each.file.distribution.version for each in approved if each.file.distribution is not None}
    own = withheld.file.distribution
    if own is not None and own.version in versions:
        return _Alternative(version=str(own.version), filenames=_list_filenames(own.version, approved))
    if not versions:
        return None
    candidates = collect_recommended_versions(approved) or versions
    return _Alternative(version=str(max(candidates, key=lambda version: (not version.is_prerelease, version))))


def _list_filenames(version: Version, approved: Sequence[Approved]) -> tuple[str, ...]:
    return tuple(
        each.file.filename
        for each in approved
        if each.file.distribution is not None and each.file.distribution.version == version
    )


def _list_actions(
    withheld: Withheld, context: WithheldContext, alternative: _Alternative | None, root: str
) -> list[Child]:
    return [
        _render_alternative(context, alternative, root),
        _render_help(context),
        _render_waiver_advice(withheld),
        _render_place(withheld, context, root),
    ]


def _render_alternative(context: WithheldContext, alternative: _Alternative | None, root: str) -> Child:
    if context.project is None:
        return None if alternative is None else f"Nearest approved version: {alternative.version}."
    if alternative is None:
        return f"No version of {context.project} is approved."
    link = element("a", alternative.version, href=build_version_url(root, context.project, alternative.version))
    if not alternative.filenames:
        requirement = element("code", f"{context.project}=={alternative.version}")
        return join_markup(("Nearest approved version: ", link, " (", requirement, ")."))
    named = join_separated((element("code", each) for each in alternative.filenames[:_MAX_NAMED_FILES]), ", ")
    more = len(alternative.filenames) - _MAX_NAMED_FILES
    ending = f" and {more} more." if more > 0 else "."
    return join_markup(("Nearest approved version: ", link, ". Approved files of this version: ", named, ending))


def _render_help(context: WithheldContext) -> Child:
    if context.help is None:
        return None
    shown = element("a", context.help, href=context.help) if context.is_help_url else element("span", context.help)
    return join_markup(("Help: ", shown))


def _render_waiver_advice(withheld: Withheld) -> Child:
    if (found := find_unliftable(withheld)) is None:
        return "Ask an operator of this proxy for a waiver, a temporary exception for exactly this file (see below)."
    return f"No waiver can approve this file, because no waiver lifts {found.reason.code}. Instead: {found.remedy}."


def _render_place(withheld: Withheld, context: WithheldContext, root: str) -> Child:
    if context.project is None:
        return None
    place = element("a", "this file", href=build_file_url(root, context.project, withheld.file))
    everything = element("a", f"all versions of {context.project}", href=f"{root}project/{context.project}")
    return join_markup(("Read all verdicts: on ", place, ", or on ", everything, "."))


def _render_waiver(withheld: Withheld, context: WithheldContext) -> Markup:
    command = format_waive_command(withheld, context.view)
    if command is None:
        return Markup()
    return join_markup(
        (
            element("h2", "Waiver"),
            element(
                "p",
                "For operators: this command prints the waiver below, or with ",
                element("code", "--append"),
                " adds it to the policy. If more reasons appear when these are lifted, the command lifts them too.",
            ),
            _render_snippet("Command that writes the waiver", command),
            _render_snippet("Waiver", _format_waiver(withheld, context.now)),
        )
    )


def _format_waiver(withheld: Withheld, now: datetime) -> str:
    expires = now.date() + WAIVER_DURATION
    return "\n".join(format_waiver_of([withheld], expires=expires, reason=WAIVER_REASON)).strip()


def _render_snippet(label: str, content: str) -> Markup:
    return element("pre", element("code", escape_lines(content)), tabindex=0, role="region", aria_label=label)


def _render_copyable(text: str) -> Markup:
    """Return a text field whose whole content can be selected and copied without scripts."""
    rows = 1 + sum(1 + len(line) // _TEXT_COLUMNS for line in text.split("\n"))
    return element("textarea", escape_lines(text), readonly="", rows=rows, aria_label="Report about this file")


def _write_report(
    withheld: Withheld, context: WithheldContext, reasons: list[ReasonJson], alternative: _Alternative | None
) -> str:
    facts = [
        ("SHA-256", withheld.file.sha256),
        ("Project", context.project),
        ("View", context.view),
        ("Rule", withheld.rule),
        ("Nearest approved version", _name_alternative(context, alternative)),
        ("Request", context.request_id),
        ("Command for a waiver", format_waive_command(withheld, context.view)),
    ]
    lines = [f"{withheld.file.filename} is withheld by policy", *map(_format_reason, reasons)]
    lines += [f"{name}: {value}" for name, value in facts if value is not None]
    return "\n".join(escape_controls(line) for line in lines)


def _name_alternative(context: WithheldContext, alternative: _Alternative | None) -> str | None:
    """Return the version, or "none" if it is known that no version is approved, else None."""
    if alternative is not None:
        return alternative.version
    return None if context.project is None else "none"


def _format_reason(reason: ReasonJson) -> str:
    details = [f"{key}: {value}" for key in ("expected", "found", "until") if (value := reason.get(key)) is not None]
    return f"- {reason['code']}: {reason['message']}" + (f" ({'; '.join(details)})" if details else "")
