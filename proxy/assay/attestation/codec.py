"""Evidence as recorded: JSON with a schema version, and the key that names everything it depends on.

The decoder is total: anything but what this version of the encoder writes is None, and is worked out again. Also the
language in which worker processes answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from functools import lru_cache
from importlib.metadata import version
from sys import intern
from typing import Any, Final, TypeVar

from assay.evidence import (
    Attestation,
    Attested,
    Claims,
    Evidence,
    Forged,
    PublisherKind,
    Slsa,
    Unattested,
    Unverifiable,
)

SCHEMA: Final = 1
"""Raise it whenever a field of evidence is added or changes its meaning."""
VERIFIER: Final = f"1+sigstore-{version('sigstore')}"
"""Raise the first number whenever a check is added or changes: what was verified by fewer is verified again."""
_LONGEST: Final = 4 << 20

_ATTESTATION: Final = dict.fromkeys(one.name for one in fields(Attestation))
_CLAIMS: Final = dict.fromkeys(one.name for one in fields(Claims))
_SLSA: Final = dict.fromkeys(one.name for one in fields(Slsa))
"""Names of fields, in order."""

_Value = TypeVar("_Value")


def evidence_key(sha256: str, filename: str, provenance: str, roots: str, verifier: str = VERIFIER) -> str:
    """Under which evidence is recorded.

    Args:
        sha256: of the file, hexadecimal.
        filename: as listed; it may hold anything.
        provenance: SHA-256 of the provenance document, hexadecimal.
        roots: digest of the trust roots that counted (`Verifier.digest_for`).
        verifier: which checks were made.
    """
    parts = json.dumps([SCHEMA, verifier, sha256, filename, provenance, roots])
    return f"evidence:{hashlib.sha256(parts.encode()).hexdigest()}"


def encode_evidence(evidence: Evidence) -> bytes:
    """`evidence` as JSON."""
    return json.dumps({"schema": SCHEMA, **_plain(evidence)}, separators=(",", ":")).encode()


def _plain(evidence: Evidence) -> dict[str, Any]:
    match evidence:
        case Attested(attestations=attestations, ignored=ignored):
            return {
                "evidence": "attested",
                "attestations": [_attestation(one) for one in attestations],
                "ignored": list(ignored),
            }
        case Unattested():
            return {"evidence": "unattested"}
        case Forged(step=step, expected=expected, found=found):
            return {"evidence": "forged", "step": step, "expected": expected, "found": found}
        case Unverifiable(reason=reason):
            return {"evidence": "unverifiable", "reason": reason}


def _attestation(attestation: Attestation) -> dict[str, Any]:
    made = {name: getattr(attestation, name) for name in _ATTESTATION}
    made["claims"] = _plain_claims(attestation.claims)
    if attestation.slsa is not None:
        made["slsa"] = {name: getattr(attestation.slsa, name) for name in _SLSA}
    for key in ("integrated_time", "not_before", "not_after"):
        made[key] = made[key].isoformat()
    return made


@lru_cache(maxsize=256)
def _plain_claims(claims: Claims) -> dict[str, str | None]:
    """Once for all files of a release, which come one after another; nobody changes it."""
    return {name: getattr(claims, name) for name in _CLAIMS}


def decode_evidence(raw: bytes) -> Evidence | None:
    """The evidence in `raw`; None when it is anything that `encode_evidence` doesn't write."""
    if len(raw) > _LONGEST:
        return None
    try:
        content = json.loads(raw)
        if type(content) is not dict or _take(content, "schema", int) != SCHEMA:
            return None
        return _evidence(content)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _take(of: Any, key: str, kind: Callable[..., _Value]) -> _Value:  # noqa: ANN401 - hostile JSON
    value = of[key]
    if type(value) is not kind:
        raise TypeError(key)
    return value  # type: ignore[no-any-return]  # exactly `kind`, by the line above


def _evidence(content: dict[str, Any]) -> Evidence:
    match content["evidence"]:
        case "attested":
            listed: list[Any] = _take(content, "attestations", list)
            attestations = tuple(_read(one) for one in listed)
            if not attestations:
                raise ValueError("nothing attested")
            return Attested(attestations=attestations, ignored=_texts(content, "ignored"))
        case "unattested":
            return Unattested()
        case "forged":
            step, expected, found = (_take(content, key, str) for key in ("step", "expected", "found"))
            return Forged(step=step, expected=expected, found=found)
        case "unverifiable":
            return Unverifiable(reason=_take(content, "reason", str))
        case other:
            raise ValueError(other)


def _texts(of: dict[str, Any], key: str) -> tuple[str, ...]:
    listed: list[Any] = _take(of, key, list)
    if not all(type(one) is str for one in listed):
        raise TypeError(key)
    return tuple(listed)


def _time(of: dict[str, Any], key: str) -> datetime:
    time = datetime.fromisoformat(_take(of, key, str))
    if time.tzinfo is None:
        raise ValueError(key)
    return time


def _read(content: Any) -> Attestation:  # noqa: ANN401 - hostile JSON
    if type(content) is not dict or content.keys() != _ATTESTATION.keys():
        raise KeyError("attestation")
    slsa = content["slsa"]
    return Attestation(
        trust_root=intern(_take(content, "trust_root", str)),
        bundle=_take(content, "bundle", int),
        predicate_type=intern(_take(content, "predicate_type", str)),
        claims=_claims(_take(content, "claims", dict)),
        integrated_time=_time(content, "integrated_time"),
        log_index=_take(content, "log_index", int),
        certificate=_shared(_take(content, "certificate", str)),
        not_before=_time(content, "not_before"),
        not_after=_time(content, "not_after"),
        slsa=None if slsa is None else _shared(Slsa(**_texts_or_none(slsa, _SLSA))),
        subject=_take(content, "subject", str),
        material=_shared(_texts(content, "material")),
    )


@lru_cache(maxsize=4096)
def _shared(value: _Value) -> _Value:
    """The same value, once for all who have it: the files of a release are signed by one certificate, and kept."""
    return value


def _claims(content: dict[str, Any]) -> Claims:
    if content.keys() != _CLAIMS.keys():
        raise KeyError("claims")
    return _claims_of(tuple(content[name] for name in _CLAIMS))


@lru_cache(maxsize=4096)
def _claims_of(values: tuple[Any, ...]) -> Claims:
    """Checked, made and kept once for all files of a release. A value that cannot be hashed is a TypeError, too."""
    texts = _texts_or_none(dict(zip(_CLAIMS, values, strict=True)), _CLAIMS)
    kind = texts.pop("kind")
    for key in ("issuer", "san"):
        _take(texts, key, str)
    return Claims(kind=None if kind is None else PublisherKind(kind), **texts)


def _texts_or_none(content: Any, names: Mapping[str, None]) -> dict[str, Any]:  # noqa: ANN401 - hostile JSON
    """All of `names`, no others, each a text or null."""
    if type(content) is not dict or content.keys() != names.keys():
        raise KeyError("fields")
    if not all(value is None or type(value) is str for value in content.values()):
        raise TypeError("fields")
    return dict(content)
