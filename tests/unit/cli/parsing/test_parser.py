"""Help and errors of the option parser: examples that the parser accepts, and suggestions for unknown commands."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from assay.cli import build_parser
from assay.cli.parsing.argparse_private import list_subcommands
from assay.cli.parsing.parser import EXAMPLES, CommandParser


def list_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and the parsers of its commands."""
    yield parser
    for each in list_subcommands(parser):
        yield from list_parsers(each.parser)


PARSERS = {each.prog: each for each in list_parsers(build_parser())}


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
        assert build_parser().parse_args(words[1:]).module


def test_a_parser_without_examples_shows_none() -> None:
    assert "examples:" not in CommandParser(prog="other").format_help()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["explian", "numpy"], "; did you mean explain?\n"),
        (["audit-lgo"], "; did you mean audit-log?\n"),
        (["policy", "dif", "a", "b"], "; did you mean diff?\n"),
        (["cache", "stat"], "; did you mean stats?\n"),
        (["frobnicate"], "'completion')\n"),
        (["\x1b[31m"], "'completion')\n"),
    ],
)
def test_an_unknown_command_is_told_the_most_similar_one(
    capsys: pytest.CaptureFixture[str], arguments: list[str], hint: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.replace("completion)", "'completion')").endswith(hint)
    assert "\x1b" not in said


def test_any_other_error_has_no_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["explain"])
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "arguments", "options", "expected"),
    [
        ("ledger export", ["l.txt"], ["--config=c"], {"file": Path("l.txt"), "config": Path("c")}),
        ("ledger import", ["l.txt"], ["--replace", "--reason=r"], {"file": Path("l.txt"), "reason": "r"}),
        ("explain", ["numpy", "1.0"], ["--view=v", "--json"], {"project": "numpy", "which": "1.0", "view": "v"}),
        ("cache", ["warm", "uv.lock"], ["--view=v"], {"action": "warm", "lockfile": Path("uv.lock"), "view": "v"}),
        ("waive", ["f", "g"], ["--reason=r", "--expires=d"], {"files": ["f", "g"], "reason": "r", "expires": "d"}),
        ("waive", ["f"], ["--reason=r", "--expires=d", "--policy=p"], {"files": ["f"], "policy": Path("p")}),
        ("policy diff", ["old", "new"], ["--json"], {"old": Path("old"), "new": Path("new"), "json": True}),
    ],
)
def test_options_may_be_anywhere_after_the_command(
    command: str, arguments: list[str], options: list[str], expected: dict[str, object]
) -> None:
    for order in set(permutations([*arguments, *options])):
        if [each for each in order if each in arguments] == arguments:
            parsed = vars(build_parser().parse_args([*command.split(), *order]))
            assert {key: parsed[key] for key in expected} == expected, order


def test_the_configuration_of_the_ledger_may_be_in_front_of_the_action() -> None:
    parse = build_parser().parse_args
    for words in (["--config", "c", "export", "f"], ["export", "--config", "c", "f"], ["export", "f", "--config", "c"]):
        parsed = parse(["ledger", *words])
        assert (parsed.config, parsed.file, parsed.action) == (Path("c"), Path("f"), "export")
    assert parse(["ledger", "export"]).config is None
    assert parse(["ledger", "--config", "c", "export", "--config", "d"]).config == Path("d")


def test_a_missing_or_further_argument_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["waive", "f", "--reason", "r"], "the following arguments are required: --expires"),
        (["audit"], "the following arguments are required: LOCKFILE"),
        (["explain", "a", "b", "c"], "unrecognized arguments: c"),
        (["audit", "--json", "--sarif", "uv.lock"], "not allowed with argument --json"),
        (
            ["waive", "f", "--reason=r", "--expires=d", "--policy=p", "--view=v"],
            "not allowed with argument --policy",
        ),
        (["audit", "uv.lock", "--jsn"], "unrecognized arguments: --jsn"),
    ):
        with pytest.raises(SystemExit) as ended:
            build_parser().parse_args(words)
        assert ended.value.code == 2
        shown = capsys.readouterr().err
        assert message in shown
        assert f"usage: assay {words[0]} " in shown, "the usage is that of the command"
