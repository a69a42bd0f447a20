"""Uploads to hosted indexes: all checks, in order, before a file becomes visible.

Nothing of an upload is visible until `HostedStorage.publish` has returned. The page of the project is judged right
afterwards, so that the ledger has recorded the file before the client gets its answer.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from packaging.utils import NormalizedName

from assay import telemetry
from assay.caching.flights import ProcessFlights
from assay.errors import AssayError, EvidenceUnavailableError, StorageError, UploadRefusedError
from assay.evidence import Attestation, Evidence, Unattested
from assay.gate.gate import Gate
from assay.hosted.form import UploadForm, check_digests
from assay.hosted.page import CLOSED_STATUSES
from assay.hosted.rules import Placement, check_evidence, check_owner, check_uploader, find_owners, place_upload
from assay.indexes import Indexes, IndexSettings
from assay.pages.hosted import HostedPages
from assay.policy.compiled import names_publishers
from assay.policy.reasons import summarize_withheld
from assay.policy.verdict import Approved, ReasonCode, Undecided, Verdict, Withheld
from assay.ports import HostedFile, HostedProject, HostedStorage, StagedFile, VerificationJob, Verifier
from assay.publishers.signers import identify_publisher
from assay.simple.model import Sha256

if TYPE_CHECKING:
    from assay.hosted.archive.metadata import InspectedArchive

_MAX_INSPECTIONS: Final = 1
"""Maximum number of archives that are inspected at the same time. Each needs a thread and the CPU."""
_TIME_CODES: Final = frozenset({ReasonCode.TOO_YOUNG})
"""Reasons that time alone removes. A file that is withheld only for them is accepted, and shown later."""
_MAX_CHECKS: Final = 20
"""Maximum number of times that an upload is checked because its project has changed meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadResult:
    """Accepted upload."""

    file: HostedFile
    placement: Placement
    attestations: tuple[Attestation, ...] = ()
    provenance_sha256: str | None = None


def _make_provenance_object(attestations: Sequence[dict[str, Any]]) -> bytes:
    """Return the provenance object of uploaded attestations.

    Raises:
        UploadRefusedError: an attestation is malformed, or its signer is not a Trusted Publisher.
    """
    # Imported at the first upload: a proxy without uploads must not need the memory of cryptography.
    from assay.attestation.verification.provenance_object import make_provenance_object  # noqa: PLC0415

    return make_provenance_object(attestations)


class UploadService:
    """Service that accepts or refuses uploads to hosted indexes.

    Args:
        gate: gate of the view at ``/``, whose policy judges uploads.
        storage: files of the hosted indexes.
        pages: pages of the hosted indexes.
        verifier: verifier of attestations.
        indexes: all indexes.
        clock: returns the current time in UTC.
    """

    def __init__(
        self,
        *,
        gate: Gate,
        storage: HostedStorage,
        pages: HostedPages,
        verifier: Verifier,
        indexes: Indexes,
        clock: Callable[[], datetime],
    ) -> None:
        self.storage = storage
        self.indexes = indexes
        self._gate = gate
        self._pages = pages
        self._verifier = verifier
        self._clock = clock
        self._flights = ProcessFlights()
        self._inspections = asyncio.Semaphore(_MAX_INSPECTIONS)

    def check_permission(self, index: IndexSettings, user: str, project: NormalizedName) -> None:
        """Check that a user may upload files of a project.

        Raises:
            UploadForbiddenError: the user may not.
            UploadRefusedError: another index owns the name.
        """
        check_uploader(index, user, project, is_owner=self.indexes.find_owner(project) is index)

    async def accept(self, index: IndexSettings, form: UploadForm, staged: StagedFile, user: str) -> UploadResult:
        """Check an upload and publish it.

        Args:
            index: the hosted index.
            form: form of the upload. `check_permission` has been called.
            staged: the received bytes.
            user: name of the uploader.

        Raises:
            UploadRefusedError: the upload is invalid, or a rule or the policy refuses it.
            AssayError: the upload cannot be checked or stored now.
        """
        sha256, blake2_256 = await staged.finish()
        check_digests(form, sha256=sha256, blake2_256=blake2_256)
        await self.storage.refresh(index.name)
        if same := await self._place(index, form, sha256, self.storage.find_project(index.name, form.project)):
            return same
        async with self._inspections:
            inspected = await asyncio.to_thread(_inspect, staged, form)
        provenance, evidence = await self._verify(index, form, sha256)
        attestations = check_evidence(index, evidence, len(form.attestations))
        file = self._make_file(
            form,
            sha256=sha256,
            size=staged.size,
            user=user,
            inspected=inspected,
            provenance=provenance,
            attestations=attestations,
        )
        async with self._flights.flight(f"{index.name}:{form.project}", _never_done):
            for _ in range(_MAX_CHECKS):
                known = self.storage.find_project(index.name, form.project)
                if same := await self._place(index, form, sha256, known):
                    return same
                project = known or HostedProject(name=form.project)
                await self._check_policy(index, project, file, evidence, attestations)
                is_published = await self.storage.publish(
                    index.name,
                    form.project,
                    staged,
                    file,
                    metadata=inspected.metadata,
                    provenance=provenance,
                    known=known,
                )
                if is_published:
                    break
                await self.storage.refresh(index.name)
            else:
                raise StorageError(f"the project {form.project} changes all the time; try again")
        await self._judge(form.project)
        return UploadResult(
            file=file, placement=Placement.NEW, attestations=attestations, provenance_sha256=file.provenance_sha256
        )

    async def _place(
        self, index: IndexSettings, form: UploadForm, sha256: str, project: HostedProject | None
    ) -> UploadResult | None:
        """Return the result for a file that is published already; None for a new file.

        Raises:
            UploadRefusedError: the name is taken, or the project takes no uploads.
        """
        files = () if project is None else project.files
        # In a thread, because a project may have thousands of files.
        if await asyncio.to_thread(place_upload, form, sha256, files, self._clock()) is Placement.SAME:
            file = next(each for each in files if each.filename == form.filename)
            await self.storage.wait_until_visible(index.name)
            return UploadResult(file=file, placement=Placement.SAME, provenance_sha256=file.provenance_sha256)
        if project is not None and project.status in CLOSED_STATUSES:
            raise UploadRefusedError(f"the project {form.project} is {project.status} and takes no uploads")
        return None

    async def _verify(self, index: IndexSettings, form: UploadForm, sha256: str) -> tuple[bytes | None, Evidence]:
        if not form.attestations:
            return None, Unattested()
        provenance = await asyncio.to_thread(_make_provenance_object, form.attestations)
        job = VerificationJob(filename=form.filename, sha256=sha256, provenance=provenance, trust=index.trust)
        [result] = await self._verifier.verify([job])
        return provenance, result.evidence

    def _make_file(
        self,
        form: UploadForm,
        *,
        sha256: str,
        size: int,
        user: str,
        inspected: InspectedArchive,
        provenance: bytes | None,
        attestations: tuple[Attestation, ...],
    ) -> HostedFile:
        signers = (identify_publisher(each) for each in attestations)
        return HostedFile(
            filename=form.filename,
            version=str(form.version),
            sha256=sha256,
            size=size,
            uploaded=self._clock(),
            uploader=user,
            requires_python=inspected.requires_python,
            metadata_sha256=_hash(inspected.metadata),
            provenance_sha256=_hash(provenance),
            signers=tuple(dict.fromkeys(signer for signer in signers if signer is not None)),
        )

    async def _check_policy(
        self,
        index: IndexSettings,
        known: HostedProject,
        file: HostedFile,
        evidence: Evidence,
        attestations: tuple[Attestation, ...],
    ) -> None:
        """Check that the policy would show the file, and that its signer owns the project.

        Raises:
            UploadRefusedError: the policy would withhold the file, or another publisher owns the project.
            AssayError: the policy cannot be applied now.
        """
        page = await self._pages.preview(index, replace(known, files=(*known.files, file), version="preview"))
        policy = self._gate.policy
        verdicts = await self._gate.preview(page, {(file.filename, Sha256(file.sha256)): evidence})
        verdict = next(each for each in verdicts if each.file.filename == file.filename)
        if isinstance(verdict, Undecided):
            raise EvidenceUnavailableError("the policy needs the provenance of earlier files, which is unavailable")
        if isinstance(verdict, Withheld) and not _is_only_young(verdict):
            raise UploadRefusedError(f"the policy would not show the file: {summarize_withheld(verdict)}")
        is_named = names_publishers(policy, known.name) and _meets_rule(verdict)
        check_owner(attestations, find_owners(known.files), names_publishers=is_named)

    async def _judge(self, project: NormalizedName) -> None:
        """Judge the new page, which records the file in the ledger."""
        try:
            await self._gate.get_page(project)
        except AssayError as error:  # the file is published; the next request for the page tries again
            telemetry.warning("upload-not-judged", project=project, error=str(error))


def _inspect(staged: StagedFile, form: UploadForm) -> InspectedArchive:
    # Imported at the first upload: a proxy without uploads does not need the memory of tarfile and packaging.metadata.
    from assay.hosted.archive.inspection import inspect_archive  # noqa: PLC0415

    with staged.open_reader() as reader:
        return inspect_archive(reader, staged.size, form)


def _hash(document: bytes | None) -> str | None:
    return None if document is None else hashlib.sha256(document).hexdigest()


def _is_only_young(verdict: Withheld) -> bool:
    return not verdict.enforced and all(reason.code in _TIME_CODES for reason in verdict.reasons)


def _meets_rule(verdict: Verdict) -> bool:
    """Return whether no waiver, pin or mode lifted a requirement of the rule."""
    return isinstance(verdict, Withheld) or (isinstance(verdict, Approved) and not verdict.despite)


async def _never_done() -> bool:
    return False
