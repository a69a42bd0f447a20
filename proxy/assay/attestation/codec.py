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
    INDEX_SOURCE,
    Attestation,
    Attested,
    Claims,
    Evidence,
    Forged,
    Slsa,
    Unattested,
    Unverifiable,
)
from assay.publishers.registry import get_publisher_kind

EVIDENCE_SCHEMA_VERSION: Final = 1
"""Raise it whenever a field of evidence is added or changes its meaning, unless its absence means what it meant."""
VERIFIER_VERSION: Final = f"1+sigstore-{version('sigstore')}"
"""Raise the first number whenever a check is added or changes: what was verified by fewer is verified again."""
_MAX_EVIDENCE_BYTES: Final = 4 << 20

_SOURCE_FIELD: Final = "source"
"""Written only for attestations of other sources than the index: records of the index stay what they were before."""
_ATTESTATION_FIELDS: Final = dict.fromkeys(one.name for one in fields(Attestation) if one.name != _SOURCE_FIELD)
_SOURCED_FIELDS: Final = {**_ATTESTATION_FIELDS, _SOURCE_FIELD: None}
_CLAIMS_FIELDS: Final = dict.fromkeys(one.name for one in fields(Claims))
_SLSA_FIELDS: Final = dict.fromkeys(one.name for one in fields(Slsa))
"""Names of fields, in order."""

_Value = TypeVar("_Value")


def evidence_key(
    sha256: str,
    filename: str,
    provenance_sha256: str,
    trust_fingerprint: str,
    verifier_version: str = VERIFIER_VERSION,
    *,
    source: str = INDEX_SOURCE,
) -> str:
    """Return the key under which evidence is recorded.

    Args:
        sha256: of the file, hexadecimal.
        filename: as listed; it may hold anything.
        provenance_sha256: SHA-256 of the provenance document, hexadecimal.
        trust_fingerprint: digest of the trust roots that counted (`Verifier.trust_fingerprint_for`).
        verifier_version: which checks were made.
        source: name of the evidence source that offered the document.
    """
    parts = [EVIDENCE_SCHEMA_VERSION, verifier_version, sha256, filename, provenance_sha256, trust_fingerprint]
    if source != INDEX_SOURCE:
        parts.append(source)
    return f"evidence:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"


def encode_evidence(evidence: Evidence) -> bytes:
    """`evidence` as JSON."""
    return json.dumps(
        {"schema": EVIDENCE_SCHEMA_VERSION, **_evidence_to_json(evidence)}, separators=(",", ":")
    ).encode()


def _evidence_to_json(evidence: Evidence) -> dict[str, Any]:
    match evidence:
        case Attested(attestations=attestations, ignored=ignored):
            return {
                "evidence": "attested",
                "attestations": [_attestation_to_json(one) for one in attestations],
                "ignored": list(ignored),
            }
        case Unattested():
            return {"evidence": "unattested"}
        case Forged(step=step, expected=expected, found=found):
            return {"evidence": "forged", "step": step, "expected": expected, "found": found}
        case Unverifiable(reason=reason):
            return {"evidence": "unverifiable", "reason": reason}


def _attestation_to_json(attestation: Attestation) -> dict[str, Any]:
    made = {name: getattr(attestation, name) for name in _ATTESTATION_FIELDS}
    made["claims"] = _claims_to_json(attestation.claims)
    if attestation.slsa is not None:
        made["slsa"] = {name: getattr(attestation.slsa, name) for name in _SLSA_FIELDS}
    for key in ("integrated_time", "not_before", "not_after"):
        made[key] = made[key].isoformat()
    if attestation.source != INDEX_SOURCE:
        made[_SOURCE_FIELD] = attestation.source
    return made


@lru_cache(maxsize=256)
def _claims_to_json(claims: Claims) -> dict[str, str | None]:
    """Once for all files of a release, which come one after another; nobody changes it."""
    return {name: getattr(claims, name) for name in _CLAIMS_FIELDS}


def decode_evidence(raw: bytes) -> Evidence | None:
    """The evidence in `raw`; None when it is anything that `encode_evidence` doesn't write."""
    if len(raw) > _MAX_EVIDENCE_BYTES:
        return None
    try:
        content = json.loads(raw)
        if type(content) is not dict or _get_typed(content, "schema", int) != EVIDENCE_SCHEMA_VERSION:
            return None
        return _read_evidence(content)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _get_typed(json_object: Any, key: str, kind: Callable[..., _Value]) -> _Value:  # noqa: ANN401 - hostile JSON
    value = json_object[key]
    if type(value) is not kind:
        raise TypeError(key)
    return value  # type: ignore[no-any-return]  # exactly `kind`, by the line above


def _read_evidence(content: dict[str, Any]) -> Evidence:
    match content["evidence"]:
        case "attested":
            listed: list[Any] = _get_typed(content, "attestations", list)
            attestations = tuple(_read_attestation(one) for one in listed)
            if not attestations:
                raise ValueError("nothing attested")
            return Attested(attestations=attestations, ignored=_get_strings(content, "ignored"))
        case "unattested":
            return Unattested()
        case "forged":
            step, expected, found = (_get_typed(content, key, str) for key in ("step", "expected", "found"))
            return Forged(step=step, expected=expected, found=found)
        case "unverifiable":
            return Unverifiable(reason=_get_typed(content, "reason", str))
        case other:
            raise ValueError(other)


def _get_strings(json_object: dict[str, Any], key: str) -> tuple[str, ...]:
    listed: list[Any] = _get_typed(json_object, key, list)
    if not all(type(one) is str for one in listed):
        raise TypeError(key)
    return tuple(listed)


def _get_time(json_object: dict[str, Any], key: str) -> datetime:
    time = datetime.fromisoformat(_get_typed(json_object, key, str))
    if time.tzinfo is None:
        raise ValueError(key)
    return time


def _read_attestation(content: Any) -> Attestation:  # noqa: ANN401 - hostile JSON
    if type(content) is not dict:
        raise TypeError("attestation")
    source = INDEX_SOURCE
    if content.keys() != _ATTESTATION_FIELDS.keys():
        source = _read_source(content)
    slsa = content["slsa"]
    return Attestation(
        trust_root=intern(_get_typed(content, "trust_root", str)),
        bundle=_get_typed(content, "bundle", int),
        predicate_type=intern(_get_typed(content, "predicate_type", str)),
        claims=_read_claims(_get_typed(content, "claims", dict)),
        integrated_time=_get_time(content, "integrated_time"),
        log_index=_get_typed(content, "log_index", int),
        certificate=_deduplicate(_get_typed(content, "certificate", str)),
        not_before=_get_time(content, "not_before"),
        not_after=_get_time(content, "not_after"),
        slsa=None if slsa is None else _deduplicate(Slsa(**_check_optional_strings(slsa, _SLSA_FIELDS))),
        subject=_get_typed(content, "subject", str),
        material=_deduplicate(_get_strings(content, "material")),
        source=source,
    )


def _read_source(content: dict[str, Any]) -> str:
    """Return the source of an attestation that names one, which is never the index.

    Raises:
        KeyError: the fields are not those that the encoder writes.
        TypeError: the source is no string.
    """
    if content.keys() != _SOURCED_FIELDS.keys() or content[_SOURCE_FIELD] == INDEX_SOURCE:
        raise KeyError("attestation")
    return intern(_get_typed(content, _SOURCE_FIELD, str))


@lru_cache(maxsize=4096)
def _deduplicate(value: _Value) -> _Value:
    """The same value, once for all who have it: the files of a release are signed by one certificate, and kept."""
    return value


def _read_claims(content: dict[str, Any]) -> Claims:
    if content.keys() != _CLAIMS_FIELDS.keys():
        raise KeyError("claims")
    return _build_claims(tuple(content[name] for name in _CLAIMS_FIELDS))


@lru_cache(maxsize=4096)
def _build_claims(values: tuple[Any, ...]) -> Claims:
    """Checked, made and kept once for all files of a release. A value that cannot be hashed is a TypeError, too."""
    texts = _check_optional_strings(dict(zip(_CLAIMS_FIELDS, values, strict=True)), _CLAIMS_FIELDS)
    kind = texts.pop("kind")
    for key in ("issuer", "san"):
        _get_typed(texts, key, str)
    return Claims(kind=None if kind is None else get_publisher_kind(kind).name, **texts)


def _check_optional_strings(content: Any, names: Mapping[str, None]) -> dict[str, Any]:  # noqa: ANN401 - hostile JSON
    """All of `names`, no others, each a text or null."""
    if type(content) is not dict or content.keys() != names.keys():
        raise KeyError("fields")
    if not all(value is None or type(value) is str for value in content.values()):
        raise TypeError("fields")
    return dict(content)
