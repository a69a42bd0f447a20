"""Definition of a kind of Trusted Publisher by its parts. Pure.

All code that verifies, judges, proposes, records or shows publishers uses only these parts, and has no special case for
any kind. Every part of a `PublisherKind` is required. A kind that lacks a part therefore raises an error at import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Annotated, ClassVar, Final, Self, TypeAlias, get_args

from pydantic import ConfigDict, StringConstraints, model_validator

from assay.evidence import Claims
from assay.publishers.extensions import CertificateFacts, Extensions, InvalidClaimsError
from assay.publishers.globs import StringPredicate, compile_builder_pattern, compile_glob, lower_ascii
from assay.publishers.texts import Issuer
from assay.settings import Settings, make_key_error

PrintableText = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$")]

ClaimReader: TypeAlias = Callable[[Claims], str | None]
ClaimTest: TypeAlias = tuple[ClaimReader, StringPredicate]
"""Pair of a function that reads a claim, and a predicate that the claim must satisfy."""


class PublisherTable(Settings):
    """Base class of the tables with which a policy names publishers.

    The keys have PyPI's spelling, in snake_case. Users can therefore paste a publisher block from a provenance object,
    or an entry of ``attestation-identities`` from pylock.toml. A subclass defines `kind`, a literal with the value from
    PEP 740, and the default of `issuer`.
    """

    model_config = ConfigDict(alias_generator=None)
    identifying_keys: ClassVar[tuple[str, ...]]
    """Keys that can identify the publisher. A table must have at least one of them. The first key contains the
    publisher's name."""
    issuer: Issuer
    """OIDC issuer of the certificate."""

    @model_validator(mode="after")
    def _check_identifying_keys(self) -> Self:
        if not any(getattr(self, key) for key in self.identifying_keys):
            expected = f"one of {', '.join(self.identifying_keys)}, to identify the publisher"
            raise make_key_error(self.identifying_keys[0], expected=expected, found=None)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimKey:
    """Rule for one key of a publisher table: how its value is compared with the claims of a certificate."""

    claim: str
    """Attribute of `Claims` that is compared with the value of the key."""
    compile: Callable[[str], ClaimTest]
    """Function that compiles the value of the key to a test of the claim."""
    propose: ClaimReader
    """Function that returns the value of the key for a proposed policy, from the claims of a signer."""


def match_glob(claim: str, *, ignore_case: bool = False) -> ClaimKey:
    """Return the rule for a key whose value is a glob that a claim must match.

    Args:
        claim: attribute of `Claims`.
        ignore_case: True if the publisher's host ignores case in such names.
    """
    read = attrgetter(claim)
    return ClaimKey(
        claim=claim, compile=lambda pattern: (read, compile_glob(pattern, ignore_case=ignore_case)), propose=read
    )


def match_builder() -> ClaimKey:
    """Return the rule for a key whose value is a glob that the Build Signer URI must match.

    A glob without ``@`` matches the URI at any ref.
    """
    read = attrgetter("builder")
    return ClaimKey(claim="builder", compile=lambda pattern: (read, compile_builder_pattern(pattern)), propose=read)


ABSENT: Final[tuple[str | None, ...]] = (None,)
"""Values that mean the same as a missing key of a publisher block. `None` stands for both null and a missing key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockKey:
    """One key of the publisher block in an index's provenance object, and its check against the certificate.

    `name` is the key in PyPI's spelling (pypi_attestations 0.0.30, `_PublisherBase`).
    """

    name: str
    is_required: bool
    check: Callable[[str, Claims], None]
    """Function that compares the index's value with the certificate's claims, and raises `InvalidClaimsError` if they
    differ."""
    read: ClaimReader
    """Function that returns the value of the key for a block that Assay makes from the claims."""
    absent: tuple[str | None, ...] = ABSENT
    """Values that mean the same as a missing key, if the key is optional."""


def state_claim(
    name: str, read: ClaimReader | None = None, *, is_required: bool = True, ignore_case: bool = False
) -> BlockKey:
    """Return a key of the publisher block whose value must equal a claim of the certificate.

    Args:
        name: name of the key.
        read: function that returns the claim; None: the claim has the same name as the key.
        is_required: True if the block must have the key.
        ignore_case: True if the publisher's host ignores the case of A to Z in such names.
    """
    fold = lower_ascii if ignore_case else str
    read_proven: ClaimReader = attrgetter(name) if read is None else read

    def check(said: str, claims: Claims) -> None:
        proven = read_proven(claims)
        if proven is None or fold(said) != fold(proven):
            found = f"{said or 'an empty text'}, from the index"
            raise InvalidClaimsError(f"publisher {name}", f"{proven or 'no value'}, as in the certificate", found)

    return BlockKey(name=name, is_required=is_required, check=check, read=read_proven)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityClaim:
    """Claim that identifies a publisher for the ratchet (provenance continuity), even if the publisher is renamed."""

    claim: str
    """Attribute of `Claims`."""
    label: str
    """Prefix of `PublisherIdentity.subject`. It must never change, because the ledger stores the subject."""
    ignore_case: bool = False
    """True if values that differ only in case are the same publisher."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PublisherKind:
    """Complete definition of one kind of Trusted Publisher."""

    table: type[PublisherTable]
    """Model of the table with which a policy names such a publisher."""
    recognizes: Callable[[str, Extensions], bool] | None
    """Function that returns True if an issuer and the extensions of a certificate have the format of this kind. The
    format decides only if the issuer is not a known public issuer, for example for self-managed servers. None if only
    `issuer` can have this kind."""
    read_claims: Callable[[CertificateFacts], Claims]
    """Function that reads the claims of a certificate. It raises `InvalidClaimsError` if the certificate contradicts
    itself, or lacks an extension that certificates of this kind have."""
    block_keys: tuple[BlockKey, ...]
    """Keys of the index's publisher block, the required ones first."""
    claim_keys: Mapping[str, ClaimKey]
    """Rule for each key of `table` except `kind` and `issuer`. The audit trail records the claims of these keys in this
    order."""
    identity: tuple[IdentityClaim, ...]
    """Claims that can identify the publisher among all publishers of its issuer. The first one that a certificate has
    is used."""
    proposed_keys: tuple[str, ...]
    """Keys of `table` that a proposed policy contains, in this order."""
    details: tuple[tuple[str, ClaimReader], ...]
    """Claims that messages show after the name of a signer: pairs of label and reader function."""
    commit_path: str | None
    """Text that joins the repository URI and the commit hash to the URL of a commit. None if commits of this kind have
    no URL."""

    @cached_property
    def name(self) -> str:
        """Value of `kind` in PEP 740."""
        return str(get_args(self.table.model_fields["kind"].annotation)[0])

    @cached_property
    def issuer(self) -> str:
        """OIDC issuer of this kind's certificates, unless the policy names another issuer."""
        return str(self.table.model_fields["issuer"].default)

    @property
    def name_key(self) -> str:
        """Key of the publisher table that contains the publisher's name, such as ``repository``."""
        return self.table.identifying_keys[0]

    @cached_property
    def name_claim(self) -> str:
        """Attribute of `Claims` that contains the publisher's name, such as ``repository``."""
        return self.claim_keys[self.name_key].claim
