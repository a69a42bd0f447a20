"""``assay waive FILE… --reason … --expires …``: a waiver for exactly these files, as they are on their index now."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from datetime import UTC, date, datetime
from pathlib import Path

from assay import telemetry
from assay.cli import EXIT_OK
from assay.cli.dry_run import PageResults, judge_pages, open_dry_run
from assay.cli.policy_option import choose_policy
from assay.cli.tables import escape_unprintable
from assay.config import Configuration
from assay.errors import AssayError, ConfigurationError
from assay.gate.judged_page import JudgedPage
from assay.policy.language.document import load_policy
from assay.policy.language.model import Lift, Policy
from assay.policy.language.proposal import format_waiver
from assay.policy.verdict import Withheld
from assay.policy.waivers import LIFT_BY_CODE
from assay.simple.filename import possible_projects


def main(options: argparse.Namespace) -> int:
    """Write the waiver to standard output, or with ``--append`` to the end of the policy.

    Raises:
        ConfigurationError: configuration, policy, a file that is not withheld, or whose reasons no waiver lifts.
        AssayError: it cannot be decided now.
    """
    telemetry.configure_logging(sys.stderr, level=logging.WARNING)
    expires = _parse_expiry(options.expires)
    by = choose_policy(options)
    withheld = asyncio.run(_find_withheld(by.configuration, by.policy, options.files))
    lifts = sorted({lift for each in withheld for lift in _get_required_lifts(each)})
    lines = format_waiver(
        projects=(each.file.distribution.project for each in withheld if each.file.distribution is not None),
        files={each.file.sha256: each.file.filename for each in withheld if each.file.sha256 is not None},
        lifts=lifts,
        expires=expires,
        reason=options.reason,
        approved_by=options.approved_by,
    )
    text = "\n".join(lines) + "\n"
    if not options.append:
        print(text, end="")
    elif by.path is None:
        raise ConfigurationError("--append needs a policy file; the built-in policy holds here")
    else:
        _append_to_policy(by.path, text)
    return EXIT_OK


def _parse_expiry(text: str) -> date:
    try:
        expires = date.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"--expires: expected a date such as 2026-12-15, found {text!r}") from error
    if expires < datetime.now(UTC).date():
        raise ConfigurationError(f"--expires: {text} is over: such a waiver would lift nothing")
    return expires


async def _find_withheld(configuration: Configuration, policy: Policy, filenames: list[str]) -> list[Withheld]:
    names = {name for filename in filenames for name in possible_projects(filename)}
    async with open_dry_run(configuration, policy) as assembly:
        pages = await judge_pages(assembly, sorted(names))
    return [_require_withheld(filename, pages) for filename in filenames]


def _require_withheld(filename: str, pages: PageResults) -> Withheld:
    candidates = [pages[name] for name in possible_projects(filename)]
    for page in candidates:
        if not isinstance(page, JudgedPage):
            continue
        for verdict in page.verdicts:
            if verdict.file.filename != filename:
                continue
            if not isinstance(verdict, Withheld):
                raise ConfigurationError(f"{escape_unprintable(filename)} is approved: it needs no waiver")
            return verdict
    failures = [page for page in candidates if isinstance(page, AssayError)]
    if failures and len(failures) == len(candidates):
        raise failures[0]
    raise ConfigurationError(f"no index of this proxy lists {escape_unprintable(filename)}")


def _get_required_lifts(withheld: Withheld) -> set[Lift]:
    if withheld.enforced or not all(reason.code in LIFT_BY_CODE for reason in withheld.reasons):
        first = withheld.reasons[0]
        name, why = escape_unprintable(withheld.file.filename), escape_unprintable(first.message)
        raise ConfigurationError(f"no waiver lifts what withholds {name}: [{first.code}] {why}")
    return {LIFT_BY_CODE[reason.code] for reason in withheld.reasons}


def _append_to_policy(path: Path, text: str) -> None:
    """Put the waiver at the policy's end, at once and only if the whole is a policy then."""
    target = path.resolve()  # a link is kept, and what it leads to is replaced
    try:
        before = target.read_text("utf-8")
        whole = before if before.endswith("\n") else f"{before}\n"
        load_policy(whole + text, str(path))
        new = target.with_name(f".{target.name}.new")
        new.write_text(whole + text, "utf-8")
        new.chmod(target.stat().st_mode)
        new.replace(target)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error
    print(f"appended to {path}", file=sys.stderr)
