"""The protocols of `assay.ports`: who implements each, and that its contract leaves no member out."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from assay import ports
from assay.advisories.in_force import AdvisoriesInForce
from assay.attestation.pool.pool import VerifierPool
from assay.caching.flights import ProcessFlights
from assay.caching.notices import LocalNotices
from assay.files.index_source import IndexFileSource
from assay.files.shared.sources import ObjectSource, PeerSource
from assay.peers.client import PeerClient
from assay.store.activity.refusals import RefusalRecord
from assay.store.activity.reported_hits import ReportedHitRecord
from assay.store.activity.usage import UsageRecord
from assay.store.blobs import DiskBlob, DiskBlobStore, DiskPartialBlob
from assay.store.directory import StorageDirectory
from assay.store.fallback_blobs import FallbackBlobStore, FallbackPartialBlob
from assay.store.hosted.directory import HostedDirectory
from assay.store.hosted.index import HostedIndex, HostingUpstream
from assay.store.hosted.shared import SharedHosted
from assay.store.hosted.staging import LocalStagedFile
from assay.store.ledger.ledger import SqliteLedger
from assay.store.local.tier import LocalTier
from assay.store.objects.blobs import BlobObjects
from assay.store.postgresql.flights import SharedFlights
from assay.store.postgresql.notices import PostgresNotices
from assay.store.postgresql.records import PostgresRecordStore
from assay.store.records import DiskcacheRecordStore
from assay.store.shared.audit import SharedAuditArchive
from assay.store.shared.storage import SharedStorage
from assay.store.spool import DiskSpool, DiskSpooledFile, DiskSpoolWriter
from assay.store.temp_blobs import TempPartialBlob
from assay.upstream.api_client import UpstreamApiClient
from assay.upstream.client import UpstreamClient

CONTRACTS = Path(__file__).parent
IMPLEMENTATIONS: dict[type, list[type]] = {
    ports.Advisories: [AdvisoriesInForce],
    ports.ApiClient: [UpstreamApiClient],
    ports.AuditArchive: [SharedAuditArchive],
    ports.Blob: [DiskBlob],
    ports.BlobStore: [DiskBlobStore, FallbackBlobStore],
    ports.DocumentStreams: [UpstreamClient],
    ports.Flights: [ProcessFlights, SharedFlights],
    ports.HostedStorage: [HostedDirectory, SharedHosted],
    ports.Index: [type(UpstreamClient.get_index(None, None)), HostedIndex],  # type: ignore[arg-type]  # it only keeps them
    ports.Ledger: [SqliteLedger],
    ports.Notices: [LocalNotices, PostgresNotices],
    ports.Objects: [BlobObjects],
    ports.PartialBlob: [DiskPartialBlob, FallbackPartialBlob, TempPartialBlob],
    ports.Peers: [PeerClient],
    ports.RecordStore: [DiskcacheRecordStore, PostgresRecordStore],
    ports.ReportedHits: [ReportedHitRecord],
    ports.Refusals: [RefusalRecord],
    ports.Source: [IndexFileSource, ObjectSource, PeerSource],
    ports.Spool: [DiskSpool],
    ports.SpoolWriter: [DiskSpoolWriter],
    ports.SpooledFile: [DiskSpooledFile],
    ports.StagedFile: [LocalStagedFile],
    ports.LocalStorage: [LocalTier, StorageDirectory, SharedStorage],
    ports.Storage: [StorageDirectory, SharedStorage],
    ports.Upstream: [UpstreamClient, HostingUpstream],
    ports.Usage: [UsageRecord],
    ports.Verifier: [VerifierPool],
}
TESTED_ELSEWHERE = {
    ports.Advisories: "tests/unit/advisories/test_in_force.py",
    ports.ApiClient: "tests/unit/upstream/test_api_client.py",
    ports.AuditArchive: "tests/unit/store/shared/test_audit.py",
    ports.DocumentStreams: "tests/unit/advisory_feeds",
    ports.Index: "tests/unit/upstream/test_client.py",
    ports.Peers: "tests/service/peers",
    ports.Source: "tests/unit/files/sources.py",
    ports.Upstream: "tests/unit/upstream/test_client.py",
    ports.Verifier: "tests/service/attestation",
}
"""Protocols of which there is one implementation and no engine to come."""


def members_of(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_")}


def test_every_protocol_is_in_the_table() -> None:
    found = {each for each in vars(ports).values() if inspect.isclass(each) and getattr(each, "_is_protocol", False)}
    assert found == IMPLEMENTATIONS.keys()


@pytest.mark.parametrize("protocol", IMPLEMENTATIONS, ids=lambda protocol: protocol.__name__)
def test_an_implementation_has_every_method_with_the_parameters_of_its_protocol(protocol: type) -> None:
    for implementation in IMPLEMENTATIONS[protocol]:
        for name in members_of(protocol):
            promised = vars(protocol)[name]
            if not inspect.isfunction(promised):
                continue
            made = getattr(implementation, name)
            parameters = [
                (each.name, each.kind, each.default) for each in inspect.signature(promised).parameters.values()
            ]
            assert parameters == [
                (each.name, each.kind, each.default) for each in inspect.signature(made).parameters.values()
            ], f"{implementation.__name__}.{name}"


@pytest.mark.parametrize(
    "protocol",
    [protocol for protocol in IMPLEMENTATIONS if protocol not in TESTED_ELSEWHERE],
    ids=lambda protocol: protocol.__name__,
)
def test_the_contracts_use_every_member_of_a_protocol_of_the_storage(protocol: type) -> None:
    text = "\n".join(path.read_text("utf-8") for path in CONTRACTS.glob("*_contract.py"))
    assert {name for name in members_of(protocol) if not re.search(rf"\.{name}\b", text)} == set()
