"""``assay ledger export|import``: what must never be forgotten, as a text file that reads well in a diff."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TextIO

from assay import telemetry
from assay.cli import EXIT_OK
from assay.config import load_configuration
from assay.errors import ConfigurationError
from assay.store.factory import open_ledger, open_storage
from assay.store.settings import StorageSettings


def main(options: argparse.Namespace) -> int:
    """Export, even while a proxy runs; or import, while none does.

    Raises:
        ConfigurationError: the configuration, or the text file cannot be opened.
        StorageInUseError: a proxy is running on the directory that is imported into.
        LedgerError: the ledger cannot be used, or a line of the text is wrong.
    """
    telemetry.configure_logging(sys.stderr, level=logging.WARNING)
    storage = load_configuration(options.config, os.environ).storage
    if options.action == "export":
        asyncio.run(_export(storage, options.file))
    else:
        asyncio.run(_import(storage, options.file))
    return EXIT_OK


async def _export(storage: StorageSettings, path: Path | None) -> None:
    async with open_ledger(storage) as ledger:
        lines = [line async for line in ledger.export()]
    if path is None:
        await asyncio.to_thread(_write_lines, sys.stdout, lines)
    else:
        with closing(await asyncio.to_thread(_open_text, path, "w")) as file:
            await asyncio.to_thread(_write_lines, file, lines)


async def _import(storage: StorageSettings, path: Path | None) -> None:
    lines = sys.stdin if path is None else await asyncio.to_thread(_open_text, path, "r")
    store = await open_storage(storage)
    try:
        found = await store.ledger.import_(lines)
    finally:
        await store.close()
        if path is not None:
            lines.close()
    print(
        f"{found.projects} projects imported, {found.conflicts} files are known here with another digest, which stays"
    )


def _open_text(path: Path, mode: str) -> TextIO:
    try:
        opened: TextIO = path.open(mode, encoding="utf-8")  # type: ignore[assignment]  # both modes are text
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be opened: {error.strerror}") from error
    return opened


def _write_lines(file: TextIO, lines: list[str]) -> None:
    file.writelines(f"{line}\n" for line in lines)
    file.flush()
