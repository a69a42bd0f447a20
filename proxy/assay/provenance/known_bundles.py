"""Verified Sigstore bundles about a file, from the recorded documents of all evidence sources.

Each document is written as bundles of version 0.3, and the bundles are verified in this form under the active trust
roots and keys. So the result contains exactly what another verifier with the same trust roots accepts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from assay.caching.lru import Lru
from assay.evidence import Attestation, Forged, KeyStatement, split_question
from assay.policy.reasons import escape_controls
from assay.ports import DocumentFormat, VerificationJob, Verifier
from assay.provenance.documents import FileKey, file_key, hash_document
from assay.publishers.signers import describe_signer
from assay.simple.model import File, Sha256

MAX_KNOWN_DOCUMENT_BYTES: Final = 8 * 2**20
"""Maximum size of all documents about one file. Documents beyond it are left out."""
_MAX_KNOWN_BUNDLES: Final = 256
"""Maximum number of bundles about one file. Bundles beyond it are left out."""
_MAX_ACTIVE: Final = 2
"""Maximum number of files whose bundles are written and verified at the same time."""
_MAX_CACHED_BYTES: Final = 4 * 2**20
_MAX_CACHED_FILE_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDocument:
    """Document about a file that a source offered; untrusted."""

    source: str
    """Name of the source, with the subject that it was asked about."""
    document_format: DocumentFormat
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBundle:
    """Verified bundle about a file."""

    source: str
    """Name of the source that offered it."""
    text: str
    """The bundle of version 0.3, as JSON in ASCII."""
    statement: Attestation | KeyStatement
    """Verified statement in the bundle."""


def write_bundle_list(bundles: Iterable[KnownBundle]) -> bytes:
    """Return a JSON list with an object for each bundle: its source, the verdict, what it proves, and the bundle."""
    entries = []
    for each in bundles:
        facts = {"source": each.source, "verdict": "verified", **_describe(each.statement)}
        entries.append(f'{json.dumps(facts, separators=(",", ":"))[:-1]},"bundle":{each.text}}}')
    return f"[{','.join(entries)}]\n".encode("ascii")


def _describe(statement: Attestation | KeyStatement) -> dict[str, str]:
    predicate_type = escape_controls(statement.predicate_type)
    if isinstance(statement, KeyStatement):
        return {"predicate-type": predicate_type, "key": statement.key}
    return {
        "predicate-type": predicate_type,
        "signer": escape_controls(describe_signer(statement.claims)),
        "trust-root": statement.trust_root,
        "logged": statement.integrated_time.isoformat(),
    }


_CacheKey = tuple[FileKey, tuple[tuple[str, Sha256], ...], str | None, str]


class KnownBundles:
    """Verification of the bundles about one file, with a small cache.

    Args:
        verifier: verifies the bundles.
    """

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self._slots = asyncio.Semaphore(_MAX_ACTIVE)
        self._cache = Lru[_CacheKey, tuple[KnownBundle, ...]](
            max_weight=_MAX_CACHED_BYTES, max_item_weight=_MAX_CACHED_FILE_BYTES, weigh=_weigh
        )

    async def verify(
        self, file: File, documents: Sequence[SourceDocument], trust: str | None
    ) -> tuple[KnownBundle, ...]:
        """Return the verified bundles of documents about a file. A bundle that several documents have is returned once.

        Args:
            file: the file; it has a digest.
            documents: documents of all sources about the file.
            trust: name of the only trust root, if the file's index names one.

        Raises:
            VerificationUnavailableError: verification could not run.
        """
        if not documents:
            return ()
        async with self._slots:
            key = await asyncio.to_thread(_make_key, file, documents, trust, self._describe_trust(trust))
            if (known := self._cache.get(key)) is not None:
                return known
            found = await self._verify_uncached(file, documents, trust)
            if key[-1] == self._describe_trust(trust):  # else the trust roots were renewed meanwhile
                self._cache.put(key, found)
            return found

    def _describe_trust(self, trust: str | None) -> str:
        return f"{self._verifier.trust_fingerprint_for(trust)} {self._verifier.keys_digest}"

    async def _verify_uncached(
        self, file: File, documents: Sequence[SourceDocument], trust: str | None
    ) -> tuple[KnownBundle, ...]:
        written = await asyncio.to_thread(_write_bundles, documents)
        filename, sha256 = file_key(file)
        results = await self._verifier.verify(
            [
                VerificationJob(
                    filename=filename,
                    sha256=sha256,
                    provenance=f"[{','.join(texts)}]".encode("ascii"),
                    document_format=DocumentFormat.BUNDLES,
                    trust=trust,
                )
                for _, texts in written
            ]
        )
        found: dict[tuple[str, str], KnownBundle] = {}
        for (source, texts), (evidence, _) in zip(written, results, strict=True):
            if isinstance(evidence, Forged):  # never, for a list of bundles
                continue
            for each in (*getattr(evidence, "attestations", ()), *evidence.key_statements):
                text = texts[each.bundle]
                found.setdefault((source, text), KnownBundle(source=source, text=text, statement=each))
        return tuple(found.values())[:_MAX_KNOWN_BUNDLES]


def _make_key(file: File, documents: Sequence[SourceDocument], trust: str | None, roots: str) -> _CacheKey:
    return file_key(file), tuple((each.source, hash_document(each.content)) for each in documents), trust, roots


def _write_bundles(documents: Sequence[SourceDocument]) -> list[tuple[str, list[str]]]:
    """Return the bundles of each document as JSON texts, with the name of its source."""
    # Imported at the first use: a proxy without requests for bundles must not need the memory of cryptography.
    from assay.attestation.verification.bundle_writer import write_bundles  # noqa: PLC0415

    written = (
        (split_question(each.source)[0], write_bundles(each.content, each.document_format)) for each in documents
    )
    return [(source, texts) for source, texts in written if texts]


def _weigh(bundles: tuple[KnownBundle, ...]) -> int:
    return 1 + sum(len(each.text) for each in bundles)
