"""Values for claims and evidence: the facts that a provenance document proves about a file. Pure.

Only `attestation` creates them from signatures, and only `policy` judges them. The index's publisher block never
becomes a claim: each field comes from the signing certificate, the transparency log or the signed statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple, TypeAlias

PUBLISH_PREDICATE_TYPE = "https://docs.pypi.org/attestations/publish/v1"
"""Type of the PyPI Publish predicate (PEP 740)."""
SLSA_PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
"""Type of the SLSA Provenance v1 predicate."""
PROVENANCE_PREDICATE_TYPES = frozenset({PUBLISH_PREDICATE_TYPE, SLSA_PREDICATE_TYPE})
"""Types of the predicates that prove who published or built a file. No other predicate satisfies `publishers` or the
ratchet."""
INDEX_SOURCE = "index"
"""Name of the evidence source that always exists: the provenance that the file's own index offers."""


def make_question(source: str, subject: str) -> str:
    """Return the name of a question to an evidence source: ``github:octo/widget``.

    A source that must be told where to look is asked about one subject at a time, such as a repository.
    """
    return f"{source}:{subject}"


def split_question(question: str) -> tuple[str, str]:
    """Return the source and the subject of a question. The subject is empty if the name is only that of a source."""
    source, _, subject = question.partition(":")
    return source, subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Claims of a signing certificate about its signer.

    A number such as (.8) is the last arc of a Fulcio OID below 1.3.6.1.4.1.57264.1. A field is None if the certificate
    does not have the claim.
    """

    kind: str | None
    """Kind of Trusted Publisher (`kind` in PEP 740). It is recognized from the certificate and not taken from the
    index. None: another kind of signer, such as a person."""
    issuer: str
    """OIDC issuer (.8, or else .1)."""
    san: str
    """Subject Alternative Name: a URI or an e-mail address."""
    repository: str | None = None
    """``owner/name`` or ``group/…/name``, from the Source Repository URI (.12)."""
    repository_uri: str | None = None
    repository_id: str | None = None
    """Source Repository Identifier (.15). A renamed repository keeps it. A new repository under an old name gets
    another one."""
    owner: str | None = None
    owner_id: str | None = None
    """Source Repository Owner Identifier (.17)."""
    workflow: str | None = None
    """Path of the top-level workflow, from the Build Config URI (.18): ``.github/workflows/release.yml``."""
    workflow_ref: str | None = None
    """Ref or commit after ``@`` in the Build Config URI (.18)."""
    ref: str | None = None
    """Source Repository Ref (.14)."""
    digest: str | None = None
    """Source Repository Digest (.13): the commit."""
    environment: str | None = None
    """Deployment Environment (.23, or part of .24). Certificates have it since about May 2026."""
    token_subject: str | None = None
    """Token Subject (.24): the ``sub`` claim of the OIDC token. Certificates have it since about May 2026."""
    trigger: str | None = None
    """Build Trigger (.20): ``push``, ``release``, ``pull_request_target`` …"""
    runner: str | None = None
    """Runner Environment (.11): ``github-hosted``, ``self-hosted`` …"""
    visibility: str | None = None
    """Source Repository Visibility At Signing (.22)."""
    run_url: str | None = None
    """Run Invocation URI (.21)."""
    builder: str | None = None
    """Build Signer URI (.9): the reusable workflow, if the job called one, or else the workflow."""
    builder_digest: str | None = None
    email: str | None = None
    """E-mail address in the Subject Alternative Name, for Google service accounts and people."""
    project_id: str | None = None
    """UUID of the CircleCI project."""
    pipeline_definition_id: str | None = None
    vcs_origin: str | None = None
    vcs_ref: str | None = None
    organization: str | None = None
    """Organization on the ActiveState Platform."""
    project_path: str | None = None
    """``organization/project``, which identifies the project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slsa:
    """Facts from a verified SLSA v1 predicate. Verification has compared them with the certificate."""

    builder_id: str | None
    build_type: str | None
    repository: str | None
    ref: str | None
    workflow: str | None
    commit: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogIdentity:
    """Identity of a transparency log, in which an index names one entry."""

    id: str
    """Log id: SHA-256 of the log's public key, hexadecimal."""
    url: str
    """URL of the log, as the trust root lists it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """Verified attestation: all checks of its signature, log entry and statement passed."""

    trust_root: str
    """Name of the trust root under which the certificate was verified."""
    bundle: int
    """Number of the attestation's bundle in the provenance document, from 0."""
    predicate_type: str
    claims: Claims
    integrated_time: datetime
    """Time in UTC at which the transparency log recorded the attestation."""
    log_index: int
    certificate: str
    """SHA-256 of the signing certificate's DER, hexadecimal."""
    not_before: datetime
    not_after: datetime
    slsa: Slsa | None = None
    subject: str = ""
    """Name of the file in the signed statement. It may be another spelling of the index's filename, with the same
    project, version, build number and tags. In a Sigstore bundle, it may be a path."""
    material: tuple[str, ...] = ()
    """Fingerprints of the trust root's entries that verified the attestation: authority, CT log and transparency
    log."""
    source: str = INDEX_SOURCE
    """Name of the evidence source that offered the attestation (`provenance.sources`)."""
    log: LogIdentity | None = None
    """Transparency log of `log_index`; None in records of versions that did not record it."""
    predicate: str | None = None
    """Predicate as JSON text, if the attestation comes from a bundle and proves something else than who published or
    built the file. None for other attestations, and for a predicate that is too large
    or has the same key twice."""

    @property
    def is_provenance(self) -> bool:
        """True if the attestation proves who published or built the file.

        False if it proves something else, such as the result of a scan or a list of components.
        """
        return self.predicate_type in PROVENANCE_PREDICATE_TYPES


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStatement:
    """Verified statement about the file that a key has signed, in a bundle of another source than the index.

    It has no time: nothing shows when it was signed.
    """

    key: str
    """Name of the key in the configuration."""
    predicate_type: str
    predicate: str | None = None
    """Predicate as JSON text; None if it is too large or has the same key twice."""
    subject: str = ""
    """Name of the file in the signed statement."""
    bundle: int = 0
    """Number of the bundle in its document, from 0."""
    source: str = ""
    """Name of the evidence source that offered the bundle. Empty until the source is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Failed check of a bundle from another source than the file's own index.

    The bundle has no effect and is a security event. It never makes the file `Forged`.
    """

    step: str
    """Stable name of the check that failed, as in `Forged`."""
    expected: str
    found: str
    bundle: int = 0
    """Number of the bundle in its document, from 0."""
    source: str = ""
    """Name of the evidence source that offered the bundle. Empty until the source is known: verification does not know
    it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """Evidence from a document in which at least one attestation passed verification.

    None failed it, except for the bundles in `rejected`.
    """

    attestations: tuple[Attestation, ...]
    ignored: tuple[str, ...] = ()
    """Reasons why some attestations do not count. Each of these attestations could not be verified, for example because
    its kind, predicate or log is unknown; or it is a bundle for the same bytes under another name."""
    rejected: tuple[Rejection, ...] = ()
    """Bundles of other sources that failed a check. The evidence from the index's own document has none."""
    key_statements: tuple[KeyStatement, ...] = ()
    """Statements that keys have signed. The evidence from the index's own document has none."""

    @property
    def provenance(self) -> tuple[Attestation, ...]:
        """The attestations that prove who published or built the file."""
        attestations = self.attestations
        for each in attestations:
            if each.predicate_type not in PROVENANCE_PREDICATE_TYPES:
                return tuple(each for each in attestations if each.is_provenance)
        return attestations


@dataclass(frozen=True, slots=True, kw_only=True)
class Unattested:
    """Evidence about a file that has no provenance document, or a document without attestations that count."""

    rejected: tuple[Rejection, ...] = ()
    """Bundles of other sources that failed a check, as in `Attested`."""
    key_statements: tuple[KeyStatement, ...] = ()
    """Statements that keys have signed, as in `Attested`."""
    asked: tuple[str, ...] = ()
    """Questions to other sources than the index that proved nothing about the file (`make_question`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forged:
    """Evidence from a document that contradicts itself, or that fails a check although all keys are known.

    It is a security event.
    """

    step: str
    """Stable name of the check that failed, such as ``subject digest`` or ``inclusion proof``."""
    expected: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unstated:
    """Evidence about a file whose index does not say if the file has provenance.

    The pages of the index have no provenance URLs and no ``null`` in their place, and `provenance-from` is not set.
    The file may have an attestation or none.
    """

    index: str
    """Name of the index."""
    key_statements: tuple[KeyStatement, ...] = ()
    """Statements that keys have signed, as in `Attested`."""

    @property
    def problem(self) -> str:
        """Description of the problem with its remedy."""
        return f"index {self.index} carries no provenance; set `provenance-from`"


PROVENANCE_OMITTED = "provenance promised"
"""Value of `Forged.step` for a missing document: the index's page promises a provenance document, but the URL of the
document answers 404. The reason code is ``provenance-missing``."""

PROVENANCE_UNUSABLE = "provenance document"
"""Value of `Forged.step` if the response is neither a provenance document nor has the status 404 or 410."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unverifiable:
    """Evidence from a document that could not be verified.

    The document uses a log, key, version, predicate or publisher kind that is unknown to the trust root or to this
    version of Assay.
    """

    reason: str
    rejected: tuple[Rejection, ...] = ()
    """Bundles of other sources that failed a check, as in `Attested`."""
    key_statements: tuple[KeyStatement, ...] = ()
    """Statements that keys have signed, as in `Attested`."""


Evidence: TypeAlias = Attested | Unattested | Forged | Unverifiable | Unstated


def has_verified_statements(evidence: Evidence | None) -> bool:
    """Return whether evidence contains an attestation or a statement of a key that passed verification."""
    return isinstance(evidence, Attested) or bool(
        evidence is not None and not isinstance(evidence, Forged) and evidence.key_statements
    )


class PublisherIdentity(NamedTuple):
    """Identity of a publisher for the ratchet (provenance continuity).

    The identity stays the same if the repository, workflow or environment is renamed. It consists of the trust root,
    the issuer and a subject. Each kind of publisher defines which claim is the subject
    (`publishers.signers.identify_publisher`).

    The class is a tuple, because the ratchet uses identities as keys of dictionaries. Hashing and comparing tuples runs
    no Python code.
    """

    trust_root: str
    issuer: str
    subject: str
    """Label and value of the identifying claim: ``repository-id:…``, ``repository:…``, ``email:…`` or ``project:…``."""


def merge_evidence(latest: Evidence, earlier: Sequence[Evidence]) -> Evidence:
    """Return the combined evidence of several documents of one source about one file.

    Args:
        latest: evidence from the source's current document. If it is forged, the result is forged.
        earlier: evidence from earlier documents, which still counts. Only `Attested` evidence is used.

    Returns:
        `latest` if it is forged, or if no evidence is `Attested`. Otherwise one `Attested` with the attestations of all
        documents, and with the rejected bundles of `latest`.
    """
    if isinstance(latest, Forged):
        return latest
    documents = [each for each in (latest, *earlier) if isinstance(each, Attested)]
    if not documents or (len(documents) == 1 and documents[0] is latest):
        return latest
    return Attested(
        attestations=_join_bundles(documents),
        ignored=tuple(dict.fromkeys(reason for document in documents for reason in document.ignored)),
        rejected=() if isinstance(latest, Unstated) else latest.rejected,
        key_statements=latest.key_statements,
    )


def merge_sources(own: Evidence, others: Sequence[Evidence]) -> Evidence:
    """Return the combined evidence of all sources about one file.

    Args:
        own: evidence from the file's own index. Only this evidence can make the file forged.
        others: evidence from other sources. Forged evidence is ignored.

    Returns:
        `own` if it is forged, or if `others` add nothing to it. Otherwise one `Attested` with the attestations of all
        sources; or one `Unverifiable` with the reasons of all sources; or `own` with the rejected bundles of `others`.
    """
    if isinstance(own, Forged):
        return own
    found = (own, *(each for each in others if not isinstance(each, Forged | Unstated)))
    rejected = tuple(rejection for each in found if not isinstance(each, Unstated) for rejection in each.rejected)
    reasons = tuple(dict.fromkeys(reason for each in found for reason in _list_reasons(each)))
    statements = tuple(statement for each in found for statement in each.key_statements)
    attested = [each for each in found if isinstance(each, Attested)]
    if attested:
        return Attested(
            attestations=_join_bundles(attested), ignored=reasons, rejected=rejected, key_statements=statements
        )
    if reasons:
        return Unverifiable(reason="; ".join(reasons), rejected=rejected, key_statements=statements)
    if isinstance(own, Unattested):
        return Unattested(rejected=rejected, key_statements=statements)
    return replace(own, key_statements=statements)


def _join_bundles(documents: Sequence[Attested]) -> tuple[Attestation, ...]:
    """Return the attestations of several documents. A bundle that several documents have is returned once.

    A rule can require several predicates in one bundle, so bundles of different documents get different numbers.
    """
    joined: dict[frozenset[Attestation], tuple[Attestation, ...]] = {}
    end = 0
    for document in documents:
        bundles: dict[int, list[Attestation]] = {}
        for each in document.attestations:
            bundles.setdefault(each.bundle, []).append(each)
        start = end
        for position, bundle in bundles.items():
            alike = frozenset(replace(each, bundle=0) for each in bundle)
            joined.setdefault(alike, tuple(replace(each, bundle=start + position) for each in bundle))
            end = max(end, start + position + 1)
    return tuple(each for bundle in joined.values() for each in bundle)


def _list_reasons(evidence: Evidence) -> tuple[str, ...]:
    """Return the reasons why attestations of a document do not count."""
    match evidence:
        case Attested(ignored=ignored):
            return ignored
        case Unverifiable(reason=reason):
            return (reason,)
        case _:
            return ()
