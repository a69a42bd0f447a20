"""Replacement of the URLs in the text of a lockfile. All other characters stay as they are. Pure.

The text is edited in place, because no writer reproduces the layout of each tool. The parsed content decides which
strings are URLs of indexes and files. The n-th such string of the content is the n-th in the text; the edited text is
parsed again, and must differ from the original in these URLs only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, NamedTuple, TypeAlias

from packaging.utils import canonicalize_name

from assay.errors import ConfigurationError
from assay.lockfiles.addresses import Side, Translator, UntranslatableError
from assay.settings import parse_toml
from assay.simple.model import NormalizedName

_MAX_PROBLEMS_SHOWN: Final = 5
_MAX_URL_SHOWN_CHARS: Final = 200
_KEYS: Final = frozenset({"url", "index", "registry"})
"""Keys whose values can be URLs of indexes and files, in any format."""
_MAX_KEY_CHARS: Final = 40
"""Maximum distance in characters between the start of a key and its value; more than all formats use."""
_TOML_TOKEN: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""' r"|'''.*?'''" r'|"(?:[^"\\\n]|\\[^\n])*"' r"|'[^'\n]*'" r"|#[^\n]*", re.DOTALL
)
_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_KEY_BEFORE: Final = re.compile(r"(?<![\w-])[\"']?(url|index|registry)[\"']?[ \t]*[=:][ \t]*$")
_PIPFILE: Final = "Pipfile.lock"
_UNREAD: Final = "expected the layout that the tool writes, in which each URL can be found; lock again with the tool"


class _Kind(Enum):
    INDEX = auto()
    FILE = auto()
    OTHER = auto()
    """URL that leads to no file of an index: a repository, an archive, a home page."""


class _Found(NamedTuple):
    """URL in the parsed content of a lockfile."""

    table: dict[str, Any]
    key: str
    kind: _Kind
    projects: Sequence[NormalizedName]
    """Projects that the URL serves."""

    @property
    def value(self) -> str:
        return str(self.table[self.key])


class _Place(NamedTuple):
    """Table of the parsed content, with the keys that lead to it and the tables around it."""

    table: dict[str, Any]
    path: tuple[str, ...]
    package: Mapping[str, Any]
    """Table of the package that contains this table; the table itself if it is that of a package."""
    name: str
    """Name in the innermost table that has one."""


class _Parsed(NamedTuple):
    content: dict[str, Any]
    urls: Sequence[_Found]
    """URLs of the content, in the order of the text."""


class _Token(NamedTuple):
    key: str
    value: str
    start: int
    end: int


_Classifier: TypeAlias = Callable[[str, str, _Place, Mapping[str, Any]], tuple[_Kind, Sequence[NormalizedName]]]
"""Function that returns the kind of the URL with a key and a value in a table, and the projects that it serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewrittenLockfile:
    """Lockfile with translated URLs."""

    text: str
    changed: int
    """Number of URLs that differ from those before."""
    translatable: int
    """Number of URLs of indexes and files."""
    others: tuple[str, ...]
    """URLs that lead to no file of an index. They are as before."""


def rewrite_lockfile(text: str, kind: str, source: str, translator: Translator) -> RewrittenLockfile:
    """Translate the URLs of indexes and files in the text of a lockfile.

    Args:
        text: content of the lockfile, with its own line ends; untrusted.
        kind: format of the lockfile (`Lockfile.kind`). ``requirements.txt`` is not supported.
        source: path of the lockfile, for messages.
        translator: translator of each URL.

    Raises:
        ConfigurationError: a URL cannot be translated, or the layout of the text is unusual.
    """
    if kind not in _CLASSIFIERS:
        raise ConfigurationError(f"{source}: expected {', '.join(_CLASSIFIERS)}, found {kind}, which names no URL")
    before = _parse(text, kind, source)
    found = before.urls
    tokens = list(_iter_tokens(text, _JSON_TOKEN if kind == _PIPFILE else _TOML_TOKEN, source))
    if [(each.key, each.value) for each in found] != [(each.key, each.value) for each in tokens]:
        raise ConfigurationError(f"{source}: {_UNREAD}")
    values = _translate_all(found, source, translator)
    if kind == "uv.lock":
        values = [_fix_slash(each, value, translator.to) for each, value in zip(found, values, strict=True)]
    edited = _replace(text, tokens, values)
    _require_equal_otherwise(before, _parse(edited, kind, source), values, source)
    return RewrittenLockfile(
        text=edited,
        changed=sum(token.value != value for token, value in zip(tokens, values, strict=True)),
        translatable=sum(each.kind is not _Kind.OTHER for each in found),
        others=tuple(
            dict.fromkeys(
                token.value
                for each, token in zip(found, tokens, strict=True)
                if each.kind is _Kind.OTHER and "://" in token.value
            )
        ),
    )


def _translate_all(found: Sequence[_Found], source: str, translator: Translator) -> list[str]:
    """Return the new value of each URL.

    Raises:
        ConfigurationError: at least one URL cannot be translated. The message has the first ones.
    """
    values: list[str] = []
    problems: dict[str, None] = {}
    for each in found:
        try:
            values.append(_translate(each, translator))
        except UntranslatableError as error:
            problems[f"{each.value[:_MAX_URL_SHOWN_CHARS]!r}: {error}"] = None
    if problems:
        shown = [*problems][:_MAX_PROBLEMS_SHOWN]
        more = [f"and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
        raise ConfigurationError("\n  ".join([f"{source}: URLs that cannot be translated:", *shown, *more]))
    return values


def _translate(each: _Found, translator: Translator) -> str:
    match each.kind:
        case _Kind.INDEX:
            return translator.translate_index(each.value, each.projects)
        case _Kind.FILE:
            if not each.projects:
                raise UntranslatableError("its package has no name")
            return translator.translate_file(each.value, each.projects[0])
        case _Kind.OTHER:
            return each.value


def _replace(text: str, tokens: Sequence[_Token], values: Sequence[str]) -> str:
    """Return the text with a new value for each token. A token whose value does not change stays as it is written."""
    parts: list[str] = []
    position = 0
    for token, value in zip(tokens, values, strict=True):
        if token.value != value:
            quote = text[token.start]
            parts += [text[position : token.start], quote, value, quote]
            position = token.end
    return "".join([*parts, text[position:]])


def _require_equal_otherwise(before: _Parsed, after: _Parsed, values: Sequence[str], source: str) -> None:
    """Raise if the contents differ in more than the URLs. The URLs of both are removed.

    Raises:
        ConfigurationError: the edited text does not have the expected content.
    """
    is_expected = [each.value for each in after.urls] == list(values)
    for each in (*before.urls, *after.urls):
        each.table[each.key] = None
    if not is_expected or before.content != after.content:
        raise ConfigurationError(f"{source}: {_UNREAD}")


def _iter_tokens(text: str, pattern: re.Pattern[str], source: str) -> Iterator[_Token]:
    """Yield each string of one line that is the value of one of `_KEYS`, in the order of the text."""
    for token in pattern.finditer(text):
        written = token[0]
        if written.startswith(("#", '"""', "'''")):
            continue
        key = _KEY_BEFORE.search(text, max(0, token.start() - _MAX_KEY_CHARS), token.start())
        if key is not None:
            yield _Token(key[1], _decode(written, source), token.start(), token.end())


def _decode(written: str, source: str) -> str:
    """Return the value of a string as it is written in TOML or JSON."""
    if "\\" not in written or written.startswith("'"):
        return written[1:-1]
    return str(parse_toml(f"value = {written}", source)["value"])


def _parse(text: str, kind: str, source: str) -> _Parsed:
    content = _parse_json(text, source) if kind == _PIPFILE else parse_toml(text, source)
    return _Parsed(content, list(_iter_urls(content, _CLASSIFIERS[kind])))


def _parse_json(text: str, source: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{source}: expected JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{source}: expected an object, found {type(content).__name__}")
    return content


def _iter_urls(content: dict[str, Any], classify: _Classifier) -> Iterator[_Found]:
    """Yield each string whose key is one of `_KEYS`, in the order of the text."""
    pending: list[tuple[object, str, _Place]] = [(content, "", _Place({}, (), {}, ""))]
    while pending:
        value, key, around = pending.pop()
        if isinstance(value, dict):
            path = (*around.path, key) if key else around.path
            name = str(value.get("name", around.name))
            package = value if len(path) == 1 else around.package
            place = _Place(value, path, package, name)
            pending += reversed([(each, name, place) for name, each in value.items()])
        elif isinstance(value, list):
            pending += reversed([(each, key, around) for each in value])
        elif isinstance(value, str) and key in _KEYS and isinstance(around.table.get(key), str):
            yield _Found(around.table, key, *classify(key, value, around, content))


def _name_projects(place: _Place) -> list[NormalizedName]:
    return [canonicalize_name(place.name)] if place.name else []


def _classify_uv(
    key: str, value: str, place: _Place, _content: Mapping[str, Any]
) -> tuple[_Kind, Sequence[NormalizedName]]:
    projects = _name_projects(place)
    registry = _get_table(place.package, "source").get("registry")
    if key == "registry" and place.path[-1:] == ("source",) and "://" in value:
        return _Kind.INDEX, projects
    if key == "index" and (place.path[:2] == ("package", "metadata") or place.path[:1] == ("manifest",)):
        return _Kind.INDEX, projects
    if key == "url" and place.path in {("package", "wheels"), ("package", "sdist")} and "://" in str(registry):
        return _Kind.FILE, projects
    return _Kind.OTHER, ()


def _classify_poetry(
    key: str, _value: str, place: _Place, _content: Mapping[str, Any]
) -> tuple[_Kind, Sequence[NormalizedName]]:
    is_index = key == "url" and place.path == ("package", "source") and place.table.get("type", "legacy") == "legacy"
    return (_Kind.INDEX, _name_projects(place)) if is_index else (_Kind.OTHER, ())


def _classify_pdm(
    key: str, _value: str, place: _Place, _content: Mapping[str, Any]
) -> tuple[_Kind, Sequence[NormalizedName]]:
    is_file = key == "url" and place.path == ("package", "files") and not _DIRECT_KEYS & place.package.keys()
    return (_Kind.FILE, _name_projects(place)) if is_file else (_Kind.OTHER, ())


def _classify_pylock(
    key: str, _value: str, place: _Place, _content: Mapping[str, Any]
) -> tuple[_Kind, Sequence[NormalizedName]]:
    if key == "index" and place.path == ("packages",):
        return _Kind.INDEX, _name_projects(place)
    if key == "url" and place.path in {("packages", "wheels"), ("packages", "sdist")}:
        return _Kind.FILE, _name_projects(place)
    return _Kind.OTHER, ()


def _classify_pipfile(
    key: str, _value: str, place: _Place, content: Mapping[str, Any]
) -> tuple[_Kind, Sequence[NormalizedName]]:
    if key != "url" or place.path != ("_meta", "sources"):
        return _Kind.OTHER, ()
    return _Kind.INDEX, _list_pipfile_projects(place.table, content)


def _list_pipfile_projects(source: Mapping[str, Any], content: Mapping[str, Any]) -> list[NormalizedName]:
    """Return the names of the packages that Pipfile.lock takes from a source. The first source is the default."""
    sources = _get_table(content, "_meta").get("sources")
    default = sources[0] if isinstance(sources, list) and sources else None
    names = [source.get("name"), *([None] if source is default else [])]
    return [
        canonicalize_name(name)
        for section in content
        if section != "_meta"
        for name, entry in _get_table(content, section).items()
        if isinstance(entry, dict) and not _DIRECT_KEYS & entry.keys() and entry.get("index") in names
    ]


def _get_table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _fix_slash(each: _Found, value: str, to: Side) -> str:
    """Return the URL of an index as uv.lock has it, if it was translated.

    uv compares the text with its settings. The documented setting for the proxy ends with a slash, and the default
    setting, https://pypi.org/simple, does not.
    """
    if each.kind is not _Kind.INDEX or each.value == value:
        return value
    return value.rstrip("/") + ("/" if to is Side.PROXY else "")


_DIRECT_KEYS: Final = frozenset({"git", "hg", "svn", "bzr", "path", "file", "url"})
"""Keys of a package that is not from an index, in pdm.lock and Pipfile.lock."""
_CLASSIFIERS: Final[Mapping[str, _Classifier]] = {
    "uv.lock": _classify_uv,
    "poetry.lock": _classify_poetry,
    "pdm.lock": _classify_pdm,
    _PIPFILE: _classify_pipfile,
    "pylock.toml": _classify_pylock,
}
