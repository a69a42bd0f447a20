"""Attacks with trust roots that must not vouch for a genuine document."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from assay.attestation.trust_roots import TrustRoot
from tests.world.sigstore.attacks import UNVERIFIABLE, attack_trust_roots, set_at_path, trust_root_for
from tests.world.sigstore.private_sigstore import SIGNING_TIME, GitLab, LogKey, PrivateSigstore

_OTHER_DEPLOYMENT: Final = PrivateSigstore(seed=98, host="others.example")
_SECOND: Final = timedelta(seconds=1)


def _only(kind: str, entries: Callable[[PrivateSigstore], list[dict[str, Any]]]) -> Callable[[PrivateSigstore], Any]:
    return lambda sigstore: (trust_root_for(sigstore, lambda root: root.update({kind: entries(sigstore)})),)


def _limit_log_validity(kind: str, **window: Any) -> Callable[[PrivateSigstore], Any]:
    def entries(sigstore: PrivateSigstore) -> list[dict[str, Any]]:
        log: LogKey = sigstore.rekor if kind == "tlogs" else sigstore.ct
        return [replace(log, **window).to_trusted_root_entry()]

    return _only(kind, entries)


def _limit_authority_validity(**window: Any) -> Callable[[PrivateSigstore], Any]:
    valid = {name: moment.strftime("%Y-%m-%dT%H:%M:%SZ") for name, moment in window.items()}
    return lambda sigstore: (trust_root_for(sigstore, set_at_path("certificateAuthorities.0.validFor", valid)),)


def _speaks_for(*issuers: str) -> Callable[[PrivateSigstore], Any]:
    return lambda sigstore: (replace(trust_root_for(sigstore), issuers=frozenset(issuers)),)


def _unsupported(sigstore: PrivateSigstore) -> tuple[TrustRoot]:
    return (trust_root_for(sigstore, set_at_path("tlogs.0.publicKey.keyDetails", "PKIX_ECDSA_P256_HMAC_SHA_256")),)


def _exchange_log_key(sigstore: PrivateSigstore) -> tuple[TrustRoot]:
    """Return a trust root in which the log's id has another key."""
    other = b64encode(b64decode(_OTHER_DEPLOYMENT.rekor.to_trusted_root_entry()["publicKey"]["rawBytes"])).decode()
    return (trust_root_for(sigstore, set_at_path("tlogs.0.publicKey.rawBytes", other)),)


_DAY: Final = timedelta(days=1)
_GITHUB: Final = "https://token.actions.githubusercontent.com"
TRUST_ROOT_ATTACKS: Final = (
    attack_trust_roots(
        "the root doesn't know the log",
        UNVERIFIABLE,
        "transparency log",
        _only("tlogs", lambda _: [_OTHER_DEPLOYMENT.rekor.to_trusted_root_entry()]),
    ),
    attack_trust_roots(
        "the root doesn't know the CT log",
        UNVERIFIABLE,
        "CT log",
        _only("ctlogs", lambda _: [_OTHER_DEPLOYMENT.ct.to_trusted_root_entry()]),
    ),
    attack_trust_roots(
        "the root is another deployment's",
        UNVERIFIABLE,
        "authority is not in",
        lambda _: (trust_root_for(_OTHER_DEPLOYMENT),),
    ),
    attack_trust_roots("there is no root", UNVERIFIABLE, "no trust root", lambda _: ()),
    attack_trust_roots(
        "the log's key was retired before",
        "log key",
        "valid",
        _limit_log_validity("tlogs", end=SIGNING_TIME - _DAY),
        honest=_limit_log_validity("tlogs", end=SIGNING_TIME + _DAY),
    ),
    attack_trust_roots(
        "the log's key came later",
        "log key",
        "valid",
        _limit_log_validity("tlogs", start=SIGNING_TIME + _SECOND),
        honest=_limit_log_validity("tlogs", start=SIGNING_TIME),
    ),
    attack_trust_roots(
        "the log's key is for the next century",
        "log key",
        "valid",
        _limit_log_validity("tlogs", start=SIGNING_TIME.replace(year=2101)),
    ),
    attack_trust_roots(
        "the CT log's key was retired before",
        "certificate timestamp",
        "valid",
        _limit_log_validity("ctlogs", end=SIGNING_TIME - _DAY),
        honest=_limit_log_validity("ctlogs", end=SIGNING_TIME + _DAY),
    ),
    attack_trust_roots(
        "the CT log's key came later",
        "certificate timestamp",
        "valid",
        _limit_log_validity("ctlogs", start=SIGNING_TIME),
        honest=_limit_log_validity("ctlogs", start=SIGNING_TIME - _DAY),
    ),
    attack_trust_roots(
        "the authority was retired before",
        "certificate chain",
        "authority is valid",
        _limit_authority_validity(start=SIGNING_TIME - 2 * _DAY, end=SIGNING_TIME - _DAY),
        honest=_limit_authority_validity(start=SIGNING_TIME - 2 * _DAY, end=SIGNING_TIME + _DAY),
    ),
    attack_trust_roots(
        "the authority came later",
        "certificate chain",
        "authority is valid",
        _limit_authority_validity(start=SIGNING_TIME + _SECOND),
        honest=_limit_authority_validity(start=SIGNING_TIME),
    ),
    attack_trust_roots("the log's key is of a kind that nobody checks", UNVERIFIABLE, "transparency log", _unsupported),
    attack_trust_roots("another key stands under the log's id", "checkpoint", "signed by", _exchange_log_key),
    attack_trust_roots(
        "the root may speak for another issuer only",
        "issuer",
        "gitlab.acme.example",
        _speaks_for("https://gitlab.acme.example"),
        honest=_speaks_for(_GITHUB),
    ),
    attack_trust_roots(
        "the root may speak for GitHub only",
        "issuer",
        "gitlab.com",
        _speaks_for(_GITHUB),
        honest=_speaks_for("https://gitlab.com"),
        signer=GitLab(),
    ),
    attack_trust_roots(
        "neither of two roots may speak for the issuer",
        "issuer",
        "gitlab.acme.example",
        lambda one: (trust_root_for(_OTHER_DEPLOYMENT), *_speaks_for("https://gitlab.acme.example")(one)),
        honest=lambda one: (trust_root_for(_OTHER_DEPLOYMENT), trust_root_for(one)),
    ),
)
