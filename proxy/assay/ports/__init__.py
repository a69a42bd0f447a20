"""Protocols through which the upper layers use network, disk and verification, and the types that these protocols use.

Import the names from this package and not from its modules. `upstream`, `store` and `attestation` implement the
protocols.
"""

from __future__ import annotations

from assay.ports.advisories import Advisories
from assay.ports.api import ApiClient, ApiResponse
from assay.ports.flights import Flight, Flights
from assay.ports.history import (
    MAX_SERIAL,
    EstablishedPublisher,
    FileSigner,
    ForgottenFact,
    ForgottenFacts,
    ForgottenKind,
    HistoryChanges,
    ProjectHistory,
    SeenFile,
)
from assay.ports.index import (
    UNDELIMITED,
    BodyStream,
    ExpectedFile,
    FetchedDocument,
    FileBody,
    Index,
    IndexPage,
    NoBody,
    ProjectKey,
    ReserveBytes,
    Source,
    Upstream,
    Validators,
)
from assay.ports.notices import Notice, Notices
from assay.ports.reported_hits import AdvisoryHit, ReportedHits
from assay.ports.storage import (
    Blob,
    BlobStore,
    BlobUsage,
    BlobVerification,
    ForgottenNews,
    ForgottenNote,
    ImportResult,
    Ledger,
    PartialBlob,
    PruneResult,
    RecordStore,
    RecordUsage,
    Replacement,
    ReportProgress,
    Spool,
    SpooledFile,
    SpoolWriter,
    Storage,
)
from assay.ports.usage import MAX_USED_PROJECTS, MAX_USED_VERSIONS, Usage, UsedProject
from assay.ports.verification import DocumentFormat, VerificationJob, VerificationResult, Verifier

__all__ = [
    "MAX_SERIAL",
    "MAX_USED_PROJECTS",
    "MAX_USED_VERSIONS",
    "UNDELIMITED",
    "Advisories",
    "AdvisoryHit",
    "ApiClient",
    "ApiResponse",
    "Blob",
    "BlobStore",
    "BlobUsage",
    "BlobVerification",
    "BodyStream",
    "DocumentFormat",
    "EstablishedPublisher",
    "ExpectedFile",
    "FetchedDocument",
    "FileBody",
    "FileSigner",
    "Flight",
    "Flights",
    "ForgottenFact",
    "ForgottenFacts",
    "ForgottenKind",
    "ForgottenNews",
    "ForgottenNote",
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
    "Replacement",
    "ReportProgress",
    "ReportedHits",
    "ReserveBytes",
    "SeenFile",
    "Source",
    "Spool",
    "SpoolWriter",
    "SpooledFile",
    "Storage",
    "Upstream",
    "Usage",
    "UsedProject",
    "Validators",
    "VerificationJob",
    "VerificationResult",
    "Verifier",
]
