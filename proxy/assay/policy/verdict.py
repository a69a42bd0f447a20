"""Verdicts and their reasons as values. Only `approve` makes an `Approved`.

A reason names the rule, the expected value, the found value and the remedy. It stores only facts and formats its text
when the text is read: a page may have thousands of withheld files whose reasons no client reads.

Verdicts must be fast to make, because a page has one for each file. The constructor of a frozen dataclass calls
`object.__setattr__` for each field, which takes 1.1 µs for seven fields. A draft (`_make_draft_class`) takes 0.3 µs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, make_dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias, final

from assay.evidence import INDEX_SOURCE, Evidence
from assay.simple.model import File, NormalizedName, Sha256


class ReasonCode(StrEnum):
    """Stable codes of reasons (docs/policy-semantics.md).

    The order of the codes is the order of the precedence. Reasons are reported in this order.
    """

    REVOKED = "revoked"
    MALICIOUS = "malicious"
    DENIED = "denied"
    NO_RULE = "no-rule"
    BAD_FILENAME = "bad-filename"
    OTHER_PROJECT = "other-project"
    URL_MISMATCH = "url-mismatch"
    DUPLICATE = "duplicate"
    NO_SHA256 = "no-sha256"
    FOREIGN_HOST = "foreign-host"
    DIGEST_CHANGED = "digest-changed"
    TIME_CONFLICT = "time-conflict"
    NOT_PINNED = "not-pinned"
    BAD_ENTRY = "bad-entry"
    FORGED = "forged"
    PROVENANCE_MISSING = "provenance-missing"
    PROVENANCE_UNUSABLE = "provenance-unusable"
    INDEX = "index"
    TRUST = "trust"
    UNVERIFIABLE = "unverifiable"
    UNATTESTED = "unattested"
    PUBLISHER = "publisher"
    PREDICATE = "predicate"
    BUILDER = "builder"
    COUNTERSIGNED = "countersigned"
    TOO_YOUNG = "too-young"
    UPLOADED_AFTER = "uploaded-after"
    PROVENANCE_LOST = "provenance-lost"
    PUBLISHER_CHANGED = "publisher-changed"
    LATE_FILE = "late-file"
    FILE_TYPE = "file-type"
    YANKED = "yanked"
    PROJECT_STATUS = "project-status"
    METADATA_MISMATCH = "metadata-mismatch"

    # `Enum.__hash__` is slow because it is written in Python, and each reason is looked up among the codes of waivers.
    __hash__ = str.__hash__


MISLISTED_CODES: Final = frozenset(
    {
        ReasonCode.BAD_FILENAME,
        ReasonCode.OTHER_PROJECT,
        ReasonCode.URL_MISMATCH,
        ReasonCode.DUPLICATE,
        ReasonCode.NO_SHA256,
        ReasonCode.FOREIGN_HOST,
        ReasonCode.BAD_ENTRY,
    }
)
"""Codes for faults of the page entry itself: its filename, URL, digest or form. Such an entry may describe a file other
than its filename says.

The ledger records no digest for an entry with one of these codes. The time of the entry does not count as the start of
a release. The entry has no tombstone.
"""


class Words(NamedTuple):
    """Text of a reason."""

    message: str
    """One sentence with the problem and the remedy. It may contain control characters from untrusted input, so escape
    it before output."""
    expected: str | None = None
    found: str | None = None


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Reason:
    """Reason why a file is withheld, or would be withheld without a pin, a waiver or audit mode.

    Two reasons with equal texts are equal.
    """

    code: ReasonCode
    rule: str | None
    """Name of the governing rule or of the revocation. None if no rule governs, or if the check does not belong to a
    rule."""
    tell: Callable[..., Words]
    """Function that formats `facts` as `Words`. It is a function of a module, so that the reason can be pickled."""
    facts: tuple[Any, ...]
    """Arguments of `tell`: immutable values."""
    until: datetime | None = None
    """Instant after which the reason no longer applies; None if the reason does not end by time alone."""

    @property
    def words(self) -> Words:
        """Text of the reason. It is formatted on each access."""
        return self.tell(*self.facts)

    @property
    def message(self) -> str:
        """Sentence with the problem and the remedy (see `Words`)."""
        return self.words.message

    @property
    def expected(self) -> str | None:
        """Value that the policy expects."""
        return self.words.expected

    @property
    def found(self) -> str | None:
        """Value that was found in place of the expected value."""
        return self.words.found

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reason):
            return NotImplemented
        return (
            self.code is other.code
            and self.rule == other.rule
            and self.until == other.until
            and self.words == other.words
        )

    def __hash__(self) -> int:
        return hash((self.code, self.rule, self.until, self.words))

    def __repr__(self) -> str:
        return f"Reason(code={self.code!r}, rule={self.rule!r}, words={self.words!r}, until={self.until!r})"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """Verdict on a file that may be listed and served.

    Code that serves files accepts only this type. The constructor always raises, so code outside `policy` cannot make
    one.
    """

    file: File
    rule: str
    evidence: Evidence | None
    """Evidence of the file. None if a pin approves the file, so that no evidence was needed."""
    despite: tuple[Reason, ...] = ()
    """Reasons against the file that a waiver, a pin or audit mode has lifted."""
    notes: tuple[str, ...] = ()
    changes_at: datetime | None = None
    """Next instant at which time alone could change this verdict; None if there is no such instant."""

    def __post_init__(self) -> None:
        """Raise an error, because only `approve` may make this type. `approve` does not use the constructor.

        Raises:
            TypeError: always.
        """
        raise TypeError("only assay.policy may construct Approved")

    @property
    def sha256(self) -> Sha256:
        """Digest of the file. Each approved file has one, because the check `no-sha256` is always on."""
        if self.file.sha256 is None:
            raise RuntimeError(f"{self.file.filename} was approved without a digest")
        return self.file.sha256

    @property
    def project(self) -> NormalizedName:
        """Project of the file. Each approved file has one, because the check `bad-filename` is always on."""
        if self.file.distribution is None:
            raise RuntimeError(f"{self.file.filename} was approved although its filename is invalid")
        return self.file.distribution.project


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """Verdict on a file that is not served, with all reasons that apply.

    The first reason is the one that decided the verdict.
    """

    file: File
    reasons: tuple[Reason, ...]
    enforced: bool
    """True if audit mode cannot approve the file. False if the only reasons are unmet requirements, which audit mode
    lifts."""
    rule: str | None = None
    evidence: Evidence | None = None
    changes_at: datetime | None = None
    nearest: str | None = None
    """Nearest version with an approved file. None if the version of this file has an approved file, or if no version
    has one."""


_WANTS_INDEX: Final = frozenset({INDEX_SOURCE})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided:
    """Verdict on a file that needs evidence. Obtain the evidence, then judge again."""

    file: File
    wants: frozenset[str] = _WANTS_INDEX
    """Names of the evidence sources whose documents could decide the verdict."""


Verdict: TypeAlias = Approved | Withheld | Undecided


def _make_draft_class(kind: type[Reason | Approved | Withheld | Undecided]) -> Callable[..., Any]:
    """Return a mutable class with the fields and the memory layout of `kind`.

    An instance becomes a frozen `kind` when `kind` is assigned to its `__class__`.
    """
    return make_dataclass(f"_{kind.__name__}Draft", [(each.name, Any) for each in fields(kind)], slots=True)


_ReasonDraft = _make_draft_class(Reason)
_ApprovedDraft = _make_draft_class(Approved)
_WithheldDraft = _make_draft_class(Withheld)
_UndecidedDraft = _make_draft_class(Undecided)


def make_reason(
    code: ReasonCode,
    rule: str | None,
    tell: Callable[..., Words],
    facts: tuple[Any, ...],
    until: datetime | None = None,
) -> Reason:
    """Return a `Reason`. This takes a third of the time of the constructor."""
    made = _ReasonDraft(code, rule, tell, facts, until)
    made.__class__ = Reason
    return made  # type: ignore[no-any-return]  # the class is assigned above


def state_reason(
    code: ReasonCode,
    rule: str | None,
    message: str,
    *,
    expected: str | None = None,
    found: str | None = None,
    until: datetime | None = None,
) -> Reason:
    """Return a reason whose text is already formatted."""
    return Reason(code, rule, Words, (message, expected, found), until)


def approve(
    file: File,
    *,
    rule: str,
    evidence: Evidence | None,
    lifted_reasons: tuple[Reason, ...] = (),
    notes: tuple[str, ...] = (),
    changes_at: datetime | None = None,
) -> Approved:
    """Return an `Approved`. No other function makes one, and only modules of `policy` may call this function."""
    made = _ApprovedDraft(file, rule, evidence, lifted_reasons, notes, changes_at)
    made.__class__ = Approved
    return made  # type: ignore[no-any-return]  # the class is assigned above


def withhold(  # noqa: PLR0917 - positional arguments are faster, and this is called for each file
    file: File,
    reasons: tuple[Reason, ...],
    enforced: bool,  # noqa: FBT001 - as above
    rule: str | None,
    evidence: Evidence | None,
    changes_at: datetime | None,
    nearest: str | None = None,
) -> Withheld:
    """Return a `Withheld`. This takes a third of the time of the constructor."""
    made = _WithheldDraft(file, reasons, enforced, rule, evidence, changes_at, nearest)
    made.__class__ = Withheld
    return made  # type: ignore[no-any-return]  # the class is assigned above


def leave_undecided(file: File, wants: frozenset[str] = _WANTS_INDEX) -> Undecided:
    """Return an `Undecided`. This takes a third of the time of the constructor."""
    made = _UndecidedDraft(file, wants)
    made.__class__ = Undecided
    return made  # type: ignore[no-any-return]  # the class is assigned above
