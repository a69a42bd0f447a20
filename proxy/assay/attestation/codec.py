"""Codec of evidence (the result of a verification): JSON for the record cache and for responses of worker processes.

The JSON contains the version of its format. If the bytes are invalid or have another version, the decoder returns None.
The caller then verifies the document again. The cache key of a record covers everything that the evidence depends on:
document, file, trust roots and version of the checks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
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
    KeyStatement,
    LogIdentity,
    Rejection,
    Slsa,
    Unattested,
    Unstated,
    Unverifiable,
)
from assay.publishers.registry import get_publisher_kind

EVIDENCE_SCHEMA_VERSION: Final = 1
"""Version of the record format. Increase it if a required field is added, or if the meaning of a field changes. Keep it
if an optional field is added and records without the field have the same meaning as before."""
VERIFIER_VERSION: Final = f"2+sigstore-{version('sigstore')}"
"""Version of the checks. Increase the first number if a check is added or changed. All documents are then verified
again."""
_MAX_EVIDENCE_BYTES: Final = 4 << 20

_SOURCE_FIELD: Final = "source"
"""Name of the field for the evidence source. The field is written only if the attestation comes from another source
than the index. Records of attestations from the index thus keep the format that they had before the field existed."""
_LOG_FIELD: Final = "log"
"""Field that records of earlier versions do not have, and that is absent if the log is unknown."""
_PREDICATE_FIELD: Final = "predicate"
"""Field that is absent if the predicate is not recorded."""
_OPTIONAL_FIELDS: Final = frozenset({_SOURCE_FIELD, _LOG_FIELD, _PREDICATE_FIELD})
_ATTESTATION_FIELDS: Final = dict.fromkeys(one.name for one in fields(Attestation) if one.name not in _OPTIONAL_FIELDS)
_LOGGED_FIELDS: Final = {**_ATTESTATION_FIELDS, _LOG_FIELD: None}
_REJECTED_FIELD: Final = "rejected"
_ASKED_FIELD: Final = "asked"
_STATEMENTS_FIELD: Final = "key_statements"
_STATEMENT_FIELDS: Final = tuple(one.name for one in fields(KeyStatement))
_REJECTION_FIELDS: Final = tuple(one.name for one in fields(Rejection))
_CLAIMS_FIELDS: Final = dict.fromkeys(one.name for one in fields(Claims))
_OPTIONAL_CLAIMS: Final = frozenset({"organization", "project_path"})
"""Claims that records of earlier versions do not have. They are written only if a certificate has them."""
_REQUIRED_CLAIMS: Final = _CLAIMS_FIELDS.keys() - _OPTIONAL_CLAIMS
_SLSA_FIELDS: Final = dict.fromkeys(one.name for one in fields(Slsa))
"""Names of the fields of `Slsa`, in the order of their definition."""

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
    """Return the cache key of the record with the evidence that one document gives about one file.

    Args:
        sha256: SHA-256 of the file, hexadecimal.
        filename: name of the file as the index lists it; untrusted.
        provenance_sha256: SHA-256 of the provenance document, hexadecimal.
        trust_fingerprint: digest of the trust roots in force for the index (`Verifier.trust_fingerprint_for`).
        verifier_version: version of the checks.
        source: name of the evidence source that offered the document.
    """
    parts = [EVIDENCE_SCHEMA_VERSION, verifier_version, sha256, filename, provenance_sha256, trust_fingerprint]
    if source != INDEX_SOURCE:
        parts.append(source)
    return f"evidence:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"


def encode_evidence(evidence: Evidence) -> bytes:
    """Return evidence as JSON, in the format of a record."""
    return json.dumps(
        {"schema": EVIDENCE_SCHEMA_VERSION, **_evidence_to_json(evidence)}, separators=(",", ":")
    ).encode()


def _evidence_to_json(evidence: Evidence) -> dict[str, Any]:
    made = _evidence_without_statements(evidence)
    if not isinstance(evidence, Forged) and evidence.key_statements:
        made[_STATEMENTS_FIELD] = [
            {name: getattr(one, name) for name in _STATEMENT_FIELDS} for one in evidence.key_statements
        ]
    return made


def _evidence_without_statements(evidence: Evidence) -> dict[str, Any]:
    match evidence:
        case Attested(attestations=attestations, ignored=ignored, rejected=rejected):
            return {
                "evidence": "attested",
                "attestations": [_attestation_to_json(one) for one in attestations],
                "ignored": list(ignored),
                **_rejected_to_json(rejected),
            }
        case Unattested(rejected=rejected, asked=asked):
            named = {_ASKED_FIELD: list(asked)} if asked else {}
            return {"evidence": "unattested", **named, **_rejected_to_json(rejected)}
        case Forged(step=step, expected=expected, found=found):
            return {"evidence": "forged", "step": step, "expected": expected, "found": found}
        case Unverifiable(reason=reason, rejected=rejected):
            return {"evidence": "unverifiable", "reason": reason, **_rejected_to_json(rejected)}
        case Unstated(index=index):
            return {"evidence": "unstated", "index": index}


def _rejected_to_json(rejected: Sequence[Rejection]) -> dict[str, Any]:
    """Return the field for rejected bundles. It is absent without such bundles, as in records of earlier versions."""
    if not rejected:
        return {}
    return {_REJECTED_FIELD: [{name: getattr(one, name) for name in _REJECTION_FIELDS} for one in rejected]}


def _attestation_to_json(attestation: Attestation) -> dict[str, Any]:
    made = {name: getattr(attestation, name) for name in _ATTESTATION_FIELDS}
    made["claims"] = _claims_to_json(attestation.claims)
    if attestation.slsa is not None:
        made["slsa"] = {name: getattr(attestation.slsa, name) for name in _SLSA_FIELDS}
    for key in ("integrated_time", "not_before", "not_after"):
        made[key] = made[key].isoformat()
    if attestation.source != INDEX_SOURCE:
        made[_SOURCE_FIELD] = attestation.source
    if attestation.predicate is not None:
        made[_PREDICATE_FIELD] = attestation.predicate
    if attestation.log is not None:
        made[_LOG_FIELD] = {"id": attestation.log.id, "url": attestation.log.url}
    return made


@lru_cache(maxsize=256)
def _claims_to_json(claims: Claims) -> dict[str, str | None]:
    """Return the claims of a certificate as a JSON object.

    The object is cached and shared by all files of a release, so callers must not modify it.
    """
    values = {name: getattr(claims, name) for name in _CLAIMS_FIELDS}
    return {name: value for name, value in values.items() if value is not None or name not in _OPTIONAL_CLAIMS}


def decode_evidence(raw: bytes) -> Evidence | None:
    """Return the evidence in a record; None if the bytes are not in the format of `encode_evidence`."""
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
            return Attested(
                attestations=attestations,
                ignored=_get_strings(content, "ignored"),
                rejected=_read_rejected(content),
                key_statements=_read_statements(content),
            )
        case "unattested":
            asked = _get_strings(content, _ASKED_FIELD) if _ASKED_FIELD in content else ()
            return Unattested(rejected=_read_rejected(content), asked=asked, key_statements=_read_statements(content))
        case "forged":
            step, expected, found = (_get_typed(content, key, str) for key in ("step", "expected", "found"))
            return Forged(step=step, expected=expected, found=found)
        case "unverifiable":
            return Unverifiable(
                reason=_get_typed(content, "reason", str),
                rejected=_read_rejected(content),
                key_statements=_read_statements(content),
            )
        case "unstated":
            return Unstated(index=_get_typed(content, "index", str), key_statements=_read_statements(content))
        case other:
            raise ValueError(other)


def _read_rejected(content: dict[str, Any]) -> tuple[Rejection, ...]:
    if _REJECTED_FIELD not in content:
        return ()
    listed: list[Any] = _get_typed(content, _REJECTED_FIELD, list)
    return tuple(_read_rejection(one) for one in listed)


def _read_rejection(content: Any) -> Rejection:  # noqa: ANN401 - hostile JSON
    if type(content) is not dict or content.keys() != set(_REJECTION_FIELDS):
        raise KeyError(_REJECTED_FIELD)
    texts = {name: _get_typed(content, name, str) for name in _REJECTION_FIELDS if name != "bundle"}
    return Rejection(bundle=_get_typed(content, "bundle", int), **texts)


def _read_statements(content: dict[str, Any]) -> tuple[KeyStatement, ...]:
    if _STATEMENTS_FIELD not in content:
        return ()
    listed: list[Any] = _get_typed(content, _STATEMENTS_FIELD, list)
    return tuple(_read_statement(one) for one in listed)


def _read_statement(content: Any) -> KeyStatement:  # noqa: ANN401 - hostile JSON
    if type(content) is not dict or content.keys() != set(_STATEMENT_FIELDS):
        raise KeyError(_STATEMENTS_FIELD)
    texts = {name: _get_typed(content, name, str) for name in ("key", "predicate_type", "subject", "source")}
    predicate = None if content["predicate"] is None else _get_typed(content, "predicate", str)
    return KeyStatement(bundle=_get_typed(content, "bundle", int), predicate=predicate, **texts)


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
    if content.keys() != _LOGGED_FIELDS.keys() and content.keys() - _OPTIONAL_FIELDS != _ATTESTATION_FIELDS.keys():
        raise KeyError("attestation")
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
        source=_read_source(content) if _SOURCE_FIELD in content else INDEX_SOURCE,
        log=_deduplicate(_read_log(content[_LOG_FIELD])) if _LOG_FIELD in content else None,
        predicate=_get_typed(content, _PREDICATE_FIELD, str) if _PREDICATE_FIELD in content else None,
    )


def _read_source(content: dict[str, Any]) -> str:
    """Return the evidence source of a recorded attestation that has the field ``source``.

    For an attestation from the index, the encoder omits this field. A record whose field names the index is therefore
    invalid.

    Raises:
        KeyError: the source is the index.
        TypeError: the source is not a string.
    """
    if content[_SOURCE_FIELD] == INDEX_SOURCE:
        raise KeyError("attestation")
    return intern(_get_typed(content, _SOURCE_FIELD, str))


def _read_log(content: Any) -> LogIdentity:  # noqa: ANN401 - hostile JSON
    """Return the log of a recorded attestation.

    Raises:
        KeyError: the fields differ from those that the encoder writes.
        TypeError: a value is not a string.
    """
    if type(content) is not dict or content.keys() != {"id", "url"}:
        raise KeyError("log")
    return LogIdentity(id=_get_typed(content, "id", str), url=_get_typed(content, "url", str))


@lru_cache(maxsize=4096)
def _deduplicate(value: _Value) -> _Value:
    """Return a cached object that equals `value`, so that the files of a release share one object in memory."""
    return value


def _read_claims(content: dict[str, Any]) -> Claims:
    if content.keys() != _REQUIRED_CLAIMS:
        more = content.keys() - _REQUIRED_CLAIMS
        if not content.keys() >= _REQUIRED_CLAIMS or not more <= _OPTIONAL_CLAIMS:
            raise KeyError("claims")
        if None in (content[name] for name in more):
            raise TypeError("claims")
    return _build_claims(tuple(map(content.get, _CLAIMS_FIELDS)))


@lru_cache(maxsize=4096)
def _build_claims(values: tuple[Any, ...]) -> Claims:
    """Check values and return them as `Claims`. The result is cached, so that the files of a release share one object.

    Args:
        values: values of the fields of `Claims`, in the order of their definition; untrusted.

    Raises:
        TypeError: a value has the wrong type. The cache itself raises this error for a value that cannot be hashed.
        ValueError: the kind of publisher is unknown.
    """
    texts = _check_optional_strings(dict(zip(_CLAIMS_FIELDS, values, strict=True)), _CLAIMS_FIELDS)
    kind = texts.pop("kind")
    for key in ("issuer", "san"):
        _get_typed(texts, key, str)
    return Claims(kind=None if kind is None else get_publisher_kind(kind).name, **texts)


def _check_optional_strings(content: Any, names: Mapping[str, None]) -> dict[str, Any]:  # noqa: ANN401 - hostile JSON
    """Return a copy of a JSON object after checking its keys and values. Each value must be a string or null.

    Args:
        content: the JSON object; untrusted.
        names: the exact set of keys.

    Raises:
        KeyError: a key is missing or unexpected.
        TypeError: a value is neither a string nor null.
    """
    if type(content) is not dict or content.keys() != names.keys():
        raise KeyError("fields")
    if not all(value is None or type(value) is str for value in content.values()):
        raise TypeError("fields")
    return dict(content)
