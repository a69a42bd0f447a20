"""Command ``assay init``: write a configuration and a policy to start from, after three questions."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from assay.cli import EXIT_OK
from assay.cli.starter_files import (
    DEFAULT_URL,
    STRICTNESS_MEANINGS,
    Answers,
    Strictness,
    format_configuration,
    format_policy,
    parse_own_index,
    parse_strictness,
    parse_url,
)
from assay.cli.tables import escape_unprintable
from assay.errors import ConfigurationError

_MAX_ATTEMPTS: Final = 5
_AnswerT = TypeVar("_AnswerT")


def main(options: argparse.Namespace) -> int:
    """Write ``proxy.toml`` and ``policy.toml`` into a directory, which is created if it is missing.

    Raises:
        ConfigurationError: one of the files exists or cannot be written, so that neither is written; or standard input
            ends before the questions are answered.
    """
    directory: Path = options.directory
    paths = [directory / "proxy.toml", directory / "policy.toml"]
    _require_absent(paths)
    answers = Answers() if options.yes else _ask_all()
    texts = (format_configuration(answers), format_policy(answers))
    _write_new(directory, dict(zip(paths, texts, strict=True)))
    config = escape_unprintable(str(paths[0]))
    print(f"wrote {config} and {escape_unprintable(str(paths[1]))}")
    print(f"next: assay check --config {config}\n      assay serve --config {config}")
    print(f"index URL for pip and uv: {answers.url}simple/")
    return EXIT_OK


def _ask_all() -> Answers:
    url = _ask(
        f"URL under which clients reach the proxy: {DEFAULT_URL} for this machine only,\n"
        "or https, such as https://pypi.acme.example/",
        DEFAULT_URL,
        parse_url,
    )
    own = _ask(
        "An index of your own packages, which never come from PyPI: pattern of the names and URL,\n"
        "such as: acme-* https://pypi.acme.example/simple/",
        "",
        parse_own_index,
    )
    meanings = "\n".join(f"  {word:10} {meaning}" for word, meaning in STRICTNESS_MEANINGS.items())
    strictness = _ask(f"Policy:\n{meanings}", Strictness.REPORT.value, parse_strictness)
    return Answers(url=url, own_index=own, strictness=strictness)


def _ask(question: str, default: str, parse: Callable[[str], _AnswerT]) -> _AnswerT:
    """Print a question and return the parsed answer. An invalid answer is asked for again, a limited number of times.

    Raises:
        ConfigurationError: standard input has ended, or there was no valid answer.
    """
    print(question)
    for _ in range(_MAX_ATTEMPTS):
        print(f"[{default or 'none'}]: ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            print()
            raise ConfigurationError("standard input ended before all questions were answered; use --yes for defaults")
        try:
            return parse(line.strip() or default)
        except ValidationError as error:
            print(f"expected {'; '.join(_describe(each['msg']) for each in error.errors())}")
        except ValueError as error:
            print(f"expected {error}")
    raise ConfigurationError(f"no valid answer in {_MAX_ATTEMPTS} attempts")


def _describe(message: str) -> str:
    return escape_unprintable(message.removeprefix("Value error, "))


def _require_absent(paths: list[Path]) -> None:
    for path in paths:
        if os.path.lexists(path):
            raise ConfigurationError(f"{path}: exists, and assay init overwrites nothing; name another directory")


def _write_new(directory: Path, texts: dict[Path, str]) -> None:
    """Create all files, or none of them.

    Raises:
        ConfigurationError: a file exists or cannot be written.
    """
    written: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise ConfigurationError(f"{error.filename or directory}: cannot be written: {error.strerror}") from error
