"""Strict JSON parser for provenance documents and Sigstore bundles, with all limits on their sizes, counts and depth.

A typical document has 10 kB, one bundle, and at most two attestations. Each attestation has one log entry with about 20
proof hashes (tests/corpus). The limits allow growth but prevent exhaustion of memory and CPU.
"""

from __future__ import annotations

import json
import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from codecs import BOM_UTF8
from math import isinf
from typing import Any, Final, NoReturn

from assay.attestation.verification.errors import CheckFailed

MAX_DOCUMENT_BYTES: Final = 1 << 20
MAX_BUNDLES: Final = 16
MAX_ATTESTATIONS: Final = 32
"""Maximum number of attestations in one document, in all bundles together."""
MAX_BUNDLE_LIST_BYTES: Final = 8 << 20
"""Maximum size of a list of Sigstore bundles. GitHub's store can have several bundles for a file, some with an SBOM."""
MAX_LISTED_BUNDLES: Final = 256
"""Maximum number of Sigstore bundles in one list."""
MAX_LIST_CONTAINERS: Final = 1 << 14
"""Maximum number of JSON objects and arrays in one list of bundles. A bundle has about 15. Millions of empty ones would
take hundreds of megabytes of memory."""
MAX_SUBJECTS: Final = 1024
"""Maximum number of subjects in the statement of a Sigstore bundle, as in GitHub's action for attestations."""
MAX_STATEMENT_BYTES: Final = 256 << 10
MAX_CERTIFICATE_BYTES: Final = 16 << 10
MAX_SIGNATURE_BYTES: Final = 1 << 10
MAX_LOG_BODY_BYTES: Final = 64 << 10
MAX_CHECKPOINT_CHARACTERS: Final = 8 << 10
MAX_PROOF_HASHES: Final = 64
"""Maximum number of hashes in an inclusion proof. This suffices for a tree of 2^64 leaves."""
MAX_DEPTH: Final = 32
MAX_INTEGER: Final = 2**53 - 1
"""Largest integer in canonical JSON (RFC 8785 section 3.2.2.3), the encoding that Rekor signs."""
MAX_TIMESTAMP_SECONDS: Final = 253_402_300_799
"""Last second of the year 9999, in seconds since 1970 (UTC). RFC 5280 and `datetime` have no later time."""

DUPLICATE_KEYS: Final = object()
"""Placeholder for a JSON object that has the same key twice."""
_JSON_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_UINT64_TEXT = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)


def parse_strict_json(raw: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object strictly by RFC 8259, and return it.

    The bytes must be UTF-8 and must have at most 32 levels of nesting. Duplicate keys, NaN, infinite
    numbers and lone surrogates are errors.

    Args:
        raw: the bytes; untrusted.
        what: name of the check, for the error.

    Raises:
        CheckFailed: the bytes are not such an object.
    """
    value = _parse(raw, what)
    if not isinstance(value, dict):
        raise CheckFailed(what, "a JSON object", type(value).__name__)
    return value


def parse_json_with_duplicates(raw: bytes, what: str) -> tuple[dict[str, Any], bool]:
    """Parse a JSON object as `parse_strict_json` does, but replace each object that has the same key twice.

    `DUPLICATE_KEYS` takes the place of such an object, which has no unambiguous value.

    Returns:
        The object, and True if any object in it was replaced.

    Raises:
        CheckFailed: the bytes are not such an object, or the outermost object has the same key twice.
    """
    replaced = False

    def mark(pairs: list[tuple[str, Any]]) -> object:
        nonlocal replaced
        made = dict(pairs)
        if len(made) == len(pairs):
            return made
        replaced = True
        return DUPLICATE_KEYS

    value = _parse(
        raw, what, json.JSONDecoder(object_pairs_hook=mark, parse_constant=_reject_constant, parse_float=_parse_finite)
    )
    if value is DUPLICATE_KEYS:
        raise CheckFailed(what, "well-formed JSON in UTF-8", "a JSON object with the same key twice")
    if not isinstance(value, dict):
        raise CheckFailed(what, "a JSON object", type(value).__name__)
    return value, replaced


def parse_strict_json_list(raw: bytes, what: str) -> list[Any]:
    """Parse a JSON list as strictly as `parse_strict_json` parses an object, and return it.

    Raises:
        CheckFailed: the bytes are not such a list.
    """
    value = _parse(raw, what)
    if not isinstance(value, list):
        raise CheckFailed(what, "a JSON list", type(value).__name__)
    return value


def _parse(raw: bytes, what: str, decoder: json.JSONDecoder | None = None) -> object:
    if raw.startswith(BOM_UTF8):
        raise CheckFailed(what, "well-formed JSON in UTF-8", "a byte order mark (BOM) at the start")
    try:
        if _measure_depth(raw) > MAX_DEPTH:
            raise CheckFailed(what, f"JSON with at most {MAX_DEPTH} levels of nesting", "deeper nesting")
        value: object = (decoder or _DECODER).decode(raw.decode())
        if _SURROGATE_ESCAPE.search(raw):
            json.dumps(value, ensure_ascii=False, default=str).encode()
    except (ValueError, RecursionError) as error:
        raise CheckFailed(what, "well-formed JSON in UTF-8", error) from error
    return value


def _measure_depth(raw: bytes) -> int:
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for token in _JSON_TOKEN.finditer(raw):
        match token[0]:
            case b"[" | b"{":
                depth += 1
                deepest = max(deepest, depth)
            case b"]" | b"}":
                depth -= 1
            case _:
                pass
    return deepest


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a JSON object contains the same key twice")
    return made


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not valid in JSON")


def _parse_finite(text: str) -> float:
    value = float(text)
    if isinf(value):  # written again, it would not be JSON
        raise ValueError("a number is too large")
    return value


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_reject_duplicate_keys, parse_constant=_reject_constant, parse_float=_parse_finite
)


def get_member(json_object: dict[str, Any], key: str, kind: type, step: str) -> Any:  # noqa: ANN401 - `kind` says which
    """Return the value of a required key. The type of the value must be exactly `kind`, so a bool is not an int.

    Raises:
        CheckFailed: the key is missing, or its value has another type.
    """
    value = json_object.get(key)
    if type(value) is not kind:
        name = {str: "a string", dict: "an object", list: "an array", int: "a number"}[kind]
        raise CheckFailed(step, f"{key}: {name}", f"{key}: {'nothing' if value is None else type(value).__name__}")
    return value


def get_base64(
    json_object: dict[str, Any], key: str, max_bytes: int, step: str, *, allow_newlines: bool = False
) -> bytes:
    """Return the decoded bytes of a required key whose value must be strict base64.

    Args:
        json_object: the object that has the key.
        key: the key.
        max_bytes: maximum number of decoded bytes.
        step: name of the check, for the error.
        allow_newlines: True to ignore line feeds, which documents of 2024 contain.

    Raises:
        CheckFailed: the value is missing, is not base64, is empty, or has more than `max_bytes` bytes.
    """
    text: str = get_member(json_object, key, str, step)
    if len(text) > max_bytes * 2:
        raise CheckFailed(step, f"{key}: at most {max_bytes} bytes", f"{len(text)} characters of base64")
    try:
        raw = a2b_base64(text.replace("\n", "") if allow_newlines else text, strict_mode=True)
    except (Base64Error, ValueError) as error:
        raise CheckFailed(step, f"{key}: base64", error) from error
    if not 0 < len(raw) <= max_bytes:
        raise CheckFailed(step, f"{key}: 1 to {max_bytes} bytes", f"{len(raw)} bytes")
    return raw


def get_uint64(json_object: dict[str, Any], key: str, step: str) -> int:
    """Return the value of a required key whose value must be a uint64 in Protobuf's JSON mapping: a string of digits.

    The largest accepted value is 2^53 - 1, the largest integer in canonical JSON.

    Raises:
        CheckFailed: the value is missing, is not a string of digits, or is too large.
    """
    text: str = get_member(json_object, key, str, step)
    if not _UINT64_TEXT.fullmatch(text) or int(text) > MAX_INTEGER:
        raise CheckFailed(step, f"{key}: digits, at most 2^53 - 1", text)
    return int(text)
