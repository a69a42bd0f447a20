"""Verdicts and their reasons as values. `Approved` is made here only, through `approve`.

A reason says, to the person who meets it: which rule, what was expected, what was found, and what to do. It keeps its
facts, and finds its words when they are read: a page may withhold thousands of files for reasons that are never shown.

A page has one verdict a file, so that making them counts. A frozen value's own constructor looks up and calls
`object.__setattr__` for each field: 1.1 µs for seven of them, 0.3 µs by way of a draft (`_make_draft_class`).
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
    """The stable codes of reasons, in the order of precedence (docs/policy-semantics.md) in which they are reported."""

    REVOKED = "revoked"
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
    FORGED = "forged"
    PROVENANCE_MISSING = "provenance-missing"
    INDEX = "index"
    TRUST = "trust"
    UNVERIFIABLE = "unverifiable"
    UNATTESTED = "unattested"
    PUBLISHER = "publisher"
    PREDICATE = "predicate"
    BUILDER = "builder"
    TOO_YOUNG = "too-young"
    UPLOADED_AFTER = "uploaded-after"
    PROVENANCE_LOST = "provenance-lost"
    PUBLISHER_CHANGED = "publisher-changed"
    LATE_FILE = "late-file"
    FILE_TYPE = "file-type"
    YANKED = "yanked"
    PROJECT_STATUS = "project-status"
    METADATA_MISMATCH = "metadata-mismatch"

    # That of an enumeration is a function in Python, and every reason is looked for in what waivers lift.
    __hash__ = str.__hash__


MISLISTED_CODES: Final = frozenset(
    {
        ReasonCode.BAD_FILENAME,
        ReasonCode.OTHER_PROJECT,
        ReasonCode.URL_MISMATCH,
        ReasonCode.DUPLICATE,
        ReasonCode.NO_SHA256,
        ReasonCode.FOREIGN_HOST,
    }
)
"""Of entries that are not what they say, and may be another file's: the ledger takes neither their digest for the first
one of the filename nor their time for a release's, and no tombstone stands for them."""


class Words(NamedTuple):
    """What a reason says to people."""

    message: str
    """One sentence that says what and what to do. May hold control characters of others: escape where shown."""
    expected: str | None = None
    found: str | None = None


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Reason:
    """One reason why a file is withheld, or would be. Reasons that say the same are equal."""

    code: ReasonCode
    rule: str | None
    """Name of the governing rule, waiver or revocation; None where no rule governs or the check is always on."""
    tell: Callable[..., Words]
    """Finds the words for `facts`; a function of a module, so that a reason can be pickled."""
    facts: tuple[Any, ...]
    """What `tell` takes: plain values that never change."""
    until: datetime | None = None
    """When time alone heals it."""

    @property
    def words(self) -> Words:
        """What it says."""
        return self.tell(*self.facts)

    @property
    def message(self) -> str:
        """One sentence, see `Words`."""
        return self.words.message

    @property
    def expected(self) -> str | None:
        """What the policy expects."""
        return self.words.expected

    @property
    def found(self) -> str | None:
        """What was found instead."""
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
    """A file that may be listed and served. Not constructible outside `policy`: who serves files asks for this type."""

    file: File
    rule: str
    evidence: Evidence | None
    """None where nothing about the evidence could change the verdict (a pin)."""
    despite: tuple[Reason, ...] = ()
    """Reasons that a waiver, a pin or audit mode lifted."""
    notes: tuple[str, ...] = ()
    changes_at: datetime | None = None
    """The next instant at which the clock alone could change this verdict."""

    def __post_init__(self) -> None:
        """Refuse a forged approval: `approve` does not come by here.

        Raises:
            TypeError: always.
        """
        raise TypeError("Approved is made by assay.policy alone")

    @property
    def sha256(self) -> Sha256:
        """The file's digest: policy approves no file without one (`no-sha256` is always on)."""
        if self.file.sha256 is None:
            raise RuntimeError(f"{self.file.filename} was approved without a digest")
        return self.file.sha256

    @property
    def project(self) -> NormalizedName:
        """The file's project: policy approves no file whose name cannot be parsed."""
        if self.file.distribution is None:
            raise RuntimeError(f"{self.file.filename} was approved although it does not parse")
        return self.file.distribution.project


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """A file that is neither listed nor served, and why: every reason that applies, the deciding one first."""

    file: File
    reasons: tuple[Reason, ...]
    enforced: bool
    """True for steps 1 to 5, which audit mode does not lift; False when only requirements (step 6) fail."""
    rule: str | None = None
    evidence: Evidence | None = None
    changes_at: datetime | None = None
    nearest: str | None = None
    """The nearest version of the project that has an approved file, where this file's version has none."""


_WANTS_INDEX: Final = frozenset({INDEX_SOURCE})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided:
    """Without evidence of this file nothing can be said: get it, and judge again."""

    file: File
    wants: frozenset[str] = _WANTS_INDEX
    """Names of the sources whose evidence could decide it."""


Verdict: TypeAlias = Approved | Withheld | Undecided


def _make_draft_class(kind: type[Reason | Approved | Withheld | Undecided]) -> Callable[..., Any]:
    """Makes the fields of a `kind` as a plain object of the same layout, to become a `kind` and so be frozen."""
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
    """What `Reason` makes, in a third of the time."""
    made = _ReasonDraft(code, rule, tell, facts, until)
    made.__class__ = Reason
    return made  # type: ignore[no-any-return]  # it is one now


def state_reason(
    code: ReasonCode,
    rule: str | None,
    message: str,
    *,
    expected: str | None = None,
    found: str | None = None,
    until: datetime | None = None,
) -> Reason:
    """Return a reason whose words are already known."""
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
    """The one maker of `Approved`, for the modules of `policy` alone."""
    made = _ApprovedDraft(file, rule, evidence, lifted_reasons, notes, changes_at)
    made.__class__ = Approved
    return made  # type: ignore[no-any-return]  # it is one now


def withhold(  # noqa: PLR0917 - as `make_reason`
    file: File,
    reasons: tuple[Reason, ...],
    enforced: bool,  # noqa: FBT001 - likewise
    rule: str | None,
    evidence: Evidence | None,
    changes_at: datetime | None,
    nearest: str | None = None,
) -> Withheld:
    """What `Withheld` makes, in a third of the time."""
    made = _WithheldDraft(file, reasons, enforced, rule, evidence, changes_at, nearest)
    made.__class__ = Withheld
    return made  # type: ignore[no-any-return]  # it is one now


def leave_undecided(file: File, wants: frozenset[str] = _WANTS_INDEX) -> Undecided:
    """What `Undecided` makes, in a third of the time."""
    made = _UndecidedDraft(file, wants)
    made.__class__ = Undecided
    return made  # type: ignore[no-any-return]  # it is one now
