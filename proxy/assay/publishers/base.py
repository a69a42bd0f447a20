"""What a kind of Trusted Publisher consists of. Pure.

The code that verifies, judges, proposes, records and shows publishers works from these parts; it does not know which
kinds there are. Each part of a `PublisherKind` is required, so that a kind without it is an error when it is imported.
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
from assay.publishers.globs import StringPredicate, compile_builder_pattern, compile_glob
from assay.settings import Settings, make_key_error

PrintableText = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$")]
NumericId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,20}$")]
Uuid = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$")]

ClaimReader: TypeAlias = Callable[[Claims], str | None]
ClaimTest: TypeAlias = tuple[ClaimReader, StringPredicate]
"""What to read of the claims, and what it has to be."""


class PublisherTable(Settings):
    """Base of the tables by which a policy names publishers; keys stay as PyPI spells them, in snake_case.

    So a block of a provenance object or of pylock.toml's attestation-identities can be pasted. A subclass has `kind`,
    a literal with PEP 740's value, and the default of `issuer`.
    """

    model_config = ConfigDict(alias_generator=None)
    identifying_keys: ClassVar[tuple[str, ...]]
    """Keys of which a table needs at least one; the first names the publisher."""
    issuer: str
    """OIDC issuer of the certificate."""

    @model_validator(mode="after")
    def _check_identifying_keys(self) -> Self:
        if not any(getattr(self, key) for key in self.identifying_keys):
            expected = f"one of {', '.join(self.identifying_keys)}, so that it names somebody"
            raise make_key_error(self.identifying_keys[0], expected=expected, found=None)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimKey:
    """How one key of a policy's table is compared with the certificate's claims."""

    claim: str
    """Attribute of `Claims` that it is about."""
    compile: Callable[[str], ClaimTest]
    """Compile the key's value."""
    propose: ClaimReader
    """Read the value that a policy would have for these claims."""


def match_glob(claim: str, *, ignore_case: bool = False) -> ClaimKey:
    """Return a key whose value is a glob for a claim; `ignore_case` where the claim's owner compares so."""
    read = attrgetter(claim)
    return ClaimKey(
        claim=claim, compile=lambda pattern: (read, compile_glob(pattern, ignore_case=ignore_case)), propose=read
    )


def match_builder() -> ClaimKey:
    """Return a key whose value is a glob for the Build Signer URI, at any ref unless it has an ``@``."""
    read = attrgetter("builder")
    return ClaimKey(claim="builder", compile=lambda pattern: (read, compile_builder_pattern(pattern)), propose=read)


ABSENT: Final[tuple[str | None, ...]] = (None,)
"""Null and no key at all are absence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockKey:
    """One key of the index's publisher block, by the names of PyPI (pypi_attestations 0.0.30, `_PublisherBase`)."""

    name: str
    is_required: bool
    check: Callable[[str, Claims], None]
    """Compare what the index says with what the certificate proves; raise `InvalidClaimsError` where it differs."""
    absent: tuple[str | None, ...] = ABSENT
    """Values of an optional key that say nothing."""


def state_claim(name: str, read: ClaimReader | None = None, *, is_required: bool = True) -> BlockKey:
    """Return a key that must say exactly what `read` finds in the claims: by default, the claim of the same name."""
    read_proven: ClaimReader = attrgetter(name) if read is None else read

    def check(said: str, claims: Claims) -> None:
        proven = read_proven(claims)
        if said != proven:
            found = f"{said or 'an empty text'}, says the index"
            raise InvalidClaimsError(f"publisher {name}", f"the certificate's {proven}", found)

    return BlockKey(name=name, is_required=is_required, check=check)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityClaim:
    """A claim that stays the same while a publisher is renamed: who a publisher is, for the ratchet."""

    claim: str
    """Attribute of `Claims`."""
    label: str
    """Begins `PublisherIdentity.subject`, which the ledger keeps for ever."""
    ignore_case: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class PublisherKind:
    """One kind of Trusted Publisher: everything that Assay knows of it."""

    table: type[PublisherTable]
    """The table by which a policy names such a publisher."""
    recognizes: Callable[[Extensions], bool] | None
    """Whether a certificate by another issuer than `issuer` has this kind's shape, as one of a self-managed server
    has; None where no other issuer has this kind."""
    read_claims: Callable[[CertificateFacts], Claims]
    """Read a certificate; raise `InvalidClaimsError` where it contradicts itself or lacks what this kind's have."""
    block_keys: tuple[BlockKey, ...]
    """Keys of the index's publisher block, the required ones first."""
    claim_keys: Mapping[str, ClaimKey]
    """How each key of `table` is compared, apart from `kind` and `issuer`; also which claims the audit trail records,
    in this order."""
    identity: tuple[IdentityClaim, ...]
    """The first that a certificate has identifies the publisher within its issuer."""
    proposed_keys: tuple[str, ...]
    """Keys of `table` with which a proposed policy names the publisher, in the order in which they are written."""
    details: tuple[tuple[str, ClaimReader], ...]
    """What describes a signer beside its name: label and value."""
    commit_path: str | None
    """Between the repository's URI and the commit in the address of a commit; None where there is no such address."""

    @cached_property
    def name(self) -> str:
        """PEP 740's `kind`."""
        return str(get_args(self.table.model_fields["kind"].annotation)[0])

    @cached_property
    def issuer(self) -> str:
        """OIDC issuer of this kind's certificates, unless a policy names another."""
        return str(self.table.model_fields["issuer"].default)

    @property
    def name_key(self) -> str:
        """Key of the table that names the publisher."""
        return self.table.identifying_keys[0]

    @cached_property
    def name_claim(self) -> str:
        """Claim that names the publisher."""
        return self.claim_keys[self.name_key].claim
