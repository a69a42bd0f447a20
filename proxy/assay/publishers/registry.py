"""The list of publisher kinds, and how one of them is found. Pure."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

from pydantic import Field

from assay.publishers.base import PublisherKind, PublisherTable
from assay.publishers.circleci import CIRCLECI
from assay.publishers.extensions import Extensions
from assay.publishers.github import GITHUB
from assay.publishers.gitlab import GITLAB
from assay.publishers.google import GOOGLE

PUBLISHER_KINDS: Final[tuple[PublisherKind, ...]] = (GITHUB, GITLAB, GOOGLE, CIRCLECI)
"""Every kind of Trusted Publisher whose certificates Assay reads, in the order in which messages list them."""

if TYPE_CHECKING:
    Publisher: TypeAlias = PublisherTable
else:
    Publisher = Annotated[reduce(or_, (kind.table for kind in PUBLISHER_KINDS)), Field(discriminator="kind")]
"""A publisher as a policy names it: the table of any kind, told apart by `kind`."""

RECORDED_CLAIMS: Final[tuple[str, ...]] = (
    *("kind", "issuer", "san"),
    *dict.fromkeys(key.claim for kind in PUBLISHER_KINDS for key in kind.claim_keys.values()),
)
"""The claims that policies compare: the audit trail has them, so that a later revocation can be held against it."""

_KIND_BY_NAME: Final = {kind.name: kind for kind in PUBLISHER_KINDS}
_KIND_BY_ISSUER: Final = {kind.issuer: kind for kind in PUBLISHER_KINDS}
_KIND_BY_TABLE: Final = {kind.table: kind for kind in PUBLISHER_KINDS}


def find_publisher_kind(name: str | None) -> PublisherKind | None:
    """Return the kind that PEP 740 names so; None where there is none."""
    return None if name is None else _KIND_BY_NAME.get(name)


def get_publisher_kind(name: str) -> PublisherKind:
    """Return the kind that PEP 740 names so.

    Raises:
        ValueError: there is none.
    """
    kind = _KIND_BY_NAME.get(name)
    if kind is None:
        raise ValueError(f"{name!r} is not a valid PublisherKind")
    return kind


def get_table_kind(table: PublisherTable) -> PublisherKind:
    """Return the kind of a publisher that a policy names."""
    return _KIND_BY_TABLE[type(table)]


def recognize_kind(issuer: str, extensions: Extensions) -> PublisherKind | None:
    """Return the kind of publisher that a certificate is of; None for no Trusted Publisher.

    The public issuers are known by name, self-managed ones by the shape of their certificates.
    """
    shaped = (kind for kind in PUBLISHER_KINDS if kind.recognizes is not None and kind.recognizes(extensions))
    return _KIND_BY_ISSUER.get(issuer) or next(shaped, None)
