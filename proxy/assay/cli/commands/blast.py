"""Command ``assay blast PUBLISHER --since …``: list the served files that a revocation of the publisher would withhold.

The list names the clients that received each file. The audit trail is the only source of the list: a withdrawn release
is on no page any more, and its evidence may have left the cache. The trail has the claims of each certificate that was
verified. They are compared with the publisher by the same rules as for `[[revocations]]` of a policy.
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
_KNOWN_KINDS = frozenset({"attested", "unattested"})
"""Kinds of evidence in the trail that answer whether the publisher signed the file."""
_MAX_EXAMPLES = 5
_CLAIM_FIELDS = frozenset(field.name for field in fields(Claims))


@dataclass(slots=True, kw_only=True)
class ServedFile:
    """File that one client received, with the times of the first and the last response and the number of responses."""

    client: str
    project: str
    filename: str
    sha256: str
    publisher: str
    """Description of the signer, from the first attestation of the file that the revocation would cover."""
    signed: datetime
    first: str
    """Time of the first response, in the format of the audit trail."""
    last: str
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationWindow:
    """Publisher and time window for signatures, as in a `[[revocations]]` table."""

    publisher: PublisherMatcher
    since: datetime
    until: datetime | None

    def covers(self, attestation: Attestation) -> bool:
        """Return True if the publisher signed `attestation` within the window. The end of the window is exclusive."""
        signed = attestation.integrated_time
        in_time = self.since <= signed and (self.until is None or signed < self.until)
        return in_time and self.publisher.covers(attestation)


class _UnknownFiles:
    """Served files of unknown publisher, which the publisher in question may have signed.

    A file that is known to have no attestation is not among them, because a revocation of a publisher never covers it.

    Args:
        since: start of the window. A file that was served only before it was not signed within the window.
    """

    def __init__(self, since: datetime) -> None:
        self.digests: set[str] = set()
        self.examples: list[str] = []
        """Names of the first files."""
        self._since = since

    def add_if_unknown(self, entry: Mapping[str, Any]) -> None:
        """Add the file of an entry for a served file if its publisher is unknown."""
        if entry.get("kind") in _KNOWN_KINDS or self._is_before(entry.get("time")):
            return
        digest = str(entry.get("sha256"))
        if digest not in self.digests and len(self.examples) < _MAX_EXAMPLES:
            self.examples.append(str(entry.get("filename")))
        self.digests.add(digest)

    def _is_before(self, time: object) -> bool:
        try:
            return datetime.fromisoformat(str(time)) < self._since
        except (ValueError, TypeError):
            return False


def main(options: argparse.Namespace) -> int:
    """Print the served files that a revocation of the publisher would withhold, and return the exit status.

    The status is 1 if the audit trail contains such a file. Without such a file, the status is 3 if the trail is broken
    or lacks entries, or if a file was served whose publisher is unknown. Otherwise the status is 0.

    Raises:
        ConfigurationError: the publisher or a date is invalid, or no trail is configured.
        StorageError: the trail cannot be read.
    """
    window = RevocationWindow(
        publisher=compile_publisher(_parse_publisher(options.publisher)),
        since=parse_start(_parse_date(options.since, "--since")),
        until=None if options.until is None else parse_end(_parse_date(options.until, "--until")),
    )
    faults: list[str] = []
    unknown = _UnknownFiles(window.since)
    hits = _find_served_files(read_trail(_resolve_trail_path(options)), window, faults, unknown)
    if options.json:
        print(json.dumps([_to_json(hit) for hit in hits], indent=2))
    else:
        _print_table(hits)
    for fault in faults[:20]:
        print(f"assay: {escape_unprintable(fault)}", file=sys.stderr)
    if unknown.digests:
        print(
            f"assay: {len(unknown.digests)} served files have an unknown publisher: their provenance was not examined "
            f"or could not be verified, or their index carries no provenance; for example "
            f"{escape_unprintable(', '.join(unknown.examples))}",
            file=sys.stderr,
        )
    if hits:
        return EXIT_WITHHELD
    return EXIT_UNDECIDED if faults or unknown.digests else EXIT_OK


def _parse_publisher(text: str) -> Publisher:
    """Parse ``GitHub:owner/name``, or the TOML table by which a policy names a publisher.

    Raises:
        ConfigurationError: `text` has neither form, or the table is invalid.
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
        expected = "a date such as 2026-11-20, or a time with an offset such as 2026-11-20T12:00:00Z"
        raise ConfigurationError(f"{option}: expected {expected}, found {text!r}") from error
    return found


def _resolve_trail_path(options: argparse.Namespace) -> Path:
    path: Path | None = options.trail or load_configuration(options.config, os.environ).audit.path
    if path is None:
        raise ConfigurationError("audit.path: no audit trail is configured; give the path with --trail")
    return path


def _find_served_files(
    entries: Iterable[TrailEntry], window: RevocationWindow, faults: list[str], unknown: _UnknownFiles
) -> list[ServedFile]:
    """Return the served files that the publisher signed within the time window, sorted by filename and client.

    Args:
        entries: entries of the audit trail.
        window: publisher and time window.
        faults: list to which a description of each gap and each unreadable entry of the trail is added.
        unknown: collection to which the served files of unknown publisher are added.
    """
    found: dict[tuple[str, str], ServedFile] = {}
    for entry in entries:
        where = f"{entry.part.name}:{entry.line}"
        if entry.fault is not None:
            faults.append(f"{where}: {entry.fault}")
        if entry.fields.get("event") == "lost":
            faults.append(
                f"{where}: {entry.fields.get('count')} entries are missing here because they could not be written"
            )
        if entry.fields.get("event") != "served" or entry.fields.get("route") != "file":
            continue
        unknown.add_if_unknown(entry.fields)
        try:
            covering = [each for each in _read_attestations(entry.fields) if window.covers(each)]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            faults.append(f"{where}: the attestations in this entry cannot be read ({error})")
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
    """Yield the attestations in an entry of the trail. They had been verified when the file was served.

    A malformed entry raises KeyError, TypeError, ValueError or AttributeError.
    """
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
    print(f"{files} files that the revocation would cover were served to {clients} clients")


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
