"""Choice of the rows that the changes of a page add to the ledger, for any engine. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from assay.ports import HistoryChanges, ProjectHistory
from assay.store.ledger.rows import (
    encode_file,
    encode_name,
    encode_publisher,
    encode_serial,
    encode_signer,
    get_signer_key,
    to_microseconds,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFacts:
    """Rows to write for one project, without the key of the project. `rows` encodes the columns."""

    serial: tuple[int | None, str | None, int | None]
    version: int
    """Version of the facts: that of the last statement that facts no longer count."""
    files: list[tuple[bytes, int, bytes, int, bool, bool]]
    corrected_times: list[tuple[bytes, int]]
    """Filename and new first-seen time of files that the ledger has already."""
    signers: list[tuple[bytes, bytes, str, str, str, int, int]]
    publishers: list[tuple[str, str, str, int, int, int]]
    evidence: list[tuple[bytes, str, int]]

    @property
    def count(self) -> int:
        """Number of rows."""
        rows = (*self.files, *self.corrected_times, *self.signers, *self.publishers, *self.evidence)
        return len(rows)


def select_new_facts(changes: HistoryChanges, known: ProjectHistory, recorded: ProjectHistory) -> NewFacts:
    """Return the rows that turn one history into another.

    Args:
        changes: the facts. Those that `known` has already are left out.
        known: the history before.
        recorded: the history after, from `rows.merge_changes`.

    Raises:
        UnicodeError: a text is invalid.
    """
    version = recorded.forgotten.version
    signers = {get_signer_key(one) for one in known.signers} if changes.signers else set()
    publishers = {one.identity for one in known.publishers}
    return NewFacts(
        serial=encode_serial(recorded),
        version=version,
        files=[
            # The entry after the changes, because its time may be corrected by the same changes.
            encode_file(filename, recorded.files[filename], version)
            for filename in changes.files
            if filename not in known.files
        ],
        corrected_times=[
            (encode_name(filename), to_microseconds(time))
            for filename, time in changes.corrected_times.items()
            if filename in known.files and not known.files[filename].corrected
        ],
        signers=[encode_signer(one, version) for one in changes.signers if get_signer_key(one) not in signers],
        publishers=[encode_publisher(one, version) for one in changes.publishers if one.identity not in publishers],
        evidence=[
            (bytes.fromhex(sha256), document, version)
            for sha256, document in changes.evidence.items()
            if known.evidence.get(sha256) != document
        ],
    )
