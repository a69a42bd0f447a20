"""Audit trail on standard output, one line for each entry. Each start of the process begins a new chain."""

from __future__ import annotations

import os
import sys
from typing import Final

from assay.errors import StorageError
from assay.telemetry.audit_chain import EMPTY_CHAIN, EncodedFields, encode_entries

_STDOUT: Final = 1


class TrailStdout:
    """Writer of entries to a descriptor. Only one thread at a time may use it.

    Args:
        descriptor: open file descriptor, which stays open.
    """

    def __init__(self, descriptor: int = _STDOUT) -> None:
        self.end = EMPTY_CHAIN
        self._descriptor = descriptor
        self._is_torn = False

    def acquire(self) -> None:
        """Write what the process has printed before."""
        sys.stdout.flush()

    def append(self, entries: list[EncodedFields]) -> None:
        """Write entries, and return when the reader's pipe or file has them.

        After a failure, the next entries begin on a new line. Entries of a failed write may be in the output in part.

        Raises:
            StorageError: standard output does not take the entries.
        """
        lines, end = encode_entries(entries, self.end)
        view = memoryview(b"\n" + lines if self._is_torn else lines)
        self._is_torn = True
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise StorageError(f"standard output does not take an audit entry: {error.strerror}") from error
        self._is_torn = False
        self.end = end

    def close(self) -> None:
        """Do nothing: each write was complete."""
