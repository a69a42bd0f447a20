"""The outside world as the upper layers see it: short protocols and the values that they pass. No implementation.

Its modules define them; import them from here. `store` and `upstream` implement them.
"""

from __future__ import annotations

from assay.ports.flights import Flight, Flights
from assay.ports.history import EstablishedIdentity, HistoryChanges, ProjectHistory, SeenFile
from assay.ports.index import IndexPage, ProjectKey, Validators
from assay.ports.storage import Blob, BlobStore, Ledger, PartialBlob, RecordStore, Storage

__all__ = [
    "Blob",
    "BlobStore",
    "EstablishedIdentity",
    "Flight",
    "Flights",
    "HistoryChanges",
    "IndexPage",
    "Ledger",
    "PartialBlob",
    "ProjectHistory",
    "ProjectKey",
    "RecordStore",
    "SeenFile",
    "Storage",
    "Validators",
]
