"""Private names of argparse, which has no public way to list the options and commands of a parser."""
# ruff: noqa: SLF001

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple


class Subcommand(NamedTuple):
    """Command of a parser."""

    name: str
    summary: str
    parser: argparse.ArgumentParser


def list_arguments(parser: argparse.ArgumentParser) -> Sequence[argparse.Action]:
    """Return the options and arguments of a parser, without its commands."""
    return [each for each in parser._actions if not isinstance(each, argparse._SubParsersAction)]


def list_subcommands(parser: argparse.ArgumentParser) -> Sequence[Subcommand]:
    """Return the commands of a parser, in the order in which they were added."""
    return [
        Subcommand(choice.dest, choice.help or "", action.choices[choice.dest])
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for choice in action._choices_actions
    ]
