"""``assay policy test FILE``: expectations of a policy, held against what the proxy would do now.

::

    [[expect]]
    project = "cryptography"
    version = "46.0.0"                 # or file = "cryptography-46.0.0.tar.gz"; neither: every file of the project
    verdict = "approved"

    [[expect]]
    file = "evil-1.0-py3-none-any.whl"
    project = "evil"
    verdict = "withheld"
    reason = "denied"                  # the deciding reason's code; left out, any
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
from packaging.version import InvalidVersion, Version
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


def _parse_version(text: str) -> str:
    try:
        return str(Version(text))
    except InvalidVersion as error:
        raise ValueError('a version such as "1.0"') from error


def _parse_project_name(text: str) -> str:
    try:
        return canonicalize_name(text, validate=True)
    except InvalidName as error:
        raise ValueError("a project's name") from error


class Expectation(Settings):
    """What should become of some files."""

    project: Annotated[str, AfterValidator(_parse_project_name)]
    file: str | None = None
    version: Annotated[str, AfterValidator(_parse_version)] | None = None
    verdict: Literal["approved", "withheld"]
    reason: ReasonCode | None = None

    @model_validator(mode="after")
    def _reasons_withhold(self) -> Self:
        if self.reason is not None and self.verdict == "approved":
            raise make_key_error("reason", expected='nothing, beside verdict = "approved"', found=self.reason.value)
        return self

    def covers(self, verdict: Approved | Withheld) -> bool:
        """Whether it speaks of this file."""
        distribution = verdict.file.distribution
        if self.file is not None and verdict.file.filename != self.file:
            return False
        return self.version is None or (distribution is not None and str(distribution.version) == self.version)

    def is_met_by(self, verdict: Approved | Withheld) -> bool:
        """Whether this file's verdict is the expected one."""
        if isinstance(verdict, Approved):
            return self.verdict == "approved"
        return self.verdict == "withheld" and self.reason in {None, verdict.reasons[0].code}

    def __str__(self) -> str:
        """Of what it speaks."""
        return f"{self.project} {self.file or self.version or ''}".rstrip()


class Expectations(Settings):
    """A file of them."""

    expect: Annotated[tuple[Expectation, ...], Field(min_length=1)]


def main(options: argparse.Namespace) -> int:
    """Test; 1 when an expectation is not met, 3 when that cannot be decided now.

    Raises:
        ConfigurationError: configuration, policy or expectations.
        AssayError: nothing can be decided now.
    """
    telemetry.configure_logging(sys.stderr, level=logging.WARNING)
    expectations = _load_expectations(options.expectations).expect
    by = choose_policy(options)
    pages = asyncio.run(_judge_pages(by.configuration, by.policy, expectations))
    failed = open_ = 0
    for each in expectations:
        page = pages[canonicalize_name(each.project)]
        if isinstance(page, AssayError):
            open_ += 1
            print(f"?     {each}: {escape_unprintable(str(page))}")
            continue
        problems = list(_find_mismatches(each, [verdict for verdict in page.verdicts if each.covers(verdict)]))
        failed += bool(problems)
        print(f"{'FAIL' if problems else 'ok':<5} {each}: {each.verdict}")
        for problem in problems:
            print(f"      {escape_unprintable(problem)}")
    print(f"{len(expectations)} expectations: {failed} not met, {open_} not decided")
    return EXIT_WITHHELD if failed else EXIT_UNDECIDED if open_ else EXIT_OK


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
        yield "no such file is listed"
    for verdict in verdicts:
        if not expectation.is_met_by(verdict):
            word = "approved" if isinstance(verdict, Approved) else "withheld"
            yield f"{verdict.file.filename} is {word}: {explain_verdict(verdict)}"
