"""Command ``assay waive FILE|NAME==VERSION… --reason … --expires …``: write a waiver for files of an index.

The waiver contains the current digest of each file, so it does not apply to a replaced file. ``NAME==VERSION`` stands
for the withheld files of a release. The command judges the files again with the waiver, because a file may have further
reasons that become known only when the first ones are lifted.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from assay import telemetry
from assay.assembly import Assembly
from assay.assembly.inputs import utc_now
from assay.cli import EXIT_OK
from assay.cli.dry_run import PageResults, judge_pages, open_dry_run
from assay.cli.file_replacement import replace_file
from assay.cli.policy_option import choose_policy
from assay.cli.releases import Release, find_release_verdicts, parse_release
from assay.cli.tables import escape_unprintable
from assay.config import Configuration
from assay.errors import AssayError, ConfigurationError
from assay.gate.judged_page import JudgedPage
from assay.policy.language.document import load_policy
from assay.policy.language.model import Lift, Policy
from assay.policy.language.proposal import format_waiver_of
from assay.policy.verdict import Approved, Withheld
from assay.policy.waivers import find_lifts, find_unliftable
from assay.simple.filename import has_distribution_ending, possible_projects
from assay.units import parse_duration

_ONE_DAY = timedelta(days=1)
_HINT = "; if the proxy has another policy, name its files with ASSAY_CONFIG and ASSAY_POLICY"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverText:
    """Values of a waiver that the user chooses."""

    expires: date
    """Last day of the waiver in UTC, or an instant."""
    reason: str
    approved_by: str | None


def main(options: argparse.Namespace) -> int:
    """Write the waiver to standard output. With ``--append``, write it to the end of the policy file that was used.

    Raises:
        ConfigurationError: the configuration, the policy, an argument or the expiry is invalid; or a file is unknown,
            is not withheld, or is withheld for a reason that no waiver lifts.
        AssayError: an index or the provenance of a file is unavailable, or a component of the proxy cannot start.
    """
    telemetry.configure_logging(sys.stderr, level=logging.WARNING)
    stated = WaiverText(
        expires=parse_expiry(options.expires, utc_now()), reason=options.reason, approved_by=options.approved_by
    )
    wanted = [_parse_selector(text) for text in options.files]
    by = choose_policy(options)
    text = asyncio.run(_write_waiver(by.configuration, by.policy, wanted, stated))
    if not options.append:
        print(text, end="")
    elif by.path is None:
        raise ConfigurationError("--append: expected a configuration with a policy file, found the built-in policy")
    else:
        _append_to_policy(by.path, text)
    return EXIT_OK


def parse_expiry(text: str, now: datetime) -> date:
    """Return the end of a waiver from a date or from a duration such as ``2 weeks``.

    A date is the last day of the waiver in UTC. A duration in whole days ends with a day too. Any other duration ends
    at an instant, which is rounded up to the minute.

    Args:
        text: the date or duration.
        now: the current time in UTC.

    Raises:
        ConfigurationError: the text is neither of them, or the waiver would have ended already.
    """
    with suppress(ValueError):
        expires = date.fromisoformat(text)
        if expires < now.date():
            raise ConfigurationError(f"--expires: expected today or a later date (UTC), found {text}")
        return expires
    try:
        duration = parse_duration(text)
    except ValueError as error:
        expected = 'a date such as 2026-12-15, or a duration such as "2 weeks" or "12 hours"'
        raise ConfigurationError(f"--expires: expected {expected}, found {text!r}") from error
    if not duration:
        raise ConfigurationError(f"--expires: expected a duration of more than zero, found {text!r}")
    if not duration % _ONE_DAY:
        return now.date() + duration
    return (now + duration + timedelta(seconds=59)).replace(second=0, microsecond=0)


def _parse_selector(text: str) -> str | Release:
    """Return the release that ``NAME==VERSION`` names, or the text itself if it is a filename.

    Raises:
        ConfigurationError: the text is neither of them.
    """
    if "==" not in text and has_distribution_ending(text):
        return text
    return parse_release(text, "a filename")


async def _write_waiver(
    configuration: Configuration, policy: Policy, wanted: Sequence[str | Release], stated: WaiverText
) -> str:
    names = {
        name for each in wanted for name in ([each.project] if isinstance(each, Release) else possible_projects(each))
    }
    async with open_dry_run(configuration, policy) as assembly:
        pages = await judge_pages(assembly, sorted(names))
        withheld = [found for each in wanted for found in _find_withheld(each, pages)]
        lifts = await _find_all_lifts(assembly, policy, withheld, stated)
    return _format_waiver(withheld, lifts, stated)


def _format_waiver(withheld: Sequence[Withheld], lifts: Iterable[Lift], stated: WaiverText) -> str:
    lines = format_waiver_of(
        withheld, lifts=lifts, expires=stated.expires, reason=stated.reason, approved_by=stated.approved_by
    )
    return "\n".join(lines) + "\n"


async def _find_all_lifts(
    assembly: Assembly, policy: Policy, withheld: Sequence[Withheld], stated: WaiverText
) -> frozenset[Lift]:
    """Return the words of `lifts` with which a waiver approves all files.

    The files are judged with a waiver that lifts their known reasons, until no further reason appears.

    Raises:
        ConfigurationError: a file has a reason that no waiver lifts, or the text of the waiver is invalid.
        AssayError: an index or the provenance of a file is unavailable.
    """
    digests = {each.file.sha256 for each in withheld}
    projects = sorted({each.file.distribution.project for each in withheld if each.file.distribution is not None})
    lifts, remaining = frozenset[Lift](), list(withheld)
    while remaining:
        for each in remaining:
            _require_liftable(each)
        more = lifts.union(*map(find_lifts, remaining))
        if more == lifts:
            raise ConfigurationError(f"the waiver does not approve {_name_file(remaining[0])}")
        lifts = more
        assembly.gate.policy = _add_waiver(policy, _format_waiver(withheld, lifts, stated))
        pages = await judge_pages(assembly, projects)
        for page in pages.values():
            if isinstance(page, AssayError):
                raise page
        remaining = [
            verdict
            for page in pages.values()
            if isinstance(page, JudgedPage)
            for verdict in page.listing.withheld
            if verdict.file.sha256 in digests
        ]
    return lifts


def _add_waiver(policy: Policy, text: str) -> Policy:
    """Return the policy with the waiver in `text`.

    Raises:
        ConfigurationError: the waiver is invalid.
    """
    (waiver,) = load_policy(f"version = 1\n{text}", "the waiver").waivers
    stated = {key: getattr(policy, key) for key in Policy.model_fields}
    return Policy.model_construct(**stated | {"waivers": (*policy.waivers, waiver)})


def _find_withheld(wanted: str | Release, pages: PageResults) -> Iterator[Withheld]:
    if isinstance(wanted, Release):
        yield from _find_withheld_of_release(wanted, pages[wanted.project])
    else:
        yield _require_withheld(wanted, pages)


def _find_withheld_of_release(release: Release, page: JudgedPage | AssayError) -> list[Withheld]:
    """Return the withheld files of a release. Print a note if some files of the release are approved.

    Raises:
        ConfigurationError: the project or the version is unknown, or no file of the release is withheld.
        AssayError: the page of the project is unavailable.
    """
    verdicts = find_release_verdicts(release, page)
    approved = sum(isinstance(each, Approved) for each in verdicts)
    if approved == len(verdicts):
        raise ConfigurationError(f"every file of {release} is approved and needs no waiver{_HINT}")
    if approved:
        print(f"{approved} of {len(verdicts)} files of {release} are approved and need no waiver", file=sys.stderr)
    return [each for each in verdicts if isinstance(each, Withheld)]


def _require_withheld(filename: str, pages: PageResults) -> Withheld:
    candidates = [pages[name] for name in possible_projects(filename)]
    for page in candidates:
        if not isinstance(page, JudgedPage):
            continue
        for verdict in page.verdicts:
            if verdict.file.filename != filename:
                continue
            if not isinstance(verdict, Withheld):
                raise ConfigurationError(f"{escape_unprintable(filename)} is approved and needs no waiver{_HINT}")
            return verdict
    failures = [page for page in candidates if isinstance(page, AssayError)]
    if failures and len(failures) == len(candidates):
        raise failures[0]
    raise ConfigurationError(f"no index of this proxy lists {escape_unprintable(filename)}")


def _require_liftable(withheld: Withheld) -> None:
    if (found := find_unliftable(withheld)) is not None:
        why = escape_unprintable(found.reason.message)
        raise ConfigurationError(
            f"no waiver can approve {_name_file(withheld)}: [{found.reason.code}] {why}; {found.remedy}"
        )


def _name_file(withheld: Withheld) -> str:
    return escape_unprintable(withheld.file.filename)


def _append_to_policy(path: Path, text: str) -> None:
    """Append the text of a waiver to the policy file. The file is replaced atomically, and only by a valid policy.

    Raises:
        ConfigurationError: the result is not a valid policy, or the file cannot be written.
    """
    try:
        before = path.read_text("utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    whole = before if before.endswith("\n") else f"{before}\n"
    load_policy(whole + text, str(path))
    replace_file(path, (whole + text).encode("utf-8"))
    print(f"appended to {path}", file=sys.stderr)
