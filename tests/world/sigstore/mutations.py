"""Mutations of a provenance document: in its bytes, in its JSON, and in JSON within base64."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any, Final

from hypothesis import strategies as st

_EDGE_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 2, 2**53, 2**64, 10**30, 1.5),
    *("", " ", "0", "-1", "1", "01", "\u0661", "x" * 5000, "\x00", "\u2014", "\ud800", "AAAA", "?", "null"),
    *([], {}, [[]], {"a": 1}, ["x"] * 100),
    *("https://evil.example/", "dsse", "0.0.2", "GitLab", "Gitea", "https://slsa.dev/provenance/v1"),
)
"""Values that programs often handle wrongly."""


def _paths(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in a JSON value, including JSON within base64 (path element ``b64``)."""
    found = [path] if path else []
    if isinstance(content, dict):
        for key, value in content.items():
            found += _paths(value, (*path, key))
    elif isinstance(content, list):
        for number, value in enumerate(content):
            found += _paths(value, (*path, number))
    elif isinstance(content, str) and (inner := _decode_inner_json(content)) is not None:
        found += _paths(inner, (*path, "b64"))
    return found


def _decode_inner_json(text: str) -> Any:
    """Return the JSON object in base64 text; None if the text is anything else."""
    try:
        value = json.loads(b64decode(text, validate=True))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _get(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        content = _decode_inner_json(content) if key == "b64" else content[key]
    return content


def _put(content: Any, path: tuple[Any, ...], value: Any, *, gone: bool = False) -> Any:
    """Return a copy of `content` with `value` at `path`; JSON within base64 is encoded again."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    if key == "b64":
        return b64encode(json.dumps(_put(_decode_inner_json(content), rest, value, gone=gone)).encode()).decode()
    copy = content.copy()
    if rest:
        copy[key] = _put(content[key], rest, value, gone=gone)
    elif gone:
        del copy[key]
    else:
        copy[key] = value
    return copy


@st.composite
def _damaged_bytes(draw: st.DrawFn, raw: bytes) -> bytes:
    start = draw(st.integers(0, len(raw) - 1))
    match draw(st.sampled_from(("flip", "insert", "cut", "repeat", "end"))):
        case "flip":
            return raw[:start] + bytes([raw[start] ^ (1 << draw(st.integers(0, 7)))]) + raw[start + 1 :]
        case "insert":
            return raw[:start] + draw(st.binary(min_size=1, max_size=8)) + raw[start:]
        case "cut":
            return raw[:start] + raw[start + draw(st.integers(1, 200)) :]
        case "repeat":
            return raw[:start] + raw[start : start + draw(st.integers(1, 200))] + raw[start:]
        case _:
            return raw[:start]


@st.composite
def _damaged_text(draw: st.DrawFn, text: str) -> str:
    """Draw a text with one changed character, or with a damaged part of the bytes that its base64 encodes."""
    if not text:
        return "x"
    place = draw(st.integers(0, len(text) - 1))
    if draw(st.booleans()):
        try:
            raw = b64decode(text, validate=True)
            return b64encode(draw(_damaged_bytes(raw))).decode() if raw else "AA=="
        except ValueError:
            pass
    character = draw(st.sampled_from("AZaz09+/=-_.@:#\n \u2014\u00e9"))
    return text[:place] + draw(st.sampled_from(("", character))) + text[place + 1 :]


@st.composite
def _damaged_json(draw: st.DrawFn, raw: bytes, others: tuple[bytes, ...]) -> bytes:
    content = json.loads(raw)
    for _ in range(draw(st.integers(1, 3))):
        paths = _paths(content)
        if not paths:
            break
        path = draw(st.sampled_from(paths))
        value = _get(content, path)
        match draw(st.sampled_from(("odd", "gone", "text", "swap", "other", "double"))):
            case "gone":
                content = _put(content, path, None, gone=True)
            case "text" if isinstance(value, str):
                content = _put(content, path, draw(_damaged_text(value)))
            case "swap":
                content = _put(content, path, _get(content, draw(st.sampled_from(paths))))
            case "other":
                theirs = json.loads(draw(st.sampled_from(others)))
                content = _put(content, path, _get(theirs, draw(st.sampled_from(_paths(theirs)))))
            case "double" if isinstance(value, list):
                content = _put(content, path, value * 2)
            case _:
                content = _put(content, path, draw(st.sampled_from(_EDGE_VALUES)))
    return json.dumps(content).encode()


def damaged(raw: bytes, others: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Return a strategy of damaged copies of `raw`, which may contain parts of the genuine documents `others`."""
    return st.one_of(_damaged_json(raw, others), _damaged_json(raw, others), _damaged_bytes(raw))
