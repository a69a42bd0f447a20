"""Command ``assay completion bash|zsh|fish``: print a script that completes commands, options and values."""

from __future__ import annotations

import argparse

from assay.cli import EXIT_OK, build_parser
from assay.cli.parsing.completion import FORMATTERS, list_commands


def main(options: argparse.Namespace) -> int:
    """Print the script for the shell that the options name."""
    print(FORMATTERS[options.shell](list(list_commands(build_parser()))), end="")
    return EXIT_OK
