"""What a provenance document may be before anything in it is parsed, and the strict JSON in which it must be written.

Owns every cap on sizes, counts and depths. Real documents are about 10 kB with one bundle, at most two attestations,
one log entry and 20 proof hashes (tests/corpus): the limits leave room for growth and none for exhaustion.
"""

from __future__ import annotations

import json
import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from codecs import BOM_UTF8
from typing import Any, Final, NoReturn

from assay.attestation.verification.errors import CheckFailed

MAX_DOCUMENT_BYTES: Final = 1 << 20
MAX_BUNDLES: Final = 16
MAX_ATTESTATIONS: Final = 32
"""In all bundles together."""
MAX_STATEMENT_BYTES: Final = 256 << 10
MAX_CERTIFICATE_BYTES: Final = 16 << 10
MAX_SIGNATURE_BYTES: Final = 1 << 10
MAX_LOG_BODY_BYTES: Final = 64 << 10
MAX_CHECKPOINT_CHARACTERS: Final = 8 << 10
MAX_PROOF_HASHES: Final = 64
"""A tree of 2^64 leaves has a path of 64."""
MAX_DEPTH: Final = 32
MAX_INTEGER: Final = 2**53 - 1
"""RFC 8785 section 3.2.2.3: what canonical JSON, which Rekor signs, can hold."""
MAX_TIMESTAMP_SECONDS: Final = 253_402_300_799
"""The last second of the year 9999, as RFC 5280 and `datetime` have it."""

_JSON_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_UINT64_TEXT = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)


def parse_strict_json(raw: bytes, what: str) -> dict[str, Any]:
    """The object in `raw`, by the letter of RFC 8259: UTF-8, no key twice, no NaN, no lone surrogates, bounded depth.

    Raises:
        CheckFailed: it is anything else.
    """
    if raw.startswith(BOM_UTF8):
        raise CheckFailed(what, "well-formed JSON in UTF-8", "a byte order mark (BOM) before it")
    try:
        if _measure_depth(raw) > MAX_DEPTH:
            raise CheckFailed(what, f"JSON nested at most {MAX_DEPTH} deep", "deeper nesting")
        value = _DECODER.decode(raw.decode())
        if _SURROGATE_ESCAPE.search(raw):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise CheckFailed(what, "well-formed JSON in UTF-8", error) from error
    if not isinstance(value, dict):
        raise CheckFailed(what, "a JSON object", type(value).__name__)
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
        raise ValueError("a key stands twice in one object")
    return made


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_reject_duplicate_keys, parse_constant=_reject_constant)


def get_member(json_object: dict[str, Any], key: str, kind: type, step: str) -> Any:  # noqa: ANN401 - `kind` says which
    """The value at `key`, which must be there and of exactly this type (a bool is no int).

    Raises:
        CheckFailed: it isn't.
    """
    value = json_object.get(key)
    if type(value) is not kind:
        name = {str: "a string", dict: "an object", list: "an array", int: "a number"}[kind]
        raise CheckFailed(step, f"{key}: {name}", f"{key}: {'nothing' if value is None else type(value).__name__}")
    return value


def get_base64(
    json_object: dict[str, Any], key: str, max_bytes: int, step: str, *, allow_newlines: bool = False
) -> bytes:
    """Return the bytes at `key` in strict base64; `allow_newlines` drops line feeds, which documents of 2024 have.

    Raises:
        CheckFailed: not base64, empty, or more than `max_bytes` bytes.
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
    """A protobuf uint64, which its JSON writes as a string of digits; at most what canonical JSON holds.

    Raises:
        CheckFailed: it isn't.
    """
    text: str = get_member(json_object, key, str, step)
    if not _UINT64_TEXT.fullmatch(text) or int(text) > MAX_INTEGER:
        raise CheckFailed(step, f"{key}: digits, at most 2^53 - 1", text)
    return int(text)
