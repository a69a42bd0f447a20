"""``assay blast PUBLISHER --since …``: what was served that a revocation of this publisher covers, and to whom.

Read from the audit trail alone: a release that was withdrawn since is on no page any more, and its evidence may be gone
from the cache, but who installed it is what is asked after a theft. The trail's claims are those that certificates
proved, and they are matched as a policy's `revocations` match them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from assay.cli import EXIT_OK, EXIT_UNDECIDED, EXIT_WITHHELD
from assay.cli.tables import escape_unprintable, format_table
from assay.config import load_configuration
from assay.errors import ConfigurationError
from assay.evidence import Attestation, Claims
from assay.policy.language.times import parse_end, parse_start
from assay.publishers.matching import PublisherMatcher, compile_publisher
from assay.publishers.registry import PUBLISHER_KINDS, Publisher, get_publisher_kind
from assay.publishers.signers import describe_signer
from assay.telemetry.audit_chain import TrailEntry, read_trail

_PUBLISHER_ADAPTER: TypeAdapter[Publisher] = TypeAdapter(Publisher)
_KIND_BY_LOWER_NAME = {kind.name.lower(): kind for kind in PUBLISHER_KINDS}
_CLAIM_FIELDS = frozenset(field.name for field in fields(Claims))


@dataclass(slots=True, kw_only=True)
class ServedFile:
    """A file that one client was given."""

    client: str
    project: str
    filename: str
    sha256: str
    publisher: str
    signed: datetime
    first: str
    last: str
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationWindow:
    """A publisher and when it signed: what a `[[revocations]]` table says."""

    publisher: PublisherMatcher
    since: datetime
    until: datetime | None

    def covers(self, attestation: Attestation) -> bool:
        """Whether the revocation would."""
        signed = attestation.integrated_time
        in_time = self.since <= signed and (self.until is None or signed < self.until)
        return in_time and self.publisher.covers(attestation)


def main(options: argparse.Namespace) -> int:
    """List; 1 when something was served, 3 when the trail does not tell all.

    Raises:
        ConfigurationError: the publisher, a date, or no trail is configured.
        StorageError: the trail cannot be read.
    """
    window = RevocationWindow(
        publisher=compile_publisher(_parse_publisher(options.publisher)),
        since=parse_start(_parse_date(options.since, "--since")),
        until=None if options.until is None else parse_end(_parse_date(options.until, "--until")),
    )
    faults: list[str] = []
    hits = _find_served_files(read_trail(_resolve_trail_path(options)), window, faults)
    if options.json:
        print(json.dumps([_to_json(hit) for hit in hits], indent=2))
    else:
        _print_table(hits)
    for fault in faults[:20]:
        print(f"assay: {escape_unprintable(fault)}", file=sys.stderr)
    if hits:
        return EXIT_WITHHELD
    return EXIT_UNDECIDED if faults else EXIT_OK


def _parse_publisher(text: str) -> Publisher:
    """``GitHub:owner/name``, or a publisher's table as a policy has it.

    Raises:
        ConfigurationError: neither.
    """
    before, colon, name = text.partition(":")
    kind = _KIND_BY_LOWER_NAME.get(before.lower())
    stated: object = None
    if colon and kind is not None:
        stated = {"kind": kind.name, kind.name_key: name}
    else:
        try:
            stated = tomllib.loads(f"publisher = {text}")["publisher"]
        except tomllib.TOMLDecodeError:
            stated = None
    try:
        found: Publisher = _PUBLISHER_ADAPTER.validate_python(stated)
    except ValidationError as error:
        expected = 'a publisher such as GitHub:owner/name, or \'{ kind = "GitHub", repository_id = "1" }\''
        raise ConfigurationError(f"expected {expected}, found {text!r}") from error
    return found


def _parse_date(text: str, option: str) -> date:
    try:
        found = date.fromisoformat(text) if len(text) == len("yyyy-mm-dd") else datetime.fromisoformat(text)
        parse_start(found)
    except ValueError as error:
        expected = "a date such as 2026-11-20 or a time with its offset"
        raise ConfigurationError(f"{option}: expected {expected}, found {text!r}") from error
    return found


def _resolve_trail_path(options: argparse.Namespace) -> Path:
    path: Path | None = options.trail or load_configuration(options.config, os.environ).audit.path
    if path is None:
        raise ConfigurationError("audit.path: no audit trail is configured; name one with --trail")
    return path


def _find_served_files(entries: Iterable[TrailEntry], window: RevocationWindow, faults: list[str]) -> list[ServedFile]:
    """What the trail says was served; what it does not say is added to `faults`."""
    found: dict[tuple[str, str], ServedFile] = {}
    for entry in entries:
        where = f"{entry.part.name}:{entry.line}"
        if entry.fault is not None:
            faults.append(f"{where}: {entry.fault}")
        if entry.fields.get("event") == "lost":
            faults.append(f"{where}: the trail could not take {entry.fields.get('count')} entries here")
        if entry.fields.get("event") != "served" or entry.fields.get("route") != "file":
            continue
        try:
            covering = [each for each in _read_attestations(entry.fields) if window.covers(each)]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            faults.append(f"{where}: does not say who signed ({error})")
            continue
        if covering:
            _add_served_file(found, entry.fields, covering[0])
    return sorted(found.values(), key=lambda hit: (hit.filename, hit.client))


def _add_served_file(
    served_files: dict[tuple[str, str], ServedFile], entry: Mapping[str, Any], attestation: Attestation
) -> None:
    client, digest, when = str(entry.get("client")), str(entry.get("sha256")), str(entry.get("time"))
    known = served_files.get((client, digest))
    if known is not None:
        known.last, known.times = when, known.times + 1
        return
    served_files[client, digest] = ServedFile(
        client=client,
        project=str(entry.get("project")),
        filename=str(entry.get("filename")),
        sha256=digest,
        publisher=describe_signer(attestation.claims),
        signed=attestation.integrated_time,
        first=when,
        last=when,
    )


def _read_attestations(entry: Mapping[str, Any]) -> Iterator[Attestation]:
    """What an entry says was proven of its file."""
    for each in entry.get("attestations", ()):
        stated = {key: str(value) for key, value in each["claims"].items() if key in _CLAIM_FIELDS}
        kind = stated.pop("kind", None)
        logged = datetime.fromisoformat(each["logged"])
        yield Attestation(
            trust_root=str(each["trust-root"]),
            bundle=0,
            predicate_type="",
            claims=Claims(kind=None if kind is None else get_publisher_kind(kind).name, **stated),
            integrated_time=logged,
            log_index=int(each["log-index"]),
            certificate=str(each["certificate"]),
            not_before=datetime.fromisoformat(each["not-before"]),
            not_after=logged,
        )


def _print_table(served_files: list[ServedFile]) -> None:
    rows = [
        (hit.filename, hit.client, hit.first, hit.last, str(hit.times), hit.signed.isoformat(), hit.publisher)
        for hit in served_files
    ]
    if rows:
        for line in format_table(("FILE", "CLIENT", "FIRST", "LAST", "TIMES", "SIGNED", "PUBLISHER"), rows):
            print(line)
        print()
    files, clients = len({hit.sha256 for hit in served_files}), len({hit.client for hit in served_files})
    print(f"{files} files that a revocation would cover were served, to {clients} clients")


def _to_json(served_file: ServedFile) -> dict[str, Any]:
    return {
        "project": served_file.project,
        "filename": served_file.filename,
        "sha256": served_file.sha256,
        "client": served_file.client,
        "publisher": served_file.publisher,
        "signed": served_file.signed.isoformat(),
        "first": served_file.first,
        "last": served_file.last,
        "times": served_file.times,
    }
