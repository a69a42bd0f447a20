"""Served files in the audit trail: which client received which file, when, and how often."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assay.cli.progress import track_items
from assay.cli.tables import escape_unprintable, print_table
from assay.config import Configuration
from assay.errors import ConfigurationError
from assay.telemetry.audit_chain import read_trail

_MAX_PRINTED_FAULTS: Final = 20


@dataclass(slots=True, kw_only=True)
class ServedFile:
    """File that one client received, with the times of the first and the last response and the number of responses."""

    client: str
    project: str
    filename: str
    sha256: str
    facts: Mapping[str, str]
    """Further facts for the output, by their name."""
    first: str
    """Time of the first response, in the format of the audit trail."""
    last: str
    times: int = 1

    def to_json(self) -> dict[str, Any]:
        """Return the file as a JSON object."""
        return {
            "project": self.project,
            "filename": self.filename,
            "sha256": self.sha256,
            "client": self.client,
            **self.facts,
            "first": self.first,
            "last": self.last,
            "times": self.times,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailPosition:
    """Position of an entry in the trail, for messages."""

    part: str
    line: int

    def __str__(self) -> str:
        return f"{self.part}:{self.line}"


class ServedFiles:
    """Served files, one for each client and digest."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], ServedFile] = {}

    def add(self, entry: Mapping[str, Any], facts: Mapping[str, str]) -> None:
        """Add the file of an entry. The facts of the first entry of a client and a digest are kept."""
        client, digest, when = str(entry.get("client")), str(entry.get("sha256")), str(entry.get("time"))
        if (known := self._found.get((client, digest))) is not None:
            known.last, known.times = when, known.times + 1
            return
        self._found[client, digest] = ServedFile(
            client=client,
            project=str(entry.get("project")),
            filename=str(entry.get("filename")),
            sha256=digest,
            facts=facts,
            first=when,
            last=when,
        )

    def to_list(self) -> list[ServedFile]:
        """Return the files, sorted by filename and client."""
        return sorted(self._found.values(), key=lambda hit: (hit.filename, hit.client))


def read_served(path: Path, faults: list[str]) -> Iterator[tuple[TrailPosition, Mapping[str, Any]]]:
    """Yield the entries of a trail about files that were served, with their positions.

    Args:
        path: file of the audit trail.
        faults: list to which a description of each gap and each broken entry is added.
    """
    for entry in track_items(read_trail(path), "entries read"):
        where = TrailPosition(part=entry.part.name, line=entry.line)
        if entry.fault is not None:
            faults.append(f"{where}: {entry.fault}")
        if entry.fields.get("event") == "lost":
            count = entry.fields.get("count")
            faults.append(f"{where}: {count} entries are missing here because they could not be written")
        if entry.fields.get("event") == "served" and entry.fields.get("route") == "file":
            yield where, entry.fields


def resolve_trail_path(options: Namespace, configuration: Configuration) -> Path:
    """Return the path of the trail: that of ``--trail``, or else that of the configuration.

    Raises:
        ConfigurationError: neither of them is set.
    """
    path: Path | None = options.trail or configuration.audit.path
    if path is None:
        raise ConfigurationError("audit.path: no audit trail is configured; give the path with --trail")
    return path


def print_served_files(files: list[ServedFile], facts: tuple[str, ...], summary: str, *, as_json: bool) -> None:
    """Print served files as JSON, or as a table with a last line.

    Args:
        files: the files.
        facts: names of the facts, which become the last columns.
        summary: what the files have in common, for the last line.
        as_json: True for JSON.
    """
    if as_json:
        print(json.dumps([each.to_json() for each in files], indent=2))
        return
    rows = [
        (each.filename, each.client, each.first, each.last, str(each.times), *(each.facts[name] for name in facts))
        for each in files
    ]
    if rows:
        header = ("FILE", "CLIENT", "FIRST", "LAST", "TIMES", *(name.upper() for name in facts))
        print_table(header, rows)
        print()
    count, clients = len({each.sha256 for each in files}), len({each.client for each in files})
    print(f"{count} files that {summary} were served to {clients} clients")


def print_faults(faults: list[str]) -> None:
    """Print the first faults of a trail to standard error."""
    for fault in faults[:_MAX_PRINTED_FAULTS]:
        print(f"assay: {escape_unprintable(fault)}", file=sys.stderr)
