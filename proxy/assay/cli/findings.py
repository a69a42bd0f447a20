"""What becomes of each file that a lockfile pins: the proxy's verdict on it, or why there is none.

Owns the match between a lockfile's entry and a file on a page. It is by digest: a file of the pinned name with another
digest is not the pinned file, and an installer would refuse it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import TypeAdapter, ValidationError

from assay.cli.dry_run import PageResults
from assay.errors import AssayError, NotFoundError
from assay.evidence import Attestation, Attested
from assay.gate.judged_page import JudgedPage
from assay.lockfiles import Lockfile, PinnedFile
from assay.policy.verdict import Approved, Withheld
from assay.publishers.matching import PublisherMatcher, compile_publisher
from assay.publishers.registry import Publisher
from assay.publishers.signers import describe_signer

STATUS_APPROVED, STATUS_WITHHELD, STATUS_MISSING, STATUS_DIGEST_DIFFERS, STATUS_LOCK_IDENTITY, STATUS_UNDECIDED = (
    "approved",
    "withheld",
    "missing",
    "digest-differs",
    "lock-identity",
    "undecided",
)
"""What can be found of a pinned file. Only the first is good; the last may be otherwise in a while."""

_PUBLISHER_ADAPTER: TypeAdapter[Publisher] = TypeAdapter(Publisher)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockfileFinding:
    """One pinned file and what is to be said of it."""

    pinned: PinnedFile
    status: str
    verdict: Approved | Withheld | None
    problem: str | None = None
    """In a sentence, where it is not the verdict that speaks."""

    @property
    def codes(self) -> list[str]:
        """Stable names of what is wrong; none where the file is approved."""
        if self.status == STATUS_WITHHELD and isinstance(self.verdict, Withheld):
            return [reason.code.value for reason in self.verdict.reasons]
        return [] if self.status == STATUS_APPROVED else [self.status]

    @property
    def attestations(self) -> tuple[Attestation, ...]:
        """What is proven of the file, if it is approved."""
        if self.status != STATUS_APPROVED or self.verdict is None or not isinstance(self.verdict.evidence, Attested):
            return ()
        return self.verdict.evidence.attestations


def build_findings(lockfile: Lockfile, pages: PageResults) -> list[LockfileFinding]:
    """A finding for each pinned file, in the lockfile's order."""
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
        problem = f"the lockfile has sha256 {pinned.sha256}, {page.page.index.name} lists {named[0].file.sha256}"
        return LockfileFinding(pinned=pinned, status=STATUS_DIGEST_DIFFERS, verdict=named[0], problem=problem)
    problem = f"{page.page.index.name} does not list it (any more): withdrawn, or never there"
    return LockfileFinding(pinned=pinned, status=STATUS_MISSING, verdict=None, problem=problem)


_IdentityMatchers: TypeAlias = list[PublisherMatcher]


def _check_identities(finding: LockfileFinding, all_findings: Iterable[LockfileFinding]) -> LockfileFinding:
    """Hold an approved file against the publishers that the lockfile recorded (PEP 751, attestation-identities)."""
    recorded = finding.pinned.identities
    if not recorded or finding.verdict is None or finding.verdict.evidence is None or finding.status != STATUS_APPROVED:
        return finding
    known = list(_parse_identities(finding.pinned))
    signed = finding.attestations
    if _has_match(known, signed) or not known:
        return finding
    siblings = (each for each in all_findings if _get_release_key(each) == _get_release_key(finding))
    if not signed and any(_has_match(known, each.attestations) for each in siblings):
        return finding  # "for any file recorded for this package" (PEP 751): this one may never have had any
    signers = "; ".join(dict.fromkeys(describe_signer(each.claims) for each in signed)) or "nobody"
    problem = f"it is signed by {signers}, none of those whom the lockfile recorded"
    return LockfileFinding(pinned=finding.pinned, status=STATUS_LOCK_IDENTITY, verdict=finding.verdict, problem=problem)


def _get_release_key(finding: LockfileFinding) -> tuple[object, ...]:
    return finding.pinned.project, finding.pinned.version


def _has_match(matchers: _IdentityMatchers, attestations: Iterable[Attestation]) -> bool:
    return any(each.covers(attestation) for each in matchers for attestation in attestations)


def _parse_identities(pinned: PinnedFile) -> Iterator[PublisherMatcher]:
    for recorded in pinned.identities:
        try:
            # PyPI writes "no environment" as null.
            stated = {key: value for key, value in recorded.items() if value is not None}
            yield compile_publisher(_PUBLISHER_ADAPTER.validate_python(stated))
        except ValidationError:
            continue  # a kind or key that came after us, and proves nothing here
