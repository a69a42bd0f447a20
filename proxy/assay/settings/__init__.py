"""What every TOML document of ours has in common: strict models, kebab-case keys, errors that say where. Pure.

Owns the base class of settings and the translation of a pydantic error into one line with file, key path, line where
it can be located, expected, found, and the nearest valid key. Knows no particular setting.

A `ValueError` raised in a validator says what was *expected* ("a duration such as …"); `make_key_error` does the same
for one key of a table whose keys contradict each other. Values of keys that hold secrets are never quoted.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from assay.errors import ConfigurationError
from assay.settings.toml_positions import KeyPath, TomlPositions

M = TypeVar("M", bound=BaseModel)

_MAX_QUOTED_CHARACTERS = 80
_SECRET_KEY = re.compile(r"password|passwd|secret|token|credential|authorization", re.IGNORECASE)
_EXPECTED_BY_ERROR = {
    "string_type": "a string",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "an array"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "a table"),
}
_BOUND_BY_ERROR = {"greater_than_equal": "ge", "greater_than": "gt", "less_than_equal": "le", "less_than": "lt"}
_BOUND_WORDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def to_kebab_case(name: str) -> str:
    """``max_stale`` as the key people write, ``max-stale``."""
    return name.replace("_", "-")


class Settings(BaseModel):
    """Base of all settings and policy tables: frozen, unknown keys refused, keys in kebab-case."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_kebab_case, validate_by_name=True, validate_by_alias=True
    )


def make_key_error(key: str | KeyPath, *, expected: str, found: object) -> PydanticCustomError:
    """The error for one key of a table, to be raised by a model's validator: `key` is relative to that model."""
    path = key if isinstance(key, tuple) else (key,)
    return PydanticCustomError("wrong", "{expected}", {"key": path, "expected": expected, "found": found})


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """A TOML document as a dictionary; `source` is the name of its file, for messages.

    Raises:
        ConfigurationError: it is not TOML, or nested too deeply to read.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", str(error))
        line = place[1] if place and place[1] else str(text.count("\n") + 1)
        reason = str(error)[: place.start()] if place else str(error)
        raise ConfigurationError(
            f"{source}:{line}: expected TOML, found an error: {_escape_controls(reason)}"
        ) from error
    except RecursionError as error:
        raise ConfigurationError(f"{source}: expected TOML, found tables nested too deeply") from error


def validate_table(model: type[M], table: Mapping[str, Any], *, source: str, text: str | None = None) -> M:
    """`table` as a `model`; `text` is the TOML it was read from, if that is where lines can be found.

    Raises:
        ConfigurationError: one line for each problem, in the order of the document.
    """
    try:
        return model.model_validate(dict(table), by_alias=True, by_name=False)
    except ValidationError as error:
        problems = error.errors(include_url=False)
    lines = TomlPositions(text).lines if text is not None else {}
    told: dict[str, int] = {}
    for problem in problems:
        if problem["type"] == "too_short" and any(_is_below(other["loc"], problem["loc"]) for other in problems):
            continue  # pydantic counts only the elements that were good
        path, message = _describe_problem(model, table, problem)
        line = next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), None)
        where = source if line is None else f"{source}:{line}"
        told.setdefault(f"{where}: {format_key_path(path)}: {message}" if path else f"{where}: {message}", line or 0)
    raise ConfigurationError("\n".join(sorted(told, key=lambda message: told[message])))


def format_key_path(path: KeyPath) -> str:
    """A key path as in TOML: ``rules[1].publishers[0].repository``."""
    spelled = ""
    for part in path:
        if isinstance(part, int):
            spelled += f"[{part}]"
        else:
            key = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part)
            spelled += f".{key}" if spelled else key
    return spelled


def find_close_match(word: str, words: Iterable[str]) -> str | None:
    """The word that was probably meant; None where none is near."""
    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)), None)


def _is_below(location: tuple[str | int, ...], ancestor: tuple[str | int, ...]) -> bool:
    return len(location) > len(ancestor) and location[: len(ancestor)] == ancestor


def _describe_problem(model: type[BaseModel], table: Mapping[str, Any], problem: ErrorDetails) -> tuple[KeyPath, str]:
    kind, context = problem["type"], problem.get("ctx", {})
    path = _find_document_path(table, problem["loc"], keep_last=kind in {"missing", "extra_forbidden"})
    found: object = problem["input"]
    if kind == "extra_forbidden":
        return path, _describe_unknown_key(path, _models_at(model, problem["loc"][:-1]))
    if kind in {"missing", "union_tag_not_found"}:
        path = (*path, *_discriminator_path(context))
        return path, "expected a value, found nothing: this key is required"
    if kind == "wrong":
        path, found = (*path, *context["key"]), context["found"]
        return path, f"expected {context['expected']}, found {_quote(found, path)}"
    if kind == "union_tag_invalid":
        path = (*path, *_discriminator_path(context))
        found = context["tag"]
    expected = _describe_expectation(kind, context, problem["msg"])
    message = f"expected {expected}, found {_quote(found, path)}"
    near = find_close_match(found, re.findall(r"'([^']*)'", expected)) if isinstance(found, str) else None
    return path, f"{message}; did you mean {json.dumps(near)}?" if near else message


def _discriminator_path(context: Mapping[str, Any]) -> tuple[str, ...]:
    """The key that says which table of a union it is; none where a function decides."""
    key = str(context.get("discriminator", ""))
    return (key.strip("'"),) if key.startswith("'") else ()


def _describe_expectation(kind: str, context: Mapping[str, Any], fallback: str) -> str:
    match kind:
        case "value_error":
            return str(context["error"])
        case "literal_error" | "enum":
            return str(context["expected"])
        case "union_tag_invalid":
            return f"one of {context['expected_tags']}"
        case "too_short" | "string_too_short":
            count, thing = context["min_length"], "element" if kind == "too_short" else "character"
            return f"at least {count} {thing}{'' if count == 1 else 's'}"
        case _ if kind in _BOUND_BY_ERROR:
            bound = _BOUND_BY_ERROR[kind]
            return f"{_BOUND_WORDS[bound]} {context[bound]}"
        case _:
            return _EXPECTED_BY_ERROR.get(kind, fallback)


def _describe_unknown_key(path: KeyPath, models: Iterable[type[BaseModel]]) -> str:
    valid = sorted({_field_key(name, field) for model in models for name, field in model.model_fields.items()})
    near = find_close_match(str(path[-1]), valid)
    if near is not None:
        return f"expected a known key, found {json.dumps(str(path[-1]))}; did you mean {json.dumps(near)}?"
    return f"expected one of the keys {', '.join(valid)}; found {json.dumps(str(path[-1]))}"


def _find_document_path(table: object, location: tuple[str | int, ...], *, keep_last: bool) -> KeyPath:
    """The keys of `location` that are really in the document: pydantic adds the tags of unions."""
    path: list[str | int] = []
    for position, part in enumerate(location):
        is_last = position == len(location) - 1
        if isinstance(table, Mapping) and (part in table or (keep_last and is_last)):
            table = table.get(str(part))
        elif isinstance(table, list | tuple) and isinstance(part, int) and 0 <= part < len(table):
            table = table[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _models_at(model: type[BaseModel], location: tuple[str | int, ...]) -> list[type[BaseModel]]:
    """The models that a table at `location` may be."""
    models = [model]
    for part in location:
        named = [
            field for each in models for name, field in each.model_fields.items() if part == _field_key(name, field)
        ]
        if named:
            models = [inner for field in named for inner in _models_in(field.annotation)]
        elif tagged := [each for each in models if _is_tagged(each, part)]:
            models = tagged
    return models


def _field_key(name: str, field: FieldInfo) -> str:
    return field.alias or name


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        if issubclass(annotation, BaseModel):
            yield annotation
            return
        # A collection type of ours, such as `Indexes(tuple[IndexSettings, ...])`.
        for base in getattr(annotation, "__orig_bases__", ()):
            yield from _models_in(base)
        return
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _is_tagged(model: type[BaseModel], tag: str | int) -> bool:
    return any(
        get_origin(field.annotation) is Literal and tag in get_args(field.annotation)
        for field in model.model_fields.values()
    )


def _quote(value: object, path: KeyPath) -> str:
    """A value as its author may recognise it, in one line, without control characters."""
    if any(_SECRET_KEY.search(part) for part in path if isinstance(part, str)):
        return "a value that is not shown"
    match value:
        case None:
            quoted = "nothing"
        case bool():
            quoted = "true" if value else "false"
        case Mapping():
            quoted = "a table"
        case list() | tuple():
            quoted = "an array"
        case datetime() | date() | time():
            quoted = value.isoformat()
        case str():
            quoted = json.dumps(value)
            quoted = quoted if len(quoted) <= _MAX_QUOTED_CHARACTERS else f'{quoted[:_MAX_QUOTED_CHARACTERS]}…"'
        case _:
            quoted = _escape_controls(str(value))[:_MAX_QUOTED_CHARACTERS]
    return quoted


def _escape_controls(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)[1:-1]
