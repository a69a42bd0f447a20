"""On which line of a TOML document each key and array element stands, for errors that say where. Pure.

Reads documents that have been parsed before, and so need not be checked again.
"""

from __future__ import annotations

import json
import re
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]


_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}'  # strings over several lines
    r'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\''
    r"|\#[^\n]*|\n|[\[\]{},=.]|[^\s\[\]{},=.\#\"']+",
    re.DOTALL,
)


class Places:
    """The line on which each key and array element of a TOML document begins; the document has been parsed before."""

    def __init__(self, text: str) -> None:
        self.found: dict[KeyPath, int] = {}
        self._tokens: list[tuple[str, int]] = []
        self._at = 0
        self._arrays: dict[KeyPath, int] = {}
        line, end = 1, 0
        for match in _TOKEN.finditer(text):
            line += text.count("\n", end, match.start())
            if not match[0].startswith("#"):
                self._tokens.append((match[0], line))
            line += match[0].count("\n")
            end = match.end()
        self._document()

    def _next(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _line(self) -> int:
        return self._tokens[min(self._at, len(self._tokens) - 1)][1]

    def _document(self) -> None:
        table: KeyPath = ()
        while self._at < len(self._tokens):
            if self._next() == "\n":
                self._at += 1
            elif self._next() == "[":
                table = self._header()
            else:
                self._assignment(table)

    def _header(self) -> KeyPath:
        line = self._line()
        is_array = self._tokens[self._at + 1][0] == "["
        self._at += 2 if is_array else 1
        keys = self._keys()
        self._at += 2 if is_array else 1
        path: KeyPath = ()
        for position, key in enumerate(keys):
            path = (*path, key)
            if is_array and position == len(keys) - 1:
                self._arrays[path] = self._arrays.get(path, 0) + 1
            self.found.setdefault(path, line)
            if path in self._arrays:
                path = (*path, self._arrays[path] - 1)
                self.found.setdefault(path, line)
        return path

    def _keys(self) -> list[str]:
        keys = [_unquoted(self._next())]
        self._at += 1
        while self._next() == ".":
            keys.append(_unquoted(self._tokens[self._at + 1][0]))
            self._at += 2
        return keys

    def _assignment(self, table: KeyPath) -> None:
        line = self._line()
        path = (*table, *self._keys())
        for end in range(len(table) + 1, len(path) + 1):
            self.found.setdefault(path[:end], line)
        self._at += 1
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        if self._next() in {"[", "{"}:
            self._elements(path, "]" if self._next() == "[" else "}")
            return
        while self._next() not in {",", "]", "}", "\n", ""}:
            self._at += 1

    def _elements(self, path: KeyPath, closing: str) -> None:
        self._at += 1
        count = 0
        while self._next() not in {closing, ""}:
            if self._next() in {"\n", ","}:
                self._at += 1
            elif closing == "}":
                self._assignment(path)
            else:
                self.found.setdefault((*path, count), self._line())
                self._value((*path, count))
                count += 1
        self._at += 1


def _unquoted(key: str) -> str:
    if key.startswith('"'):
        return str(json.loads(key)) if "\\U" not in key else key[1:-1]
    return key.strip("'")
