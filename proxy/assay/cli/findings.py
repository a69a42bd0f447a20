"""Findings about a lockfile: the proxy's verdict on each pinned file, or the problem that prevents a verdict.

A pinned file is matched with a file on the index's page by its digest. A file on the page with the pinned name but
another digest is a different file, which an installer would refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from pydantic import TypeAdapter, ValidationError

from assay.cli.dry_run import PageResults
from assay.errors import AssayError, NotFoundError
from assay.evidence import Attestation, Attested, Unstated
from assay.gate.judged_page import JudgedPage
from assay.lockfiles import Lockfile, PinnedFile
from assay.policy.verdict import Approved, Withheld
from assay.publishers.matching import PublisherMatcher, compile_publisher
from assay.publishers.registry import Publisher
from assay.publishers.signers import describe_attestation

STATUS_APPROVED, STATUS_WITHHELD, STATUS_MISSING, STATUS_DIGEST_DIFFERS, STATUS_LOCK_IDENTITY, STATUS_UNDECIDED = (
    "approved",
    "withheld",
    "missing",
    "digest-differs",
    "lock-identity",
    "undecided",
)
"""Values of the status of a pinned file. `STATUS_UNDECIDED` is temporary: for example, an index is unavailable."""

_PUBLISHER_ADAPTER: TypeAdapter[Publisher] = TypeAdapter(Publisher)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockfileFinding:
    """Result for one pinned file: its status, with the verdict or a problem."""

    pinned: PinnedFile
    status: str
    verdict: Approved | Withheld | None
    problem: str | None = None
    """Sentence that explains the status. None if the verdict explains it."""

    @property
    def codes(self) -> list[str]:
        """Codes that explain the status.

        For a withheld file they are the reason codes. For an approved file there are none. For any other file the only
        code is the status.
        """
        if self.status == STATUS_WITHHELD and isinstance(self.verdict, Withheld):
            return [reason.code.value for reason in self.verdict.reasons]
        return [] if self.status == STATUS_APPROVED else [self.status]

    @property
    def attestations(self) -> tuple[Attestation, ...]:
        """Verified attestations that prove who published or built the file; empty if the file is not approved."""
        if self.status != STATUS_APPROVED or self.verdict is None or not isinstance(self.verdict.evidence, Attested):
            return ()
        return self.verdict.evidence.provenance


def build_findings(lockfile: Lockfile, pages: PageResults) -> list[LockfileFinding]:
    """Return a finding for each pinned file, in the order of the lockfile.

    Args:
        lockfile: the lockfile.
        pages: the result for each project in the lockfile.
    """
    found = [_match_pinned_file(pinned, pages[pinned.project]) for pinned in lockfile.files]
    return [_check_identities(each, found) for each in found]


def _match_pinned_file(pinned: PinnedFile, page: JudgedPage | AssayError) -> LockfileFinding:
    if isinstance(page, AssayError):
        status = STATUS_MISSING if isinstance(page, NotFoundError) else STATUS_UNDECIDED
        return LockfileFinding(pinned=pinned, status=status, verdict=None, problem=str(page))
    named = [each for each in page.verdicts if each.file.filename == pinned.filename]
    candidates = named if pinned.filename is not None else list(page.verdicts)
    for verdict in candidates:
        if pinned.sha256 is None or verdict.file.sha256 == pinned.sha256:
            status = STATUS_APPROVED if isinstance(verdict, Approved) else STATUS_WITHHELD
            return LockfileFinding(pinned=pinned, status=status, verdict=verdict)
    if named:
        listed = f"{page.page.index.name} lists the file with SHA-256 {named[0].file.sha256}"
        problem = f"the lockfile has SHA-256 {pinned.sha256}, but {listed}"
        return LockfileFinding(pinned=pinned, status=STATUS_DIGEST_DIFFERS, verdict=named[0], problem=problem)
    problem = f"{page.page.index.name} does not list this file; it was withdrawn, or never existed"
    return LockfileFinding(pinned=pinned, status=STATUS_MISSING, verdict=None, problem=problem)


_IdentityMatchers: TypeAlias = list[PublisherMatcher | None]
"""Matchers of the recorded publishers; None for a publisher that no certificate can prove."""
_UNKNOWN_KIND_OR_KEY: Final = frozenset({"union_tag_invalid", "union_tag_not_found", "extra_forbidden"})


def _check_identities(finding: LockfileFinding, all_findings: Iterable[LockfileFinding]) -> LockfileFinding:
    """Return `finding`, with the status `STATUS_LOCK_IDENTITY` if no publisher in the lockfile vouches for the file.

    A lockfile records publishers as ``attestation-identities`` (PEP 751). Only approved files are checked. A file
    passes the check in three cases:

    - The lockfile records no publisher of a known kind for the file.
    - A recorded publisher signed the file.
    - The file has no attestation, and a recorded publisher signed another file of the same release.
    """
    recorded = finding.pinned.identities
    if not recorded or finding.verdict is None or finding.verdict.evidence is None or finding.status != STATUS_APPROVED:
        return finding
    known = list(_parse_identities(finding.pinned))
    signed = finding.attestations
    if _has_match(known, signed) or not known:
        return finding
    siblings = (each for each in all_findings if _get_release_key(each) == _get_release_key(finding))
    if not signed and any(_has_match(known, each.attestations) for each in siblings):
        # PEP 751 records identities "for any file recorded for this package"; this file may never have had one.
        return finding
    signers = "; ".join(dict.fromkeys(describe_attestation(each) for each in signed))
    problem = (
        f"the signer {signers} is not a publisher recorded in the lockfile"
        if signers
        else "the file has no attestation by a publisher recorded in the lockfile"
    )
    if isinstance(finding.verdict.evidence, Unstated):
        problem = f"the lockfile records a publisher of the file, but {finding.verdict.evidence.problem}"
    return LockfileFinding(pinned=finding.pinned, status=STATUS_LOCK_IDENTITY, verdict=finding.verdict, problem=problem)


def _get_release_key(finding: LockfileFinding) -> tuple[object, ...]:
    return finding.pinned.project, finding.pinned.version


def _has_match(matchers: _IdentityMatchers, attestations: Iterable[Attestation]) -> bool:
    known = [each for each in matchers if each is not None]
    return any(each.covers(attestation) for attestation in attestations for each in known)


def _parse_identities(pinned: PinnedFile) -> Iterator[PublisherMatcher | None]:
    for recorded in pinned.identities:
        try:
            # PyPI writes "no environment" as null.
            stated = {key: value for key, value in recorded.items() if value is not None}
            yield compile_publisher(_PUBLISHER_ADAPTER.validate_python(stated))
        except ValidationError as error:
            # A kind or key that this version of Assay does not know cannot be compared. Any other invalid value is one
            # that no certificate has.
            if not any(each["type"] in _UNKNOWN_KIND_OR_KEY for each in error.errors()):
                yield None
