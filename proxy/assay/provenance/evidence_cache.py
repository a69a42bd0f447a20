"""Evidence as records: what was verified before and still stands, alone and beside what is fresh.

Owns the reading of recorded evidence; `ProvenanceResolver` writes it. A record counts under the roots in force, and
under earlier ones as long as all that vouched for it is still listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assay.attestation.codec import decode_evidence, evidence_key
from assay.attestation.pool.pool import Verifier
from assay.evidence import Evidence, merge_evidence
from assay.indexes import IndexSettings
from assay.ports import RecordStore
from assay.provenance.documents import DocumentPointer, FileEvidence, FileKey, file_key
from assay.simple.model import File, Sha256


class EvidenceCache:
    """The evidence that is remembered."""

    def __init__(self, records: RecordStore, verifier: Verifier) -> None:
        self._records = records
        self._verifier = verifier

    async def load(
        self, index: IndexSettings, files: Sequence[File], pointers: Mapping[FileKey, DocumentPointer]
    ) -> dict[FileKey, FileEvidence]:
        """The proofs of those files whose document, the last one seen, was verified before."""
        wanted = {
            (file_key(file), document): pointers[file_key(file)]
            for file in files
            if file_key(file) in pointers
            for document in (pointers[file_key(file)].document, *pointers[file_key(file)].earlier)
        }
        found = await self._load_evidence(index, list(wanted))
        proofs: dict[FileKey, FileEvidence] = {}
        for (key, document), pointer in wanted.items():
            if document == pointer.document and (key, document) in found:
                earlier = [found[key, each] for each in pointer.earlier if (key, each) in found]
                proofs[key] = FileEvidence(evidence=merge_evidence(found[key, document], earlier), document=document)
        return proofs

    async def merge_recorded(
        self,
        index: IndexSettings,
        key: FileKey,
        file_evidence: FileEvidence,
        pointers: Mapping[FileKey, DocumentPointer],
    ) -> FileEvidence:
        """A fresh proof together with what was recorded before: evidence once recorded counts."""
        if key not in pointers:
            return file_evidence
        seen = [
            document
            for document in (pointers[key].document, *pointers[key].earlier)
            if document != file_evidence.document
        ]
        found = await self._load_evidence(index, [(key, document) for document in seen])
        return FileEvidence(
            evidence=merge_evidence(file_evidence.evidence, list(found.values())), document=file_evidence.document
        )

    async def _load_evidence(
        self, index: IndexSettings, documents: Sequence[tuple[FileKey, Sha256]]
    ) -> dict[tuple[FileKey, Sha256], Evidence]:
        """Recorded evidence, under the roots in force, or under earlier ones as far as it still stands."""
        found: dict[tuple[FileKey, Sha256], Evidence] = {}
        trust = index.trust
        current = self._verifier.trust_fingerprint_for(trust)
        for roots in (current, *self._verifier.earlier_trust_fingerprints_for(trust)):
            keys = {
                (file, document): evidence_key(file[1], file[0], document, roots)
                for file, document in documents
                if (file, document) not in found
            }
            records = await self._records.get_many(list(keys.values()))
            for asked, key in keys.items():
                evidence = decode_evidence(records[key]) if key in records else None
                if evidence is not None and (roots == current or self._verifier.is_still_valid(evidence, trust)):
                    found[asked] = evidence
        return found
