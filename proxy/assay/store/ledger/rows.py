"""Encoding of the ledger's values, and the rules by which changes are merged into a history.

Times are stored as microseconds since 1970, digests and names from an index as bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TypeAlias

from assay.errors import LedgerError
from assay.evidence import PublisherIdentity
from assay.ports import (
    EstablishedPublisher,
    FileSigner,
    ForgottenFact,
    ForgottenKind,
    HistoryChanges,
    ProjectHistory,
    SeenFile,
)
from assay.simple.model import Sha256

ForgottenColumns: TypeAlias = tuple[int, str, bytes | None, bytes | None, str, str, int]
"""Columns of a statement that facts no longer count: version, kind, filename, digest, found, reason, time."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DIGEST_BYTES = 32


class TimeCache(dict[int, datetime]):
    """Cache that maps microseconds since 1970 to a `datetime`. The files of a page share most times."""

    def __missing__(self, number: int) -> datetime:
        """Return the time for `number`, and cache it."""
        self[number] = made = _EPOCH + timedelta(microseconds=number)
        return made


def to_microseconds(time: datetime) -> int:
    """Return a time as exact microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


class DigestCache(dict[object, Sha256]):
    """Cache that maps the stored bytes of a digest to hexadecimal text. Several tables contain the same digests."""

    def __missing__(self, stored: object) -> Sha256:
        """Return the digest for `stored`, and cache it.

        Raises:
            LedgerError: `stored` is not a digest.
        """
        if type(stored) is not bytes or len(stored) != _DIGEST_BYTES:
            raise LedgerError("the ledger is damaged: it contains an invalid digest")
        self[stored] = made = Sha256(stored.hex())
        return made


def encode_name(name: str) -> bytes:
    """Return a name from an index as bytes; every string is possible."""
    return name.encode("utf-8", "surrogatepass")


def decode_name(stored: bytes) -> str:
    """Return the name that `encode_name` encoded."""
    return stored.decode("utf-8", "surrogatepass")


def encode_file(filename: str, seen: SeenFile, version: int) -> tuple[bytes, int, bytes, int, bool, bool]:
    """Return the columns of a file, without the project."""
    return (
        encode_name(filename),
        version,
        bytes.fromhex(seen.sha256),
        to_microseconds(seen.first_seen),
        seen.late,
        seen.corrected,
    )


def encode_publisher(publisher: EstablishedPublisher, version: int) -> tuple[str, str, str, int, int, int]:
    """Return the columns of an established publisher, without the project."""
    who, logged, existed = publisher.identity, publisher.logged, publisher.existed
    return who.trust_root, who.issuer, who.subject, version, to_microseconds(logged), to_microseconds(existed)


def encode_signer(signer: FileSigner, version: int) -> tuple[bytes, bytes, str, str, str, int, int]:
    """Return the columns of a signer of a file, without the project."""
    who = signer.identity
    return (
        encode_name(signer.filename),
        bytes.fromhex(signer.sha256),
        who.trust_root,
        who.issuer,
        who.subject,
        version,
        to_microseconds(signer.logged),
    )


def encode_forgotten(fact: ForgottenFact) -> ForgottenColumns:
    """Return the columns of a statement that facts no longer count, without the project."""
    return (
        fact.version,
        fact.what.value,
        None if fact.filename is None else encode_name(fact.filename),
        None if fact.sha256 is None else bytes.fromhex(fact.sha256),
        fact.found,
        fact.reason,
        to_microseconds(fact.at),
    )


def decode_forgotten(row: ForgottenColumns, times: TimeCache, digests: DigestCache) -> ForgottenFact:
    """Return the statement whose columns `encode_forgotten` returned.

    Raises:
        LedgerError: a column has an invalid value.
    """
    version, what, filename, sha256, found, reason, at = row
    if what not in set(ForgottenKind):
        raise LedgerError(f"the ledger is damaged: it contains the invalid kind {what!r:.40}")
    return ForgottenFact(
        what=ForgottenKind(what),
        version=version,
        at=times[at],
        reason=reason,
        found=found,
        filename=None if filename is None else decode_name(filename),
        sha256=None if sha256 is None else digests[sha256],
    )


def merge_changes(history: ProjectHistory, changes: HistoryChanges) -> ProjectHistory:
    """Return `history` with `changes` applied by the rules of the ledger.

    Existing facts about files, signers and publishers are kept, except that a first-seen time is corrected once. The
    higher serial is kept, unless the changes say otherwise. New evidence replaces the earlier evidence with the same
    digest.
    """
    signers = {get_signer_key(one): one for one in reversed((*history.signers, *changes.signers))}
    publishers = {one.identity: one for one in (*changes.publishers, *history.publishers)}
    return replace(
        _merge_serial(history, changes),
        files=MappingProxyType(_correct_times({**changes.files, **history.files}, changes.corrected_times)),
        signers=tuple(reversed(signers.values())),
        publishers=tuple(publishers.values()),
        evidence=MappingProxyType({**history.evidence, **changes.evidence}),
        known=True,
    )


def _merge_serial(history: ProjectHistory, changes: HistoryChanges) -> ProjectHistory:
    """Return `history` with the serial, its URL and the time of a rollback after `changes`."""
    known, found = history.serial, changes.serial
    if changes.replaces_serial or (found is not None and (known is None or found > known)):
        return replace(history, serial=found, serial_url=changes.serial_url, rollback_since=changes.rollback_since)
    if found not in {None, known}:
        return history
    instants = [time for time in (history.rollback_since, changes.rollback_since) if time is not None]
    return replace(history, rollback_since=min(instants, default=None))


def encode_serial(history: ProjectHistory) -> tuple[int | None, str | None, int | None]:
    """Return the columns of a project's serial."""
    since = history.rollback_since
    return history.serial, history.serial_url, None if since is None else to_microseconds(since)


def _correct_times(files: dict[str, SeenFile], times: Mapping[str, datetime]) -> dict[str, SeenFile]:
    """Return `files` with the first-seen times of `times`, except those that were corrected before."""
    for filename, time in times.items():
        seen = files.get(filename)
        if seen is not None and not seen.corrected:
            files[filename] = replace(seen, first_seen=time, corrected=True)
    return files


def get_signer_key(signer: FileSigner) -> tuple[str, str, PublisherIdentity]:
    """Return filename, digest and identity of a signer, which no two signers of a project share."""
    return signer.filename, signer.sha256, signer.identity


def count_facts(history: ProjectHistory) -> int:
    """Return the number of facts of a history, as its weight in a cache."""
    facts = (history.files, history.signers, history.publishers, history.evidence, history.forgotten.rows)
    return 1 + sum(map(len, facts))
