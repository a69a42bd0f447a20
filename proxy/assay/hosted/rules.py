"""Rules that decide whether an upload may take its place: users, taken names, late files, and ownership. Pure.

No message contains words after which twine's ``--skip-existing`` takes a refusal for success ("already exist").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from packaging.utils import NormalizedName

from assay.errors import UploadForbiddenError, UploadRefusedError
from assay.evidence import (
    PUBLISH_PREDICATE_TYPE,
    SLSA_PREDICATE_TYPE,
    Attestation,
    Attested,
    Evidence,
    Forged,
    PublisherIdentity,
    Unverifiable,
)
from assay.hosted.form import UploadForm
from assay.hosted.naming import find_slot, parse_release_version
from assay.indexes import IndexSettings
from assay.ports import HostedFile
from assay.publishers.signers import identify_publisher, name_signer

LATE_AFTER: Final = timedelta(days=14)
"""Time after the first file of a release in which further files of it are accepted, as on PyPI since July 2026."""
_PREDICATES: Final = frozenset({PUBLISH_PREDICATE_TYPE, SLSA_PREDICATE_TYPE})
NO_ATTESTATION: Final = (
    "this index requires attestations (PEP 740), and the upload has none: sign the file, then upload it with"
    " 'twine upload --attestations' or 'uv publish'; Poetry, Hatch and Flit send no attestations"
)


class Placement(Enum):
    """Place of an acceptable upload among the files of its project."""

    NEW = "new"
    SAME = "same"
    """The project has this file with the same bytes. The upload changes nothing."""


def check_index_uploader(index: IndexSettings, user: str) -> None:
    """Check that a user may upload files of some project.

    Raises:
        UploadForbiddenError: the user is not an uploader of this index.
    """
    if all(each.user != user for each in index.uploaders):
        raise UploadForbiddenError(f"the user {user} may not upload to the index {index.name}")


def check_uploader(index: IndexSettings, user: str, project: NormalizedName, *, is_owner: bool) -> None:
    """Check that a user may upload files of a project.

    Args:
        index: the hosted index.
        user: name of the user.
        project: the project.
        is_owner: True if the index owns the name.

    Raises:
        UploadForbiddenError: the user may not upload to this index, or not this project.
        UploadRefusedError: another index owns the name.
    """
    check_index_uploader(index, user)
    if not is_owner:
        raise UploadRefusedError(f"the index {index.name} does not own the name {project}")
    if not any(each.user == user and each.covers(project) for each in index.uploaders):
        raise UploadForbiddenError(f"the user {user} may not upload files of the project {project}")


def place_upload(form: UploadForm, sha256: str, files: Sequence[HostedFile], now: datetime) -> Placement:
    """Return the place of an upload among the files of its project.

    Args:
        form: the form of the upload.
        sha256: digest of the received bytes.
        files: files of the project, also yanked ones.
        now: the current time, UTC.

    Raises:
        UploadRefusedError: the name or the slot is taken by other bytes, or the release is too old for a new file.
    """
    release: list[HostedFile] = []
    for file in files:
        if file.filename == form.filename and file.sha256 == sha256:
            return Placement.SAME
        version = parse_release_version(file.version)
        if file.filename == form.filename or find_slot(file.filename, form.project, version) == form.slot:
            raise UploadRefusedError(
                f"{form.filename} is taken by other bytes ({file.filename}, SHA-256 {file.sha256[:16]}...): names of"
                " files are never used again; upload a new version"
            )
        if version == form.version:
            release.append(file)
    first = min((file.uploaded for file in release), default=now)
    if now - first > LATE_AFTER:
        raise UploadRefusedError(
            f"{form.project} {form.version} has its first file since {first:%Y-%m-%d}: new files are accepted for"
            f" {LATE_AFTER.days} days only; upload a new version"
        )
    return Placement.NEW


def check_evidence(index: IndexSettings, evidence: Evidence, count: int) -> tuple[Attestation, ...]:
    """Return the verified attestations of an upload.

    Args:
        index: the hosted index.
        evidence: result of the verification.
        count: number of attestations in the upload.

    Raises:
        UploadRefusedError: an attestation is missing, forged or unverifiable, or two have the same predicate type.
    """
    match evidence:
        case Forged(step=step, expected=expected, found=found):
            raise UploadRefusedError(f"invalid attestation, {step}: expected {expected}, found {found}")
        case Unverifiable(reason=reason):
            raise UploadRefusedError(f"the attestation cannot be verified: {reason}")
        case Attested(attestations=attestations, ignored=ignored):
            if ignored or len(attestations) != count:
                raise UploadRefusedError(f"an attestation cannot be verified: {'; '.join(ignored)}")
        case _:
            attestations = ()
    if not attestations and index.attestations == "required":
        raise UploadRefusedError(NO_ATTESTATION)
    predicates = [each.predicate_type for each in attestations]
    if repeated := {each for each in predicates if predicates.count(each) > 1}:
        raise UploadRefusedError(
            f"two attestations have the predicate type {repeated.pop()}: a file may have one of each"
        )
    if other := [each for each in predicates if each not in _PREDICATES]:
        raise UploadRefusedError(
            f"the predicate type {other[0][:100]} is not accepted: {' or '.join(sorted(_PREDICATES))}"
        )
    return attestations


def find_owners(files: Iterable[HostedFile]) -> frozenset[PublisherIdentity]:
    """Return the publishers that own a project: the signers of its first attested file."""
    first = min((file for file in files if file.signers), key=lambda file: file.uploaded, default=None)
    return frozenset() if first is None else frozenset(first.signers)


def check_owner(
    attestations: Sequence[Attestation], owners: Collection[PublisherIdentity], *, names_publishers: bool
) -> None:
    """Check that the signer of an upload owns its project. The first publisher of a project owns it at once.

    Args:
        attestations: verified attestations of the upload.
        owners: publishers that own the project; empty before its first attested file.
        names_publishers: True if the governing rule of the policy names publishers. The policy has then checked the
            signer, so a rule can name another publisher.

    Raises:
        UploadRefusedError: another publisher owns the project.
    """
    if not owners or (names_publishers and attestations):
        return
    known = ", ".join(sorted(each.subject for each in owners))
    if not attestations:
        raise UploadRefusedError(f"the upload has no attestation, but the project belongs to the publisher {known}")
    if not any(identify_publisher(each) in owners for each in attestations):
        signer = ", ".join(dict.fromkeys(name_signer(each.claims) for each in attestations))
        raise UploadRefusedError(
            f"the file is signed by {signer}, but the project belongs to the publisher {known}: a rule of the policy"
            " must name the new publisher"
        )
