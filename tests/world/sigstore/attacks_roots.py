"""Trust roots that must not vouch for what others signed."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from assay.attestation.trust_roots import TrustRoot
from tests.world.sigstore.attacks import UNVERIFIABLE, at, root_of, rooted
from tests.world.sigstore.private_sigstore import WHEN, GitLab, LogKey, PrivateSigstore

_OTHERS: Final = PrivateSigstore(seed=98, host="others.example")
_SECOND: Final = timedelta(seconds=1)


def _only(kind: str, entries: Callable[[PrivateSigstore], list[dict[str, Any]]]) -> Callable[[PrivateSigstore], Any]:
    return lambda sigstore: (root_of(sigstore, lambda root: root.update({kind: entries(sigstore)})),)


def _log(kind: str, **window: Any) -> Callable[[PrivateSigstore], Any]:
    def entries(sigstore: PrivateSigstore) -> list[dict[str, Any]]:
        log: LogKey = sigstore.rekor if kind == "tlogs" else sigstore.ct
        return [replace(log, **window).listed()]

    return _only(kind, entries)


def _authority(**window: Any) -> Callable[[PrivateSigstore], Any]:
    valid = {name: moment.strftime("%Y-%m-%dT%H:%M:%SZ") for name, moment in window.items()}
    return lambda sigstore: (root_of(sigstore, at("certificateAuthorities.0.validFor", valid)),)


def _speaks_for(*issuers: str) -> Callable[[PrivateSigstore], Any]:
    return lambda sigstore: (replace(root_of(sigstore), issuers=frozenset(issuers)),)


def _unsupported(sigstore: PrivateSigstore) -> tuple[TrustRoot]:
    return (root_of(sigstore, at("tlogs.0.publicKey.keyDetails", "PKIX_ECDSA_P256_HMAC_SHA_256")),)


def _exchanged(sigstore: PrivateSigstore) -> tuple[TrustRoot]:
    """The log's id with another key under it."""
    other = b64encode(b64decode(_OTHERS.rekor.listed()["publicKey"]["rawBytes"])).decode()
    return (root_of(sigstore, at("tlogs.0.publicKey.rawBytes", other)),)


_DAY: Final = timedelta(days=1)
_GITHUB: Final = "https://token.actions.githubusercontent.com"
ROOTS: Final = (
    rooted(
        "the root doesn't know the log",
        UNVERIFIABLE,
        "transparency log",
        _only("tlogs", lambda _: [_OTHERS.rekor.listed()]),
    ),
    rooted(
        "the root doesn't know the CT log", UNVERIFIABLE, "CT log", _only("ctlogs", lambda _: [_OTHERS.ct.listed()])
    ),
    rooted("the root is another deployment's", UNVERIFIABLE, "authority is not in", lambda _: (root_of(_OTHERS),)),
    rooted("there is no root", UNVERIFIABLE, "no trust root", lambda _: ()),
    rooted(
        "the log's key was retired before",
        "log key",
        "valid",
        _log("tlogs", end=WHEN - _DAY),
        honest=_log("tlogs", end=WHEN + _DAY),
    ),
    rooted(
        "the log's key came later",
        "log key",
        "valid",
        _log("tlogs", start=WHEN + _SECOND),
        honest=_log("tlogs", start=WHEN),
    ),
    rooted("the log's key is for the next century", "log key", "valid", _log("tlogs", start=WHEN.replace(year=2101))),
    rooted(
        "the CT log's key was retired before",
        "certificate timestamp",
        "valid",
        _log("ctlogs", end=WHEN - _DAY),
        honest=_log("ctlogs", end=WHEN + _DAY),
    ),
    rooted(
        "the CT log's key came later",
        "certificate timestamp",
        "valid",
        _log("ctlogs", start=WHEN),
        honest=_log("ctlogs", start=WHEN - _DAY),
    ),
    rooted(
        "the authority was retired before",
        "certificate chain",
        "authority is valid",
        _authority(start=WHEN - 2 * _DAY, end=WHEN - _DAY),
        honest=_authority(start=WHEN - 2 * _DAY, end=WHEN + _DAY),
    ),
    rooted(
        "the authority came later",
        "certificate chain",
        "authority is valid",
        _authority(start=WHEN + _SECOND),
        honest=_authority(start=WHEN),
    ),
    rooted("the log's key is of a kind that nobody checks", UNVERIFIABLE, "transparency log", _unsupported),
    rooted("another key stands under the log's id", "checkpoint", "signed by", _exchanged),
    rooted(
        "the root may speak for another issuer only",
        "issuer",
        "gitlab.acme.example",
        _speaks_for("https://gitlab.acme.example"),
        honest=_speaks_for(_GITHUB),
    ),
    rooted(
        "the root may speak for GitHub only",
        "issuer",
        "gitlab.com",
        _speaks_for(_GITHUB),
        honest=_speaks_for("https://gitlab.com"),
        signer=GitLab(),
    ),
    rooted(
        "neither of two roots may speak for the issuer",
        "issuer",
        "gitlab.acme.example",
        lambda one: (root_of(_OTHERS), *_speaks_for("https://gitlab.acme.example")(one)),
        honest=lambda one: (root_of(_OTHERS), root_of(one)),
    ),
)
