"""Claims and evidence as values: what a provenance document *proves* about a file. Pure.

Only `attestation` makes these from signatures; only `policy` judges them. What an index says of a publisher never
becomes a claim: each field here comes from the signing certificate, the transparency log or the signed statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple, TypeAlias

PUBLISH_PREDICATE_TYPE = "https://docs.pypi.org/attestations/publish/v1"
"""PyPI Publish predicate (PEP 740)."""
SLSA_PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
"""SLSA Provenance v1 predicate."""
INDEX_SOURCE = "index"
"""Name of the evidence source that is always there: the provenance that a file's own index offers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Who signed, as the certificate says (Fulcio OIDs under 1.3.6.1.4.1.57264.1); None where it says nothing."""

    kind: str | None
    """PEP 740's `kind`, one of `publishers.registry`'s, from the claims' shape and not from the index; None for an
    identity that is no Trusted Publisher's (a person)."""
    issuer: str
    """OIDC issuer (.8, else .1)."""
    san: str
    """The one Subject Alternative Name: a URI or an e-mail address."""
    repository: str | None = None
    """``owner/name`` or ``group/…/name``, from the Source Repository URI (.12)."""
    repository_uri: str | None = None
    repository_id: str | None = None
    """Source Repository Identifier (.15): survives renames, differs after a name is registered again."""
    owner: str | None = None
    owner_id: str | None = None
    """Source Repository Owner Identifier (.17)."""
    workflow: str | None = None
    """Path of the top-level workflow, from the Build Config URI (.18): ``.github/workflows/release.yml``."""
    workflow_ref: str | None = None
    """What followed ``@`` in the Build Config URI."""
    ref: str | None = None
    """Source Repository Ref (.14)."""
    digest: str | None = None
    """Source Repository Digest (.13): the commit."""
    environment: str | None = None
    """Deployment environment (.23): only certificates from about May 2026 carry it."""
    token_subject: str | None = None
    """The OIDC token's ``sub`` (.24), likewise new."""
    trigger: str | None = None
    """Build Trigger (.20): ``push``, ``release``, ``pull_request_target`` …"""
    runner: str | None = None
    """Runner Environment (.11): ``github-hosted``, ``self-hosted`` …"""
    visibility: str | None = None
    """Source Repository Visibility At Signing (.22)."""
    run_url: str | None = None
    """Run Invocation URI (.21)."""
    builder: str | None = None
    """Build Signer URI (.9): a reusable workflow, where one was called."""
    builder_digest: str | None = None
    email: str | None = None
    """For Google and people: the SAN when it is an e-mail address."""
    project_id: str | None = None
    """CircleCI project."""
    pipeline_definition_id: str | None = None
    vcs_origin: str | None = None
    vcs_ref: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slsa:
    """What a verified SLSA v1 statement says, already compared with the certificate."""

    builder_id: str | None
    build_type: str | None
    repository: str | None
    ref: str | None
    workflow: str | None
    commit: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """One verified attestation: all of its signature, log entry and statement checks passed."""

    trust_root: str
    """Name of the trust root that vouches for the certificate."""
    bundle: int
    """Which attestation bundle of the document it stood in, from 0."""
    predicate_type: str
    claims: Claims
    integrated_time: datetime
    """When the transparency log took it; UTC."""
    log_index: int
    certificate: str
    """SHA-256 of the signing certificate's DER, hexadecimal."""
    not_before: datetime
    not_after: datetime
    slsa: Slsa | None = None
    subject: str = ""
    """The filename in the signed statement: the same as the file's once parsed, perhaps spelt otherwise."""
    material: tuple[str, ...] = ()
    """Fingerprints of the trust root's entries that vouched: authority, CT log, transparency log."""
    source: str = INDEX_SOURCE
    """Name of the evidence source that offered it (`provenance.sources`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """At least one attestation verified and none failed."""

    attestations: tuple[Attestation, ...]
    ignored: tuple[str, ...] = ()
    """Attestations that count for nothing beside the good ones (unknown kind, predicate, log), each in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unattested:
    """There is no provenance, or an empty one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forged:
    """The document is inconsistent, or a check failed with material that we know: a security event."""

    step: str
    """Which check, in a few stable words: ``subject digest``, ``inclusion proof`` …"""
    expected: str
    found: str


PROVENANCE_OMITTED = "provenance promised"
"""`Forged.step` where the index promises a provenance and answers 404 (reason ``provenance-missing``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unverifiable:
    """A log, key, version, predicate or publisher kind that this trust root or verifier does not know (yet)."""

    reason: str


Evidence: TypeAlias = Attested | Unattested | Forged | Unverifiable


class PublisherIdentity(NamedTuple):
    """Who a publisher *is*, for the ratchet: unchanged by renames of repository, workflow or environment.

    Issuer and subject within one trust root; each kind of publisher says which claim is its subject
    (`publishers.signers.identify_publisher`). A tuple, because it is a key of every dict of the ratchet: hashing and
    comparing it is no call.
    """

    trust_root: str
    issuer: str
    subject: str
    """``repository-id:…``, ``repository:…``, ``email:…`` or ``project:…``."""


def merge_evidence(latest: Evidence, earlier: Sequence[Evidence]) -> Evidence:
    """Return what several documents of one file prove together.

    Args:
        latest: what the index's current document proves. If it is forged, the file is, whatever the others prove.
        earlier: what other documents prove: those that the index has replaced (evidence once recorded counts), and
            those of other sources. A forged one counts for nothing.
    """
    if isinstance(latest, Forged):
        return latest
    documents = [each for each in (latest, *earlier) if isinstance(each, Attested)]
    if not documents or (len(documents) == 1 and documents[0] is latest):
        return latest
    attestations: list[Attestation] = []
    for document in documents:
        # A rule's predicates must stand in one bundle, so bundles of different documents keep apart.
        first = 1 + max((each.bundle for each in attestations), default=-1)
        attestations += [replace(each, bundle=first + each.bundle) for each in document.attestations]
    ignored = tuple(reason for document in documents for reason in document.ignored)
    return Attested(attestations=tuple(attestations), ignored=ignored)
