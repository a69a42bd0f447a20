"""Command ``assay audit-log verify|head``: check the hash chain of the audit trail, and print its last hash.

The operator saves this hash on another machine. If the trail no longer contains it later, the trail was cut or
rewritten.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from assay.cli import EXIT_OK, EXIT_WITHHELD
from assay.cli.progress import track_items
from assay.cli.tables import escape_unprintable
from assay.config import load_configuration
from assay.errors import ConfigurationError
from assay.store.factory import read_audit_heads
from assay.telemetry.audit_chain import GENESIS_HASH, MIN_HEAD_HEX_DIGITS, ChainEnd, read_trail, verify_trail


def main(options: argparse.Namespace) -> int:
    """Read and check the whole trail. Return 1 if it is not one unbroken chain, or does not contain a given head.

    Raises:
        ConfigurationError: no trail or no shared storage is configured, or a hash in the options is malformed.
        StorageError: the trail or the database cannot be read.
    """
    path = _resolve_trail_path(options)
    head = None if options.head is None else _parse_hash(options.head, MIN_HEAD_HEX_DIGITS, "--head")
    after = GENESIS_HASH if options.after is None else _parse_hash(options.after, len(GENESIS_HASH), "--after")
    heads = () if options.heads is None else asyncio.run(_read_heads(options))
    entries = track_items(read_trail(path, after_hash=after), "entries read")
    findings = verify_trail(entries, head=head, heads=heads)
    if options.json:
        document = {
            "entries": findings.entries,
            "sequence": findings.head.sequence,
            "head": findings.head.hash,
            "lost": findings.lost,
            "faults": findings.faults,
        }
        print(json.dumps(document, indent=2))
    elif options.action == "head":
        print(findings.head.hash)
    else:
        head_text = f"last sequence number {findings.head.sequence}, last hash {findings.head.hash}"
        print(f"{findings.entries} entries, {head_text}")
        if findings.lost:
            print(f"{findings.lost} entries could not be written; the trail states where they are missing")
    for fault in findings.faults:
        print(f"assay: {escape_unprintable(fault)}", file=sys.stderr)
    return EXIT_WITHHELD if findings.faults else EXIT_OK


def _resolve_trail_path(options: argparse.Namespace) -> Path:
    if options.trail is not None:
        return Path(options.trail)
    path = load_configuration(options.config, os.environ).audit.path
    if path is None:
        raise ConfigurationError("audit.path: no audit trail is configured; give the path with --trail")
    return path


async def _read_heads(options: argparse.Namespace) -> Sequence[ChainEnd]:
    configuration = load_configuration(options.config, os.environ)
    found = await read_audit_heads(configuration.storage, options.heads)
    if not found:
        raise ConfigurationError(f"--heads: the database has no part of a replica {options.heads!r}")
    return [ChainEnd(sequence=each.sequence, hash=each.hash) for each in found]


def _parse_hash(text: str, min_digits: int, option: str) -> str:
    lower = text.strip().lower()
    if not re.fullmatch(rf"[0-9a-f]{{{min_digits},64}}", lower, re.ASCII):
        raise ConfigurationError(f"{option}: expected {min_digits} to 64 hexadecimal digits, found {text!r}")
    return lower
