"""Help and errors of the option parser: examples that the parser accepts, and suggestions for unknown commands."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator

import pytest

from assay.cli import _build_parser
from assay.cli.parser import EXAMPLES, CommandParser


def list_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and the parsers of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from list_parsers(each)


PARSERS = {each.prog: each for each in list_parsers(_build_parser())}


def test_each_command_has_examples_and_no_others_have() -> None:
    assert set(EXAMPLES) == set(PARSERS)
    assert len(PARSERS) > 18


@pytest.mark.parametrize("command", EXAMPLES)
def test_the_parser_accepts_each_example_and_the_help_shows_it(command: str) -> None:
    shown = PARSERS[command].format_help()
    for example in EXAMPLES[command]:
        assert f"\n  {example}\n" in shown
        assert example.startswith(f"{command} ") or example == command
        words = shlex.split(re.split(r" >>? ", example)[0])
        assert words[0] == "assay"
        assert _build_parser().parse_args(words[1:]).module


def test_a_parser_without_examples_shows_none() -> None:
    assert "examples:" not in CommandParser(prog="other").format_help()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["explian", "numpy"], "; did you mean explain?\n"),
        (["audit-lgo"], "; did you mean audit-log?\n"),
        (["policy", "dif", "a", "b"], "; did you mean diff?\n"),
        (["cache", "stat"], "; did you mean stats?\n"),
        (["frobnicate"], "'cache')\n"),
        (["\x1b[31m"], "'cache')\n"),
    ],
)
def test_an_unknown_command_is_told_the_most_similar_one(
    capsys: pytest.CaptureFixture[str], arguments: list[str], hint: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        _build_parser().parse_args(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.replace("cache)", "'cache')").endswith(hint)
    assert "\x1b" not in said


def test_any_other_error_has_no_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _build_parser().parse_args(["explain"])
    assert "did you mean" not in capsys.readouterr().err
