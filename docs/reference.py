"""The reference of configuration and policy, written from the models: ``python -m docs.reference``, ``make reference``.

Owns no word about any key: types, defaults and bounds are the models', meanings their attributes' docstrings. It walks
`Configuration` and `Policy`, so that a new table is described as soon as it is one. A test holds the committed pages to
what is written here.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from packaging.specifiers import SpecifierSet
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from assay import indexes
from assay.attestation.config import IssuerUrl
from assay.config import Configuration
from assay.policy.language import values
from assay.policy.language.model import Policy
from assay.policy.requirements.predicates import PredicateType
from assay.publishers.base import NumericId, Uuid
from assay.settings import Settings
from assay.units import Duration, Size, format_duration, format_size

HERE: Final = Path(__file__).parent
_KINDS: Final = (
    ("duration", Duration),
    ("size", Size),
    ("address", indexes.BaseUrl),
    ("host or host:port", indexes.HostPort),
    ("name pattern", indexes.ProjectPattern),
    ("name pattern", values.NamePattern),
    ("issuer", IssuerUrl),
    ("SHA-256", values.Digest),
    ("SHA-256", values.Fingerprint),
    ("predicate", PredicateType),
    ("digits", NumericId),
    ("UUID", Uuid),
)
"""What an annotated type is called; it is one if its own annotations come first."""
_PLAIN: Final = {
    bool: "true or false",
    int: "whole number",
    str: "string",
    Path: "path",
    timedelta: "duration",
    datetime: "date or time",
    SpecifierSet: "version specifier",
}
_BOUNDS: Final = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_LONG: Final = 10_000
"""A number that is easier to read with underscores."""
_WRITTEN: Final = "<!-- Written by `make reference` from the models: change their docstrings, not this page. -->"
_CONFIGURATION: Final = f"""{_WRITTEN}
# Configuration

One TOML file: `assay serve --config proxy.toml`, or `ASSAY_CONFIG=proxy.toml`; it may be empty or absent. Relative
paths start at the file. [config/proxy.toml](../config/proxy.toml) shows every key in use; `assay check` says what a
file means, or what is wrong with it and where.

**Environment.** A variable goes over the file; the tables below name each. `__` descends and `_` is `-`, so
`ASSAY_SERVER__PORT` is `server.port`. Tables and lists can be given in TOML only. `ASSAY_CONFIG` and `ASSAY_POLICY`
name the two files. An unknown `ASSAY_X__Y` is an error; an `ASSAY_*` without `__` is ignored, since Kubernetes
injects such. `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY` and `SSL_CERT_FILE` are honoured.

**Values.** A *size* is bytes or such as `"50 GiB"`; a *duration* such as `"10 minutes"`, `"1 day"` or `"PT10M"`; a
*name pattern* a project's name with `*` and `?`, compared as PEP 503 normalises names; an *address* an http or https
URL without user name and query.
"""
_POLICY: Final = f"""{_WRITTEN}
# Policy

One TOML file, named by `policy` in the configuration or by `ASSAY_POLICY`; obeyed within a second of its change.
[config/policy.toml](../config/policy.toml) is one to begin with, `assay policy schema` writes a JSON Schema for
editors, `assay check` says what is wrong with a file and where. [policy-semantics.md](policy-semantics.md) states how
the keys work together.

**Values.** A *duration* is such as `"3 days"`, `"12 hours"` or `"P3D"`; a *date or time* is TOML's: a date without a
time ends with that day, UTC, and a time needs its offset; `from` is inclusive, `until` and `before` are exclusive; a
*name pattern* is a project's name with `*` and `?`, compared as PEP 503 normalises names; a *version specifier* is
such as `">=1,<2"`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table to be described."""

    model: type[BaseModel]
    path: tuple[str, ...] = ()
    """Keys down to it."""
    is_list: bool = False
    variables: bool = True
    """Whether environment variables reach it."""


@dataclass(slots=True)
class _Walk:
    """A walk over one root's tables: what has been described, and where."""

    variables: bool
    seen: dict[type[BaseModel], str] = field(default_factory=dict)
    kinds: dict[type[BaseModel], Table] = field(default_factory=dict)
    """Tables that stand for one kind of several, at the end."""

    def pages(self, table: Table) -> Iterator[str]:
        """The table's section, then those of the tables in it."""
        self.seen[table.model] = heading(table)
        yield self._section(table)
        for each in _inner(table):
            if each.model in self.seen:
                continue
            if tag_of(each.model):
                self.kinds.setdefault(each.model, each)
            else:
                yield from self.pages(each)
        if not table.path:
            yield from (self._section(each) for each in self.kinds.values())

    def _section(self, table: Table) -> str:
        base = next((each for each in table.model.__mro__[1:] if each in self.seen), None)
        inherited = set(base.model_fields) if base is not None and issubclass(base, BaseModel) else set[str]()
        own = sorted(
            (name for name in table.model.model_fields if name not in inherited), key=lambda name: name != "kind"
        )
        columns = ["key", "type", "default", "meaning"] + (["variable"] if self.variables and table.variables else [])
        rows = [self._row(table, name) for name in own]
        lines = [_line(columns), _line("---" for _ in columns), *(_line(row[: len(columns)]) for row in rows)]
        title = f"## {heading(table)}\n" if table.path else ""
        also = f"\nAnd every key of {self.seen[base]}.\n" if base is not None else ""
        return "\n".join([title, _prose(inspect.getdoc(table.model) or ""), "", *lines, also])

    def _row(self, table: Table, name: str) -> list[str]:
        stated = table.model.model_fields[name]
        key = stated.alias or name
        annotation = get_type_hints(table.model, include_extras=True)[name]
        kind = kind_of(annotation)
        nested = any(each for each in _models(annotation))
        variable = "" if nested or kind.startswith("array") else variable_of((*table.path, key))
        return [f"`{key}`", kind, _default(stated, kind), _prose(meaning(table.model, name)), variable]


def pages() -> dict[str, str]:
    """Each page by its filename."""
    walks = ((_CONFIGURATION, Configuration, "configuration.md"), (_POLICY, Policy, "policy.md"))
    return {
        filename: "\n".join([head, *_Walk(variables=root is Configuration).pages(Table(model=root))]).rstrip() + "\n"
        for head, root, filename in walks
    }


def heading(table: Table) -> str:
    """As it stands in TOML."""
    if tag := tag_of(table.model):
        return f"`{table.path[-1]}` of kind `{tag}`"
    name = ".".join(table.path)
    return f"`[[{name}]]`" if table.is_list else f"`[{name}]`"


def tag_of(model: type[BaseModel]) -> str | None:
    """Which kind of several a table's `kind` says that it is."""
    stated = model.model_fields.get("kind")
    return (
        str(get_args(stated.annotation)[0]) if stated is not None and get_origin(stated.annotation) is Literal else None
    )


def variable_of(path: tuple[str, ...]) -> str:
    """The environment variable of a key."""
    if len(path) == 1:
        return "`ASSAY_POLICY`" if path == ("policy",) else ""
    return f"`ASSAY_{'__'.join(part.upper().replace('-', '_') for part in path)}`"


def meaning(model: type[BaseModel], name: str) -> str:
    """The docstring of a model's attribute, or of the table that it is; empty where there is none."""
    for each in model.__mro__:
        if found := _attributes(each).get(name):
            return found
    inner = next(_models(get_type_hints(model, include_extras=True)[name]), None)
    return inspect.getdoc(inner) or "" if inner is not None else ""


def _attributes(model: type) -> dict[str, str]:
    """Docstrings below a class's attributes."""
    if not issubclass(model, Settings) or model is Settings:
        return {}
    (body,) = (each.body for each in ast.parse(textwrap.dedent(inspect.getsource(model))).body if hasattr(each, "body"))
    found = {}
    for stated, below in pairwise(body):
        match stated, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
            case _:
                pass
    return found


def kind_of(annotation: object) -> str:
    """What a key's value is, in words."""
    metadata = getattr(annotation, "__metadata__", ())
    named = [name for name, kind in _KINDS if metadata and _begins(annotation, kind)]
    if named:
        return named[0]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return ", ".join([kind_of(arguments[0]), *_bounds(metadata)])
    if origin in {Union, UnionType}:
        return _either(kind_of(each) for each in arguments if each is not NoneType)
    if origin is Literal:
        return _either(f"`{_toml(each)}`" for each in arguments)
    if origin is tuple:
        return f"array of {kind_of(arguments[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "tables by name"
    if isinstance(annotation, type):
        return _plain(annotation)
    return "string"


def _plain(kind: type) -> str:
    if issubclass(kind, StrEnum):
        return _either(f'`"{each}"`' for each in kind)
    if issubclass(kind, BaseModel):
        return "table"
    if issubclass(kind, tuple):
        return "array of table"
    return next((name for plain, name in _PLAIN.items() if issubclass(kind, plain)), "network")


def _begins(annotation: object, kind: object) -> bool:
    """Whether `annotation` is `kind`, perhaps with more annotations behind it."""
    own, known = getattr(annotation, "__metadata__", ()), getattr(kind, "__metadata__", ())
    return get_args(annotation)[0] == get_args(kind)[0] and own[: len(known)] == known


def _either(kinds: Iterable[str]) -> str:
    *most, last = dict.fromkeys(kinds)
    return f"{', '.join(most)} or {last}" if most else last


def _bounds(metadata: Iterable[object]) -> list[str]:
    """What a number must be."""
    limits = [limit for each in metadata if isinstance(each, FieldInfo) for limit in each.metadata]
    return [
        f"{words} {getattr(limit, bound):,}"
        for limit in limits
        for bound, words in _BOUNDS.items()
        if hasattr(limit, bound)
    ]


def _default(stated: FieldInfo, kind: str) -> str:
    if stated.is_required():
        return "**required**"
    default = stated.default
    if default is None or default is PydanticUndefined or isinstance(default, BaseModel) or "table" in kind:
        return ""
    if isinstance(default, timedelta):
        return f'`"{format_duration(default)}"`'
    if kind == "size":
        return f'`"{format_size(default).replace(".0 ", " ")}"`'
    return f"`{_toml(default)}`"


def _toml(value: Any) -> str:  # noqa: ANN401 - whatever a default is
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value:_}" if value >= _LONG else str(value)
        case tuple():
            return f"[{', '.join(_toml(each) for each in value)}]"
        case _:
            return f'"{value}"'


def _inner(table: Table) -> Iterator[Table]:
    """The tables within a table, in order."""
    for name, annotation in get_type_hints(table.model, include_extras=True).items():
        if name not in table.model.model_fields:
            continue
        key = table.model.model_fields[name].alias or name
        is_mapping = kind_of(annotation) == "tables by name"
        is_list = not is_mapping and "array" in kind_of(annotation)
        for each in _models(annotation):
            path = (*table.path, key, *(["NAME"] if is_mapping else []))
            yield Table(model=each, path=path, is_list=is_list, variables=table.variables and not is_list)


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    """The models of the tables that a value may be."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        if issubclass(annotation, BaseModel):
            yield annotation
        for base in getattr(annotation, "__orig_bases__", ()) if issubclass(annotation, tuple) else ():
            yield from _models(base)
        return
    for argument in get_args(annotation):
        yield from _models(argument)


def _prose(text: str) -> str:
    """A docstring's words in one line, as Markdown."""
    line = " ".join(text.split()).replace("``", "`").replace("; None:", "; left out:").replace("None:", "Left out:")
    return re.sub(r"^`\[[^`]*`: ", "", line).replace("|", "\\|")


def _line(cells: Any) -> str:  # noqa: ANN401 - any iterable of text
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    for filename, content in pages().items():
        (HERE / filename).write_text(content, "utf-8")
