"""The outside world as the upper layers see it: short protocols and the values that they pass. No implementation.

The modules here define them; import them from the package. `upstream`, `attestation` and `store` implement them.
"""

from __future__ import annotations

from assay.ports.flights import Flight, Flights
from assay.ports.history import EstablishedIdentity, HistoryChanges, ProjectHistory, SeenFile
from assay.ports.index import (
    BodyStream,
    ExpectedFile,
    FetchedDocument,
    FileBody,
    Index,
    IndexPage,
    NoBody,
    ProjectKey,
    Source,
    Upstream,
    Validators,
)
from assay.ports.notices import Notice, Notices
from assay.ports.storage import (
    Blob,
    BlobStore,
    BlobUsage,
    BlobVerification,
    ImportResult,
    Ledger,
    PartialBlob,
    PruneResult,
    RecordStore,
    RecordUsage,
    ReportProgress,
    Spool,
    SpooledFile,
    SpoolWriter,
    Storage,
)
from assay.ports.verification import VerificationJob, VerificationResult, Verifier

__all__ = [
    "Blob",
    "BlobStore",
    "BlobUsage",
    "BlobVerification",
    "BodyStream",
    "EstablishedIdentity",
    "ExpectedFile",
    "FetchedDocument",
    "FileBody",
    "Flight",
    "Flights",
    "HistoryChanges",
    "ImportResult",
    "Index",
    "IndexPage",
    "Ledger",
    "NoBody",
    "Notice",
    "Notices",
    "PartialBlob",
    "ProjectHistory",
    "ProjectKey",
    "PruneResult",
    "RecordStore",
    "RecordUsage",
    "ReportProgress",
    "SeenFile",
    "Source",
    "Spool",
    "SpoolWriter",
    "SpooledFile",
    "Storage",
    "Upstream",
    "Validators",
    "VerificationJob",
    "VerificationResult",
    "Verifier",
]
