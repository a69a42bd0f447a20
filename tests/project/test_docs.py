"""README and docs name only existing commands, options and files."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from assay.cli import build_parser
from tests.paths import DOCS, ROOT

PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
BY_NAME = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
COMMAND = re.compile(r"(?:^|[`$(]\s?)assay ((?:[a-z|-]+)(?: [^`\n#)]*)?)", re.MULTILINE)


def unknown(command: str) -> list[str]:
    """Return the words of a command on a page that the parser does not know."""
    parser, found = build_parser(), []
    for word in re.sub(r"[\[\]\\]", "", command).split():
        if word.startswith("--"):
            found += [each for each in word.split("|") if each not in parser._option_string_actions]
            continue
        choosing = next((each for each in parser._actions if each.choices and not each.option_strings), None)
        if choosing is None or choosing.choices is None:
            continue
        choices = choosing.choices
        if missing := [each for each in word.split("|") if each not in choices]:
            found += missing
        elif isinstance(choosing, argparse._SubParsersAction):
            parser = choosing.choices[word.split("|")[0]]
        else:
            choosing.choices = None
    return found


@BY_NAME
def test_every_command_and_option_is_one_of_the_parsers(page: Path) -> None:
    wrong = {command: unknown(command) for command in COMMAND.findall(page.read_text("utf-8"))}
    assert {command: said for command, said in wrong.items() if said} == {}


def test_the_twin_what_is_no_command_or_option_is_found() -> None:
    assert unknown("audit-log verify --head H") == []
    assert unknown("cache stats\\|verify\\|prune\\|warm LOCKFILE [--json]") == []
    assert unknown("policy diff OLD NEW --lockfile L") == []
    assert unknown("audit LOCKFILE --colour") == ["--colour"]
    assert unknown("frobnicate") == ["frobnicate"]
    assert unknown("ledger burn") == ["burn"]
    assert sum(len(COMMAND.findall(page.read_text("utf-8"))) for page in PAGES) > 40


@BY_NAME
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
