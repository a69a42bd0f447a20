"""Compiled revocations, which withdraw trust from files and overrule every approval. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import final

from packaging.version import Version

from assay.evidence import Attestation, Attested, LogIdentity
from assay.policy.candidate import FileFacts, PageContext
from assay.policy.language.model import Policy, Revocation
from assay.policy.language.patterns import compile_name_patterns
from assay.policy.language.values import compile_revoked_versions, normalize_log
from assay.policy.precedence.base import NO_FINDINGS, Findings
from assay.policy.verdict import ReasonCode, Words, make_reason
from assay.publishers.globs import StringPredicate
from assay.publishers.matching import PublisherMatcher, compile_publisher
from assay.simple.model import File, NormalizedName, Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRevocation:
    """Compiled revocation of a policy."""

    label: str
    reason: str
    publishers: tuple[PublisherMatcher, ...]
    signed_from: datetime | None
    signed_until: datetime | None
    certificates: frozenset[str]
    log: str | None
    """Id or URL of the transparency log of `log_indexes`, as `normalize_log` returns it."""
    log_indexes: range | None
    sha256: frozenset[Sha256]
    selects_project: bool
    covers_version: Callable[[Version], bool] | None
    needs_evidence: bool
    """True if the revocation selects files by their attestations."""

    def covers(self, file: File, attestations: tuple[Attestation, ...]) -> bool:
        """Return True if this revocation covers the file.

        Args:
            file: the file.
            attestations: all verified attestations that prove who published or built the file.
        """
        if self.needs_evidence:
            for attestation in attestations:  # noqa: SIM110 - `any` and a generator cost 0.3 µs a file
                if self.covers_attestation(attestation):
                    return True
            return False
        if self.selects_project:
            # A version that cannot be parsed is not among the versions that stay trusted, so the file is revoked.
            version = file.distribution.version if file.distribution is not None else None
            return self.covers_version is None or version is None or self.covers_version(version)
        return file.sha256 in self.sha256

    def covers_attestation(self, attestation: Attestation) -> bool:
        """Return True if this revocation, which must need evidence, covers the attestation."""
        if self.log_indexes is not None:
            return attestation.log_index in self.log_indexes and self._names_log(attestation.log)
        if self.certificates:
            return attestation.certificate.lower() in self.certificates
        signed = attestation.integrated_time
        if self.signed_from is not None and signed < self.signed_from:
            return False
        if self.signed_until is not None and signed >= self.signed_until:
            return False
        for publisher in self.publishers:  # noqa: SIM110 - as above
            if publisher.covers(attestation):
                return True
        return False

    def _names_log(self, log: LogIdentity | None) -> bool:
        """Return whether the revocation names this log. An unknown log counts as named, so that no file is spared."""
        return log is None or self.log in {log.id, normalize_log(log.url)}


@final
@dataclass(frozen=True, slots=True)
class RevocationCheck:
    """Check of a file against the revocations that can cover files of its project."""

    revocations: tuple[CompiledRevocation, ...]
    needs_evidence: bool

    def check_file(self, facts: FileFacts, context: PageContext, now: datetime) -> Findings:  # noqa: ARG002 - protocol
        """Return one reason for each revocation that covers the file."""
        attestations = facts.evidence.provenance if isinstance(facts.evidence, Attested) else ()
        reasons = [
            make_reason(ReasonCode.REVOKED, each.label, _tell_revoked, (each.reason,))
            for each in self.revocations
            if each.covers(facts.file, attestations)
        ]
        return Findings(reasons) if reasons else NO_FINDINGS


def compile_revocations(policy: Policy, name: NormalizedName) -> RevocationCheck | None:
    """Return a check with those revocations of the policy that can cover files of the project; None without any."""
    found = tuple(revocation for covers, revocation in _compile_all(policy) if covers(name))
    return RevocationCheck(found, any(each.needs_evidence for each in found)) if found else None


def compile_revoked_test(policy: Policy, name: NormalizedName) -> Callable[[Attestation], bool]:
    """Return a function that returns whether a revocation covers an attestation of a file of the project.

    `RevocationCheck` withholds files by the attestations that prove who published or built them. For other attestations
    such as reviews, a requirement that uses them asks this function.
    """
    found = tuple(each for covers, each in _compile_all(policy) if each.needs_evidence and covers(name))
    return lambda attestation: any(each.covers_attestation(attestation) for each in found)


def _tell_revoked(why: str) -> Words:
    return Words(f"revoked: {why}; use another version", None, why)


@lru_cache(maxsize=8)
def _compile_all(policy: Policy) -> tuple[tuple[StringPredicate, CompiledRevocation], ...]:
    return tuple(
        (compile_name_patterns(each.projects or ("*",)), _compile_revocation(each, f"revocations[{number}]"))
        for number, each in enumerate(policy.revocations)
    )


def _compile_revocation(revocation: Revocation, key_path: str) -> CompiledRevocation:
    start, stop = revocation.log_index_from, revocation.log_index_until
    return CompiledRevocation(
        label=revocation.name or key_path,
        reason=revocation.reason,
        publishers=tuple(compile_publisher(each) for each in revocation.publishers or ()),
        signed_from=revocation.signed_from,
        signed_until=revocation.signed_until,
        certificates=frozenset(revocation.certificates or ()),
        log=revocation.log,
        log_indexes=None if start is None or stop is None else range(start, stop),
        sha256=frozenset(revocation.sha256 or ()),
        selects_project=bool(revocation.projects),
        needs_evidence=bool(revocation.publishers or revocation.certificates or start is not None),
        covers_version=None if revocation.versions is None else compile_revoked_versions(revocation.versions),
    )
