"""List of all publisher kinds, with functions to find one. Pure."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

from pydantic import Field

from assay.publishers.activestate import ACTIVESTATE
from assay.publishers.base import PublisherKind, PublisherTable
from assay.publishers.circleci import CIRCLECI
from assay.publishers.extensions import Extensions
from assay.publishers.github import GITHUB
from assay.publishers.gitlab import GITLAB
from assay.publishers.google import GOOGLE

PUBLISHER_KINDS: Final[tuple[PublisherKind, ...]] = (GITHUB, GITLAB, GOOGLE, CIRCLECI, ACTIVESTATE)
"""All kinds of Trusted Publisher that Assay supports. Messages list them in this order."""

if TYPE_CHECKING:
    Publisher: TypeAlias = PublisherTable
else:
    Publisher = Annotated[reduce(or_, (kind.table for kind in PUBLISHER_KINDS)), Field(discriminator="kind")]
"""Type of a publisher in a policy: the table of any kind, selected by the key `kind`."""

RECORDED_CLAIMS: Final[tuple[str, ...]] = (
    *("kind", "issuer", "san"),
    *dict.fromkeys(key.claim for kind in PUBLISHER_KINDS for key in kind.claim_keys.values()),
)
"""Claims that the audit trail records: all claims that a policy can compare. If a publisher is revoked later, the
operator can therefore find earlier downloads of its files."""

_KIND_BY_NAME: Final = {kind.name: kind for kind in PUBLISHER_KINDS}
_KIND_BY_ISSUER: Final = {kind.issuer: kind for kind in PUBLISHER_KINDS}
_KIND_BY_TABLE: Final = {kind.table: kind for kind in PUBLISHER_KINDS}


def find_publisher_kind(name: str | None) -> PublisherKind | None:
    """Return the kind with this name in PEP 740; None if no kind has it."""
    return None if name is None else _KIND_BY_NAME.get(name)


def get_publisher_kind(name: str) -> PublisherKind:
    """Return the kind with this name in PEP 740.

    Raises:
        ValueError: no kind has this name.
    """
    kind = _KIND_BY_NAME.get(name)
    if kind is None:
        raise ValueError(f"{name!r} is not a kind of Trusted Publisher that Assay supports")
    return kind


def get_table_kind(table: PublisherTable) -> PublisherKind:
    """Return the kind of a publisher table from a policy."""
    return _KIND_BY_TABLE[type(table)]


def recognize_kind(issuer: str, extensions: Extensions) -> PublisherKind | None:
    """Return the kind of publisher to which a certificate belongs; None if the signer is not a Trusted Publisher.

    A public issuer is recognized by its URL. A self-managed issuer is recognized by the format of its certificates.

    Args:
        issuer: OIDC issuer in the certificate.
        extensions: the certificate's extensions.
    """
    shaped = (kind for kind in PUBLISHER_KINDS if kind.recognizes is not None and kind.recognizes(issuer, extensions))
    return _KIND_BY_ISSUER.get(issuer) or next(shaped, None)
