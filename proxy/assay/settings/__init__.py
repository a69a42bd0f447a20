"""Common part of all TOML documents: strict models, kebab-case keys and precise error messages. Pure.

This package has the base class of settings. It translates each pydantic error into one line. The line contains the
file, the line number if known, the key path, the expected value, the found value and the nearest valid key. The package
knows no particular setting.

A validator that raises `ValueError` must give it the *expected* value as text ("a duration such as …"). If a key
contradicts another key of its table, use `make_key_error`. Values of keys that may hold secrets are never quoted.
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
    """Return the TOML key of a field name: ``max-stale`` for ``max_stale``."""
    return name.replace("_", "-")


class Settings(BaseModel):
    """Base class of the models of all configuration and policy tables.

    The models are frozen. Their TOML keys are in kebab-case, and an unknown key is an error.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_kebab_case,
        validate_by_name=True,
        validate_by_alias=True,
        defer_build=True,  # most models are only parts of others, whose validators check them
    )


def make_key_error(key: str | KeyPath, *, expected: str, found: object, remedy: str = "") -> PydanticCustomError:
    """Return an error about one key, for a validator of a model to raise.

    Args:
        key: the key, or its path, relative to the table of that model.
        expected: description of the expected value.
        found: the value in the document.
        remedy: what to write instead, if `expected` does not say it.
    """
    path = key if isinstance(key, tuple) else (key,)
    context = {"key": path, "expected": expected, "found": found, "remedy": remedy}
    return PydanticCustomError("wrong", "{expected}", context)


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Parse a TOML document; `source` is its filename for error messages.

    Raises:
        ConfigurationError: the text is not valid TOML, or its tables are nested too deeply.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", str(error))
        line = place[1] if place and place[1] else str(text.count("\n") + 1)
        reason = str(error)[: place.start()] if place else str(error)
        raise ConfigurationError(
            f"{source}:{line}: expected valid TOML, found a syntax error: {_escape_controls(reason)}"
        ) from error
    except RecursionError as error:
        raise ConfigurationError(f"{source}: expected valid TOML, found tables nested too deeply") from error


def validate_table(
    model: type[M], table: Mapping[str, Any], *, source: str, text: str | None = None, context: object = None
) -> M:
    """Validate `table` as a `model` and return the model.

    Args:
        model: class of the model.
        table: parsed TOML table.
        source: filename of the document, for error messages.
        text: the TOML document from which `table` was parsed, to find line numbers; None if there is no such document.
        context: value that the validators of the model get; None if they need none.

    Raises:
        ConfigurationError: the table has problems. The message has one line for each, in the order of the document.
    """
    try:
        return model.model_validate(dict(table), by_alias=True, by_name=False, context=context)
    except ValidationError as error:
        problems = error.errors(include_url=False)
    except ArithmeticError as error:
        # pydantic passes on what is no ValueError. Every type limits its values, so no value is known to lead here.
        raise ConfigurationError(f"{source}: expected values within their limits, found: {error}") from error
    lines = TomlPositions(text).lines if text is not None else {}
    lines_by_message: dict[str, int] = {}
    for problem in problems:
        if problem["type"] == "too_short" and any(_is_below(other["loc"], problem["loc"]) for other in problems):
            continue  # pydantic counts only the valid elements
        path, message = _describe_problem(model, table, problem)
        line = next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), None)
        where = source if line is None else f"{source}:{line}"
        lines_by_message.setdefault(
            f"{where}: {format_key_path(path)}: {message}" if path else f"{where}: {message}", line or 0
        )
    raise ConfigurationError("\n".join(sorted(lines_by_message, key=lambda message: lines_by_message[message])))


def format_key_path(path: KeyPath) -> str:
    """Return a key path as text for messages, for example ``rules[1].publishers[0].repository``."""
    spelled = ""
    for part in path:
        if isinstance(part, int):
            spelled += f"[{part}]"
        else:
            key = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part)
            spelled += f".{key}" if spelled else key
    return spelled


def find_close_match(word: str, words: Iterable[str]) -> str | None:
    """Return the most similar of `words`, for a message such as "did you mean"; None if no word is similar enough."""
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
        remedy = f"; {context['remedy']}" if context["remedy"] else ""
        return path, f"expected {context['expected']}, found {_quote(found, path)}{remedy}"
    if kind == "union_tag_invalid":
        path = (*path, *_discriminator_path(context))
        found = context["tag"]
    expected = _describe_expectation(kind, context, problem["msg"])
    message = f"expected {expected}, found {_quote(found, path)}"
    close = find_close_match(found, re.findall(r"'([^']*)'", expected)) if isinstance(found, str) else None
    return path, f"{message}; did you mean {json.dumps(close)}?" if close else message


def _discriminator_path(context: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the path of the key that selects the model of a table, if several models are possible (a pydantic union).

    The path has one part. It is empty if a function selects the model instead of a key.
    """
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
    close = find_close_match(str(path[-1]), valid)
    if close is not None:
        return f"expected a known key, found {json.dumps(str(path[-1]))}; did you mean {json.dumps(close)}?"
    return f"expected one of the keys {', '.join(valid)}; found {json.dumps(str(path[-1]))}"


def _find_document_path(table: object, location: tuple[str | int, ...], *, keep_last: bool) -> KeyPath:
    """Return those parts of a pydantic `location` that occur in the document.

    pydantic also adds the tags of unions to a location, and a document does not contain them.

    Args:
        table: the parsed document.
        location: path of an error as pydantic gives it.
        keep_last: True to keep the last part even if the document lacks it. This is for errors about a missing or
            unknown key.
    """
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
    """Return the models that are possible for the table at a pydantic `location`: several for a union."""
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
        # A collection type of this project, such as `Indexes(tuple[IndexSettings, ...])`.
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
    """Return a value in TOML-like notation on one line, shortened and without control characters.

    If a key of `path` may hold a secret, return a placeholder instead of the value.
    """
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
