"""Test doubles: scripted evidence sources, a verifier that believes every document, and records in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import cast

from assay.attestation.codec import encode_evidence
from assay.evidence import INDEX_SOURCE, Attested, Evidence, Forged, Rejection, Unattested, Unverifiable
from assay.indexes import IndexSettings
from assay.ports import (
    DocumentFormat,
    IndexPage,
    RecordUsage,
    ReportProgress,
    Validators,
    VerificationJob,
    VerificationResult,
    Verifier,
)
from assay.provenance.resolver import MAX_UNRECORDED_BYTES, ProvenanceResolver
from assay.provenance.sources.base import EvidenceSource, Lifetimes, ProjectQuery
from assay.simple.model import File
from tests.unit.policy.factories import NOW, a_project, attestation

INDEX = IndexSettings.model_validate(
    {
        "name": "test",
        "url": "https://index.example/simple/",
        "file-hosts": ["files.example"],
    }
)
FORGED = Forged(step="signature", expected="a good one", found="another")


class MemoryRecords:
    """Record store in memory without eviction.

    Args:
        is_shared: True if the test reads and writes the records from several caches, like replicas do.
    """

    def __init__(self, *, is_shared: bool = False) -> None:
        self.is_shared = is_shared
        self.items: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes | None:
        return (await self.get_many([key])).get(key)

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        await asyncio.sleep(0)
        return {key: self.items[key] for key in keys if key in self.items}

    async def put(self, key: str, value: bytes) -> None:
        await self.put_many({key: value})

    async def put_many(self, items: Mapping[str, bytes]) -> None:
        await asyncio.sleep(0)
        self.items |= items

    async def put_soon(self, items: Mapping[str, bytes]) -> None:
        await self.put_many(items)

    async def delete(self, key: str) -> None:
        await asyncio.sleep(0)
        self.items.pop(key, None)

    async def stats(self) -> RecordUsage:
        return RecordUsage(count=len(self.items), size=sum(map(len, self.items.values())), limit=2**30)

    async def verify(self, _progress: ReportProgress | None = None) -> int:
        await asyncio.sleep(0)
        return 0


class CredulousVerifier:
    """Verifier that believes every document: ``by NAME`` counts as signed by the repository NAME.

    ``rejected STEP`` is a bundle that fails a check, ``unknown REASON`` is unverifiable, and anything else is forged.
    """

    roots_digest = "roots"
    keys_digest = ""

    def __init__(self) -> None:
        self.verified: list[tuple[str, bytes]] = []
        """(filename, document)"""
        self.formats: dict[bytes, DocumentFormat] = {}

    def trust_fingerprint_for(self, _root_name: str | None) -> str:
        return "roots"

    def earlier_trust_fingerprints_for(self, _root_name: str | None) -> tuple[str, ...]:
        return ()

    def is_still_valid(self, _evidence: Evidence, _root_name: str | None) -> bool:
        return True

    def preload_roots(self) -> None:
        pass

    async def verify(self, jobs: Sequence[VerificationJob]) -> list[VerificationResult]:
        await asyncio.sleep(0)
        self.verified += [(job.filename, job.provenance) for job in jobs]
        self.formats |= {job.provenance: job.document_format for job in jobs}
        found = [_believe(job.provenance) for job in jobs]
        return [VerificationResult(evidence, encode_evidence(evidence)) for evidence in found]


def _believe(document: bytes) -> Evidence:
    verb, _, name = document.decode().partition(" ")
    match verb:
        case "by":
            return Attested(attestations=(attestation(repository=name),))
        case "rejected":
            return Unattested(rejected=(Rejection(step=name, expected="a valid bundle", found="another"),))
        case "unknown":
            return Unverifiable(reason=name)
        case _:
            return FORGED


class ScriptedSource:
    """Evidence source with a fixed answer for some filenames; it covers the files with these names."""

    def __init__(self, name: str, **answers: bytes | Exception | None) -> None:
        self.name = name
        self.document_format = DocumentFormat.PROVENANCE
        self.answers: dict[str, bytes | Exception | None] = {
            f"{key}-1.0-py3-none-any.whl": answer for key, answer in answers.items()
        }
        self.asked: list[str] = []
        self.absence: Evidence = Unattested()
        self.unreadable = b"<html>"
        self.lifetimes: Lifetimes | None = None

    def covers(self, _query: ProjectQuery, file: File) -> bool:
        return file.filename in self.answers

    async def fetch(self, _query: ProjectQuery, file: File, ensure_may_fetch: Callable[[], None]) -> bytes | None:
        await asyncio.sleep(0)
        ensure_may_fetch()
        self.asked.append(file.filename)
        answer = self.answers[file.filename]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def judge_absence(self, _query: ProjectQuery, _file: File) -> Evidence:
        return self.absence

    def revalidates(self, file: File) -> bool:
        return file.filename in self.answers

    def can_replace(self, document: bytes) -> bool:
        return document != self.unreadable


def index_source(**answers: bytes | Exception | None) -> ScriptedSource:
    """Scripted source in place of the index's own source."""
    return ScriptedSource(INDEX_SOURCE, **answers)


def make_resolver(
    *sources: EvidenceSource,
    records: MemoryRecords | None = None,
    verifier: CredulousVerifier | None = None,
    clock: Callable[[], datetime] = lambda: NOW,
    max_unrecorded_bytes: int = MAX_UNRECORDED_BYTES,
) -> ProvenanceResolver:
    return ProvenanceResolver(
        sources=sources,
        records=records or MemoryRecords(),
        verifier=cast("Verifier", verifier or CredulousVerifier()),
        clock=clock,
        max_unrecorded_bytes=max_unrecorded_bytes,
    )


def make_page(*files: File, digest: str = "v1") -> IndexPage:
    return IndexPage(
        index=INDEX, project=a_project(*files), content_digest=digest, confirmed_at=NOW, validators=Validators()
    )
