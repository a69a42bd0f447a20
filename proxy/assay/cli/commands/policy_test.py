"""Command ``assay policy test FILE``: compare expected verdicts with the verdicts that the proxy would reach now.

The file is TOML::

    [[expect]]
    project = "cryptography"
    version = "46.0.0"                 # or file = "cryptography-46.0.0.tar.gz"; without either, all files
    verdict = "approved"

    [[expect]]
    file = "evil-1.0-py3-none-any.whl"
    project = "evil"
    verdict = "withheld"
    reason = "denied"                  # code of the deciding reason; optional
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from packaging.utils import InvalidName, canonicalize_name
from pydantic import AfterValidator, Field, model_validator

from assay import telemetry
from assay.cli import EXIT_OK, EXIT_UNDECIDED, EXIT_WITHHELD
from assay.cli.dry_run import PageResults, judge_pages, open_dry_run
from assay.cli.policy_option import choose_policy
from assay.cli.tables import escape_unprintable
from assay.cli.verdicts import explain_verdict
from assay.config import Configuration
from assay.errors import AssayError
from assay.operator_files import read_text
from assay.policy.language.model import Policy
from assay.policy.verdict import Approved, ReasonCode, Withheld
from assay.settings import Settings, make_key_error, parse_toml, validate_table
from assay.simple.fields import parse_version

_MAX_EXAMPLES = 5
"""Maximum number of files that are printed for an expectation that is not met."""


def _normalize_version(text: str) -> str:
    if (version := parse_version(text)) is None:
        raise ValueError('a version such as "1.0"')
    return str(version)


def _parse_project_name(text: str) -> str:
    try:
        return canonicalize_name(text, validate=True)
    except InvalidName as error:
        raise ValueError("a valid project name") from error


class Expectation(Settings):
    """Expected verdict on the files of a project, or on some of them: one ``[[expect]]`` table."""

    project: Annotated[str, AfterValidator(_parse_project_name)]
    file: str | None = None
    """Filename. None: all files of the project or version."""
    version: Annotated[str, AfterValidator(_normalize_version)] | None = None
    """Version in the normal form of PEP 440. None: all versions."""
    verdict: Literal["approved", "withheld"]
    reason: ReasonCode | None = None
    """Code of the deciding reason. None: any reason."""

    @model_validator(mode="after")
    def _reasons_withhold(self) -> Self:
        if self.reason is not None and self.verdict == "approved":
            raise make_key_error(
                "reason", expected='no key "reason" beside the verdict "approved"', found=self.reason.value
            )
        return self

    def covers(self, verdict: Approved | Withheld) -> bool:
        """Return True if the expectation applies to the file of `verdict`."""
        distribution = verdict.file.distribution
        if self.file is not None and verdict.file.filename != self.file:
            return False
        return self.version is None or (distribution is not None and str(distribution.version) == self.version)

    def is_met_by(self, verdict: Approved | Withheld) -> bool:
        """Return True if `verdict` is the expected one and, if a reason is expected, has this deciding reason."""
        if isinstance(verdict, Approved):
            return self.verdict == "approved"
        return self.verdict == "withheld" and self.reason in {None, verdict.reasons[0].code}

    def __str__(self) -> str:
        """Return the project and the filename or version, for the output of the command."""
        return f"{self.project} {self.file or self.version or ''}".rstrip()


class Expectations(Settings):
    """Content of a file with expected verdicts: one or more ``[[expect]]`` tables."""

    expect: Annotated[tuple[Expectation, ...], Field(min_length=1)]


def main(options: argparse.Namespace) -> int:
    """Print the result for each expected verdict, with at most five differing files, and return the exit status.

    The status is 1 if a verdict differs from the expected verdict. Without a difference, the status is 3 if a page is
    unavailable. Otherwise the status is 0.

    Raises:
        ConfigurationError: the configuration, the policy or the file with expected verdicts is invalid.
        AssayError: a component of the proxy cannot start, so that no file can be judged.
    """
    telemetry.configure_logging(sys.stderr, level=logging.WARNING)
    expectations = _load_expectations(options.expectations).expect
    by = choose_policy(options)
    pages = asyncio.run(_judge_pages(by.configuration, by.policy, expectations))
    failed = undecided = 0
    for each in expectations:
        page = pages[canonicalize_name(each.project)]
        if isinstance(page, AssayError):
            undecided += 1
            print(f"?     {each}: {escape_unprintable(str(page))}")
            continue
        problems = list(_find_mismatches(each, [verdict for verdict in page.verdicts if each.covers(verdict)]))
        failed += bool(problems)
        print(f"{'FAIL' if problems else 'ok':<5} {each}: {each.verdict}")
        for problem in problems[:_MAX_EXAMPLES]:
            print(f"      {escape_unprintable(problem)}")
        if (hidden := len(problems) - _MAX_EXAMPLES) > 0:
            print(f"      and {hidden} more file{'' if hidden == 1 else 's'}")
    print(f"{len(expectations)} expected verdicts: {failed} not met, {undecided} undecided")
    return EXIT_WITHHELD if failed else EXIT_UNDECIDED if undecided else EXIT_OK


def _load_expectations(path: Path) -> Expectations:
    text = read_text(path)
    return validate_table(Expectations, parse_toml(text, str(path)), source=str(path), text=text)


async def _judge_pages(
    configuration: Configuration, policy: Policy, expectations: tuple[Expectation, ...]
) -> PageResults:
    async with open_dry_run(configuration, policy) as assembly:
        return await judge_pages(assembly, (canonicalize_name(each.project) for each in expectations))


def _find_mismatches(expectation: Expectation, verdicts: list[Approved | Withheld]) -> Iterator[str]:
    if not verdicts:
        yield "the index lists no file with this name or version"
    for verdict in verdicts:
        if not expectation.is_met_by(verdict):
            word = "approved" if isinstance(verdict, Approved) else "withheld"
            yield f"{verdict.file.filename} is {word}: {explain_verdict(verdict)}"
