"""What becomes of each file that a lockfile pins: the proxy's verdict on it, or why there is none.

Owns the match between a lockfile's entry and a file on a page. It is by digest: a file of the pinned name with another
digest is not the pinned file, and an installer would refuse it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import TypeAdapter, ValidationError

from assay.cli.dry_run import Pages
from assay.errors import AssayError, NotFoundError
from assay.evidence import Attestation, Attested
from assay.gate.judged_page import Judged
from assay.lockfiles import Lockfile, Pinned
from assay.policy.language.publishers import Matcher, Publisher, describe_claims, matcher
from assay.policy.verdict import Approved, Withheld

APPROVED, WITHHELD, MISSING, CHANGED, IDENTITY, UNKNOWN = (
    "approved",
    "withheld",
    "missing",
    "digest-differs",
    "lock-identity",
    "undecided",
)
"""What can be found of a pinned file. Only the first is good; the last may be otherwise in a while."""

_PUBLISHER: TypeAdapter[Publisher] = TypeAdapter(Publisher)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One pinned file and what is to be said of it."""

    pinned: Pinned
    status: str
    verdict: Approved | Withheld | None
    problem: str | None = None
    """In a sentence, where it is not the verdict that speaks."""

    @property
    def codes(self) -> list[str]:
        """Stable names of what is wrong; none where the file is approved."""
        if self.status == WITHHELD and isinstance(self.verdict, Withheld):
            return [reason.code.value for reason in self.verdict.reasons]
        return [] if self.status == APPROVED else [self.status]

    @property
    def attestations(self) -> tuple[Attestation, ...]:
        """What is proven of the file, if it is approved."""
        if self.status != APPROVED or self.verdict is None or not isinstance(self.verdict.evidence, Attested):
            return ()
        return self.verdict.evidence.attestations


def findings_of(lockfile: Lockfile, pages: Pages) -> list[Finding]:
    """A finding for each pinned file, in the lockfile's order."""
    found = [_finding(pinned, pages[pinned.project]) for pinned in lockfile.files]
    return [_identified(each, found) for each in found]


def _finding(pinned: Pinned, page: Judged | AssayError) -> Finding:
    if isinstance(page, AssayError):
        status = MISSING if isinstance(page, NotFoundError) else UNKNOWN
        return Finding(pinned=pinned, status=status, verdict=None, problem=str(page))
    named = [each for each in page.verdicts if each.file.filename == pinned.filename]
    candidates = named if pinned.filename is not None else list(page.verdicts)
    for verdict in candidates:
        if pinned.sha256 is None or verdict.file.sha256 == pinned.sha256:
            status = APPROVED if isinstance(verdict, Approved) else WITHHELD
            return Finding(pinned=pinned, status=status, verdict=verdict)
    if named:
        problem = f"the lockfile has sha256 {pinned.sha256}, {page.page.index.name} lists {named[0].file.sha256}"
        return Finding(pinned=pinned, status=CHANGED, verdict=named[0], problem=problem)
    problem = f"{page.page.index.name} does not list it (any more): withdrawn, or never there"
    return Finding(pinned=pinned, status=MISSING, verdict=None, problem=problem)


_Identities: TypeAlias = list[Matcher]


def _identified(finding: Finding, all_of_them: Iterable[Finding]) -> Finding:
    """Hold an approved file against the publishers that the lockfile recorded (PEP 751, attestation-identities)."""
    recorded = finding.pinned.identities
    if not recorded or finding.verdict is None or finding.verdict.evidence is None or finding.status != APPROVED:
        return finding
    known = list(_matchers(finding.pinned))
    signed = finding.attestations
    if _match(known, signed) or not known:
        return finding
    siblings = (each for each in all_of_them if _release(each) == _release(finding))
    if not signed and any(_match(known, each.attestations) for each in siblings):
        return finding  # "for any file recorded for this package" (PEP 751): this one may never have had any
    signers = "; ".join(dict.fromkeys(describe_claims(each.claims) for each in signed)) or "nobody"
    problem = f"it is signed by {signers}, none of those whom the lockfile recorded"
    return Finding(pinned=finding.pinned, status=IDENTITY, verdict=finding.verdict, problem=problem)


def _release(finding: Finding) -> tuple[object, ...]:
    return finding.pinned.project, finding.pinned.version


def _match(known: _Identities, signed: Iterable[Attestation]) -> bool:
    return any(each.covers(attestation) for each in known for attestation in signed)


def _matchers(pinned: Pinned) -> Iterator[Matcher]:
    for recorded in pinned.identities:
        try:
            # PyPI writes "no environment" as null.
            stated = {key: value for key, value in recorded.items() if value is not None}
            yield matcher(_PUBLISHER.validate_python(stated))
        except ValidationError:
            continue  # a kind or key that came after us, and proves nothing here
