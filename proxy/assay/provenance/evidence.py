"""Records of one source's evidence, and verification of new documents.

Evidence that was verified under the active trust roots is used as recorded. Evidence that was verified under earlier
trust roots is used while it is still valid under the active ones (`Verifier.is_still_valid`). The record key contains
everything that the evidence depends on. If a record is lost or broken, the document is verified again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from assay import telemetry
from assay.attestation.codec import decode_evidence, encode_evidence, evidence_key
from assay.evidence import (
    INDEX_SOURCE,
    Attested,
    Evidence,
    Forged,
    Rejection,
    Unattested,
    Unverifiable,
    merge_evidence,
    split_question,
)
from assay.indexes import IndexSettings
from assay.ports import DocumentFormat, RecordStore, VerificationJob, VerificationResult, Verifier
from assay.provenance.documents import (
    DocumentPointer,
    FileEvidence,
    FileKey,
    document_key,
    file_key,
    hash_document,
    pointer_key,
    require_sha256,
)
from assay.provenance.sources.base import ProjectQuery
from assay.simple.model import File, Sha256
from assay.telemetry import tracing
from assay.telemetry.metrics import EVIDENCE_OUTCOMES, VERIFICATION_SECONDS

_MAX_DEFERRED_WRITE_BYTES: Final = 4 * 2**20
"""Limit on the size of a batch's documents, in bytes. The records of a smaller batch are written in the background."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verified:
    """Document that was verified, with its digest and the result."""

    file: File
    content: bytes
    digest: Sha256
    result: VerificationResult


class EvidenceRecords:
    """Evidence of one source: loaded from records, or from a new verification."""

    def __init__(
        self,
        *,
        source: str,
        document_format: DocumentFormat,
        records: RecordStore,
        verifier: Verifier,
        clock: Callable[[], datetime],
    ) -> None:
        self._source = source
        self._document_format = document_format
        self._records = records
        self._verifier = verifier
        self._clock = clock

    async def load(
        self, index: IndexSettings, files: Sequence[File], pointers: Mapping[FileKey, DocumentPointer]
    ) -> dict[FileKey, FileEvidence]:
        """Return the recorded evidence by file, for files whose latest document has been verified.

        The evidence from earlier, replaced documents of the same file still counts, and is merged into the result.
        """
        wanted = {
            (key, document): pointers[key]
            for key in map(file_key, files)
            if key in pointers
            for document in (pointers[key].document, *pointers[key].earlier)
        }
        found = await self._load_evidence(index, list(wanted))
        file_evidence: dict[FileKey, FileEvidence] = {}
        for (key, document), pointer in wanted.items():
            if document == pointer.document and (key, document) in found:
                earlier = [found[key, each] for each in pointer.earlier if (key, each) in found]
                file_evidence[key] = FileEvidence(
                    evidence=merge_evidence(found[key, document], earlier), document=document
                )
        return file_evidence

    async def verify(
        self,
        query: ProjectQuery,
        jobs: Sequence[tuple[File, bytes]],
        pointers: Mapping[FileKey, DocumentPointer],
    ) -> dict[FileKey, FileEvidence]:
        """Verify and record fetched documents; return the evidence by file.

        The recorded evidence from earlier documents of the same file still counts, and is merged into the result.

        Args:
            query: the project.
            jobs: pairs of a file and its document.
            pointers: the documents seen before, by file.

        Raises:
            VerificationUnavailableError: verification could not run; nothing is recorded.
        """
        if not jobs:
            return {}
        index = query.index
        roots = self._get_fingerprint(index.trust)
        with VERIFICATION_SECONDS.time(), tracing.span("verify", project=query.project, documents=len(jobs)):
            results = await self._verifier.verify(
                [
                    VerificationJob(
                        filename=file.filename,
                        sha256=require_sha256(file),
                        provenance=document,
                        document_format=self._document_format,
                        trust=index.trust,
                    )
                    for file, document in jobs
                ]
            )
        if self._source != INDEX_SOURCE:
            results = [_with_source(result, self._source) for result in results]
        # If the trust roots were renewed meanwhile, it is unknown under which ones the documents were verified. The
        # evidence is then not recorded, and the documents are verified again next time.
        is_sure = roots == self._get_fingerprint(index.trust)
        self._report(query, jobs, results)
        verified = [
            _Verified(file=file, content=content, digest=hash_document(content), result=result)
            for (file, content), result in zip(jobs, results, strict=True)
        ]
        records = self._make_records(verified, pointers, roots if is_sure else None)
        size = sum(len(each.content) for each in verified)
        await (self._records.put_soon if size < _MAX_DEFERRED_WRITE_BYTES else self._records.put_many)(records)
        fresh = {
            file_key(each.file): FileEvidence(evidence=each.result.evidence, document=each.digest) for each in verified
        }
        return {key: await self._merge_recorded(index, key, each, pointers) for key, each in fresh.items()}

    def _report(
        self, query: ProjectQuery, jobs: Sequence[tuple[File, bytes]], results: Sequence[VerificationResult]
    ) -> None:
        """Count the evidence of all jobs; log each forged document and rejected bundle."""
        for (file, _), (evidence, _) in zip(jobs, results, strict=True):
            match evidence:
                case Forged():
                    telemetry.security("forged", **self._describe_failure(query, file, evidence))
                case Attested(rejected=rejected) | Unattested(rejected=rejected) | Unverifiable(rejected=rejected):
                    for each in rejected:
                        telemetry.security("bundle-rejected", **self._describe_failure(query, file, each))
                case _:
                    pass
        for kind, count in Counter(type(result.evidence) for result in results).items():
            EVIDENCE_OUTCOMES.labels(kind.__name__.lower()).inc(count)

    def _describe_failure(self, query: ProjectQuery, file: File, failure: Forged | Rejection) -> dict[str, str | None]:
        """Return the log fields of a failed check."""
        return {
            "index": query.index.name,
            "project": query.project,
            "filename": file.filename,
            "sha256": file.sha256,
            "step": failure.step,
            "expected": failure.expected,
            "found": failure.found,
            **describe_source(self._source),
        }

    def _make_records(
        self, verified: Sequence[_Verified], pointers: Mapping[FileKey, DocumentPointer], roots: str | None
    ) -> dict[str, bytes]:
        """Return the records to write: documents, pointers and, unless `roots` is None, evidence.

        Args:
            verified: the documents.
            pointers: the documents seen before, by file.
            roots: fingerprint of the trust roots under which the documents were verified; None if the trust roots were
                renewed during the verification.
        """
        records: dict[str, bytes] = {}
        now = self._clock().timestamp()
        for each in verified:
            key = file_key(each.file)
            records[document_key(each.digest)] = each.content
            before = pointers.get(key) or DocumentPointer(document=each.digest)
            records[pointer_key(each.file, self._source)] = before.advance(each.digest, now).encode()
            if roots is not None:
                records[self._evidence_key(key, each.digest, roots)] = each.result.record
        return records

    async def _merge_recorded(
        self,
        index: IndexSettings,
        key: FileKey,
        file_evidence: FileEvidence,
        pointers: Mapping[FileKey, DocumentPointer],
    ) -> FileEvidence:
        """Merge the recorded evidence from a file's earlier documents into the new evidence, and return the result."""
        if key not in pointers:
            return file_evidence
        seen = [
            document
            for document in (pointers[key].document, *pointers[key].earlier)
            if document != file_evidence.document
        ]
        found = await self._load_evidence(index, [(key, document) for document in seen])
        return replace(file_evidence, evidence=merge_evidence(file_evidence.evidence, list(found.values())))

    async def _load_evidence(
        self, index: IndexSettings, documents: Sequence[tuple[FileKey, Sha256]]
    ) -> dict[tuple[FileKey, Sha256], Evidence]:
        """Return the recorded evidence of documents.

        Evidence that was verified under the active trust roots counts. Evidence that was verified under earlier trust
        roots counts if it is still valid under the active ones.
        """
        found: dict[tuple[FileKey, Sha256], Evidence] = {}
        trust = index.trust
        current = self._get_fingerprint(trust)
        for roots in (current, *self._get_earlier_fingerprints(trust)):
            keys = {
                (file, document): self._evidence_key(file, document, roots)
                for file, document in documents
                if (file, document) not in found
            }
            records = await self._records.get_many(list(keys.values()))
            for asked, key in keys.items():
                evidence = decode_evidence(records[key]) if key in records else None
                if evidence is not None and (roots == current or self._verifier.is_still_valid(evidence, trust)):
                    found[asked] = evidence
        return found

    def _get_fingerprint(self, trust: str | None) -> str:
        """Return the digest of the active trust roots, and of the keys if the documents are bundles."""
        return self._add_keys(self._verifier.trust_fingerprint_for(trust))

    def _get_earlier_fingerprints(self, trust: str | None) -> list[str]:
        return [self._add_keys(each) for each in self._verifier.earlier_trust_fingerprints_for(trust)]

    def _add_keys(self, fingerprint: str) -> str:
        if self._document_format is not DocumentFormat.BUNDLES or not self._verifier.keys_digest:
            return fingerprint
        return f"{fingerprint} {self._verifier.keys_digest}"

    def _evidence_key(self, file: FileKey, document: Sha256, roots: str) -> str:
        filename, sha256 = file
        return evidence_key(sha256, filename, document, roots, source=self._source)


def describe_source(source: str) -> dict[str, str]:
    """Return the log field that names the source.

    The index's own source needs no field, because log events name the index.
    """
    return {} if source == INDEX_SOURCE else {"source": source}


def _with_source(result: VerificationResult, source: str) -> VerificationResult:
    """Return a copy of a result in which attestations, reasons and rejections name the source of the document."""
    evidence, name = result.evidence, split_question(source)[0]
    match evidence:
        case Attested():
            evidence = replace(
                evidence,
                attestations=tuple(replace(each, source=name) for each in evidence.attestations),
                ignored=tuple(f"{source}: {reason}" for reason in evidence.ignored),
            )
        case Unattested():
            pass
        case Unverifiable():
            evidence = replace(evidence, reason=f"{source}: {evidence.reason}")
        case _:
            return result
    evidence = replace(
        evidence,
        rejected=tuple(replace(each, source=name) for each in evidence.rejected),
        key_statements=tuple(replace(each, source=name) for each in evidence.key_statements),
    )
    return VerificationResult(evidence, encode_evidence(evidence))
