"""Answer at the top of a project page: which version installers get, or why they get none, and the reasons. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from packaging.version import Version

from assay.policy.nearest_version import collect_recommended_versions
from assay.policy.verdict import Approved, Reason, Withheld
from assay.web.ui.markup import Markup, element, join_markup, join_separated, markup_if
from assay.web.ui.release_files import count_files
from assay.web.ui.releases import FileVerdict, Release, UndecidedFile

_MAX_REASONS: Final = 5
_MAX_UNFOLDED_REASONS: Final = 2
"""Maximum number of different reasons that are not folded."""
_MAX_NAMED: Final = 3
"""Maximum number of versions or codes in one sentence."""


def render_answer(
    releases: Sequence[Release], files: Sequence[FileVerdict], absence_reason: str | None, link: Callable[[str], str]
) -> Markup:
    """Return the sentences that say which version of a project is approved, or why none is.

    Args:
        releases: releases of the project, newest first.
        files: all files of the releases.
        absence_reason: message if the index owns the name but has no such project.
        link: function that returns the URL of a version on the page.
    """
    if not files:
        return element("p", absence_reason or "The index lists no files of this project.", class_="answer")
    newest = _find_newest_approved([each for each in files if isinstance(each, Approved)])
    if newest is None:
        return element("p", _describe_none_approved(files), class_="answer withheld")
    version = element("a", str(newest), href=link(str(newest)))
    newer = [each for each in releases if _is_newer(each, newest)]
    return join_markup(
        (
            element("p", "Newest approved: ", version, class_="answer approved"),
            markup_if(newer, element("p", _describe_newer(newer, link))),
        )
    )


def _find_newest_approved(approved: Sequence[Approved]) -> Version | None:
    """Return the newest approved version: a final release that is not yanked, if there is one."""
    versions = {each.file.distribution.version for each in approved if each.file.distribution is not None}
    candidates = collect_recommended_versions(approved) or versions
    return max(candidates, key=lambda version: (not version.is_prerelease, version), default=None)


def _describe_none_approved(files: Sequence[FileVerdict]) -> str:
    withheld = [each for each in files if isinstance(each, Withheld)]
    undecided = sum(isinstance(each, UndecidedFile) for each in files)
    if len(withheld) == len(files):
        subject = "The only file is" if len(files) == 1 else f"All {count_files(len(files))} are"
        return f"{subject} withheld: {_name_codes(withheld)}"
    named = f"; {count_files(len(withheld))} withheld: {_name_codes(withheld)}" if withheld else ""
    return f"No version is approved yet: {count_files(undecided)} undecided{named}"


def _name_codes(withheld: Sequence[Withheld]) -> str:
    counts = Counter(each.reasons[0].code.value for each in withheld).most_common()
    if len(counts) == 1:
        return counts[0][0]
    named = ", ".join(f"{code} ({number:,})" for code, number in counts[:_MAX_NAMED])
    return f"{named}, and others" if len(counts) > _MAX_NAMED else named


def _is_newer(release: Release, newest: Version) -> bool:
    """Return True if installers would prefer the release to `newest`, were it approved."""
    version = release.version
    if version is None or release.has_approved or version <= newest:
        return False
    return not version.is_prerelease or newest.is_prerelease


def _describe_newer(newer: Sequence[Release], link: Callable[[str], str]) -> Markup:
    named = [
        join_markup((element("a", each.title, href=link(each.key)), f" ({_name_state(each)})"))
        for each in newer[:_MAX_NAMED]
    ]
    if len(newer) > _MAX_NAMED:
        named.append(Markup(f"{len(newer) - _MAX_NAMED} more"))
    subject = "A newer version is" if len(newer) == 1 else f"{len(newer)} newer versions are"
    return join_markup((f"{subject} not approved: ", join_separated(named, ", "), "."))


def _name_state(release: Release) -> str:
    withheld = [each for each in release.files if isinstance(each, Withheld)]
    return _name_codes(withheld) if withheld else "undecided"


def render_reasons(withheld: Iterable[Withheld]) -> Markup:
    """Return the reasons why files of a project are withheld, most frequent first, each with its number of files.

    Only the first reason of each file counts, which decided the verdict. If its message differs from file to file, the
    message of the first file is an example.
    """
    found: dict[tuple[object, str | None], list[Withheld]] = {}
    for each in withheld:
        found.setdefault((each.reasons[0].code, each.reasons[0].rule), []).append(each)
    groups = sorted(found.values(), key=len, reverse=True)
    if not groups:
        return Markup()
    items = [element("li", _render_reason(group)) for group in groups[:_MAX_REASONS]]
    more = sum(map(len, groups[_MAX_REASONS:]))
    rest = element("li", f"{count_files(more)} for other reasons")
    listed = element("ul", *items, markup_if(more, rest))
    if len(groups) <= _MAX_UNFOLDED_REASONS:
        return listed
    count = sum(map(len, groups))
    return element("details", element("summary", f"Why {count_files(count)} are withheld"), listed)


def _render_reason(group: Sequence[Withheld]) -> Markup:
    first: Reason = group[0].reasons[0]
    is_same = all(each.reasons[0].facts == first.facts for each in group)
    rule = "" if first.rule is None else f" (rule: {first.rule})"
    message = first.message if is_same else f"for example, {group[0].file.filename}: {first.message}"
    files = element("span", f"✗ {count_files(len(group))}", class_="badge withheld")
    return join_markup((files, " ", element("strong", first.code.value), f"{rule}: {message}"))
