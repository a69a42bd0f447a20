"""Command ``assay blast``: list the served files of a publisher or of an advisory, and the clients that have them.

The audit trail is the only source of the list: a withdrawn release is on no page any more, and its evidence may have
left the cache. For a publisher, the trail has the claims of each certificate that was verified. They are compared with
the publisher by the same rules as for `[[revocations]]` of a policy. For an advisory, the versions of the files count.
"""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from assay.cli import EXIT_OK, EXIT_UNDECIDED, EXIT_WITHHELD
from assay.cli.advisories import require_advisory
from assay.cli.served_files import (
    ServedFile,
    ServedFiles,
    print_faults,
    print_served_files,
    read_served,
    resolve_trail_path,
)
from assay.cli.tables import escape_unprintable
from assay.config import load_configuration
from assay.errors import ConfigurationError
from assay.evidence import PROVENANCE_PREDICATE_TYPES, PUBLISH_PREDICATE_TYPE, Attestation, Claims
from assay.indexes import Indexes
from assay.policy.language.times import parse_end, parse_start
from assay.publishers.matching import PublisherMatcher, compile_publisher
from assay.publishers.registry import PUBLISHER_KINDS, Publisher, get_publisher_kind
from assay.publishers.signers import describe_signer
from assay.simple.filename import parse_filename
from assay.simple.model import NormalizedName

_PUBLISHER_ADAPTER: TypeAdapter[Publisher] = TypeAdapter(Publisher)
_KIND_BY_LOWER_NAME = {kind.name.lower(): kind for kind in PUBLISHER_KINDS}
_KNOWN_KINDS = frozenset({"attested", "unattested"})
"""Kinds of evidence in the trail that answer whether the publisher signed the file."""
_MAX_EXAMPLES = 5
_CLAIM_FIELDS = frozenset(field.name for field in fields(Claims))


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
    """Print the served files of a publisher or of an advisory, and return the exit status.

    The status is 1 if the audit trail contains such a file. Without such a file, the status is 3 if the trail is broken
    or lacks entries, or if a file was served whose publisher is unknown. Otherwise the status is 0.

    Raises:
        ConfigurationError: the arguments are invalid or contradict each other, no record has the id of the advisory, or
            no trail is configured.
        StorageError: the trail or the advisories cannot be read.
    """
    if (options.publisher is None) == (options.advisory is None):
        raise ConfigurationError("expected either PUBLISHER or --advisory ID")
    if options.advisory is not None:
        return _list_files_of_advisory(options)
    if options.since is None:
        raise ConfigurationError("--since: expected a date, because PUBLISHER is given")
    window = RevocationWindow(
        publisher=compile_publisher(_parse_publisher(options.publisher)),
        since=parse_start(_parse_date(options.since, "--since")),
        until=None if options.until is None else parse_end(_parse_date(options.until, "--until")),
    )
    faults: list[str] = []
    unknown = _UnknownFiles(window.since)
    hits = _find_served_files(_get_trail_path(options), window, faults, unknown)
    summary = "the revocation would cover"
    print_served_files(hits, ("signed", "publisher"), summary, as_json=options.json)
    print_faults(faults)
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


def _list_files_of_advisory(options: argparse.Namespace) -> int:
    """Print the served files whose versions an advisory covers, and return the exit status.

    Files of indexes with other projects than PyPI's are left out, because advisories do not apply to them.
    """
    if options.since is not None or options.until is not None:
        raise ConfigurationError("--since, --until: expected PUBLISHER; an advisory covers files of any time")
    configuration = load_configuration(options.config, os.environ)
    advisory = require_advisory(configuration, options.advisory)
    faults: list[str] = []
    found = ServedFiles()
    for _, entry in read_served(resolve_trail_path(options, configuration), faults):
        project = NormalizedName(str(entry.get("project")))
        if project not in advisory.projects or not _has_pypi_projects(configuration.indexes, project):
            continue
        distribution = parse_filename(str(entry.get("filename")), project).distribution
        if distribution is not None and advisory.covers(project, distribution.version):
            found.add(entry, {"version": str(distribution.version)})
    hits = found.to_list()
    summary = f"the advisory {advisory.id} covers"
    print_served_files(hits, ("version",), summary, as_json=options.json)
    print_faults(faults)
    if hits:
        return EXIT_WITHHELD
    return EXIT_UNDECIDED if faults else EXIT_OK


def _has_pypi_projects(indexes: Indexes, project: NormalizedName) -> bool:
    owner = indexes.find_owner(project)
    return owner is None or owner.has_pypi_projects


def _get_trail_path(options: argparse.Namespace) -> Path:
    # With --trail, the command needs no configuration.
    trail: Path | None = options.trail
    return trail or resolve_trail_path(options, load_configuration(options.config, os.environ))


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


def _find_served_files(
    path: Path, window: RevocationWindow, faults: list[str], unknown: _UnknownFiles
) -> list[ServedFile]:
    """Return the served files that the publisher signed within the time window, sorted by filename and client.

    Args:
        path: file of the audit trail.
        window: publisher and time window.
        faults: list to which a description of each gap and each unreadable entry of the trail is added.
        unknown: collection to which the served files of unknown publisher are added.
    """
    found = ServedFiles()
    for where, entry in read_served(path, faults):
        unknown.add_if_unknown(entry)
        try:
            covering = [each for each in _read_attestations(entry) if window.covers(each)]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            faults.append(f"{where}: the attestations in this entry cannot be read ({error})")
            continue
        if covering:
            signed, publisher = covering[0].integrated_time.isoformat(), describe_signer(covering[0].claims)
            found.add(entry, {"publisher": publisher, "signed": signed})
    return found.to_list()


def _read_attestations(entry: Mapping[str, Any]) -> Iterator[Attestation]:
    """Yield the attestations in an entry of the trail that prove who published or built the file.

    They had been verified when the file was served. Entries of earlier versions do not state the predicate: then every
    attestation was provenance. A malformed entry raises KeyError, TypeError, ValueError or AttributeError.
    """
    for each in entry.get("attestations", ()):
        predicate_type = str(each.get("predicate", PUBLISH_PREDICATE_TYPE))
        if predicate_type not in PROVENANCE_PREDICATE_TYPES:
            continue
        stated = {key: str(value) for key, value in each["claims"].items() if key in _CLAIM_FIELDS}
        kind = stated.pop("kind", None)
        logged = datetime.fromisoformat(each["logged"])
        yield Attestation(
            trust_root=str(each["trust-root"]),
            bundle=0,
            predicate_type=predicate_type,
            claims=Claims(kind=None if kind is None else get_publisher_kind(kind).name, **stated),
            integrated_time=logged,
            log_index=int(each["log-index"]),
            certificate=str(each["certificate"]),
            not_before=datetime.fromisoformat(each["not-before"]),
            not_after=logged,
        )
