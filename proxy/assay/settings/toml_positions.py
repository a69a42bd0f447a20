"""Line numbers of the keys and array elements of a TOML document, for error messages. Pure.

The reader assumes a valid document, because `tomllib` has parsed it before.
"""

from __future__ import annotations

import json
import re
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]


_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}'  # multi-line strings
    r'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\''
    r"|\#[^\n]*|\n|[\[\]{},=.]|[^\s\[\]{},=.\#\"']+",
    re.DOTALL,
)


class TomlPositions:
    """Reader of a valid TOML document. Its attribute `lines` has the line number of each key and array element.

    Line numbers begin at 1. For a value of several lines, the number is that of its first line.
    """

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._tokens: list[tuple[str, int]] = []
        self._index = 0
        self._array_lengths: dict[KeyPath, int] = {}
        line, end = 1, 0
        for match in _TOKEN.finditer(text):
            line += text.count("\n", end, match.start())
            if not match[0].startswith("#"):
                self._tokens.append((match[0], line))
            line += match[0].count("\n")
            end = match.end()
        self._read_document()

    def _peek(self) -> str:
        return self._tokens[self._index][0] if self._index < len(self._tokens) else ""

    def _current_line(self) -> int:
        return self._tokens[min(self._index, len(self._tokens) - 1)][1]

    def _read_document(self) -> None:
        table: KeyPath = ()
        while self._index < len(self._tokens):
            if self._peek() == "\n":
                self._index += 1
            elif self._peek() == "[":
                table = self._read_header()
            else:
                self._read_assignment(table)

    def _read_header(self) -> KeyPath:
        line = self._current_line()
        is_array = self._tokens[self._index + 1][0] == "["
        self._index += 2 if is_array else 1
        keys = self._read_keys()
        self._index += 2 if is_array else 1
        path: KeyPath = ()
        for position, key in enumerate(keys):
            path = (*path, key)
            if is_array and position == len(keys) - 1:
                self._array_lengths[path] = self._array_lengths.get(path, 0) + 1
            self.lines.setdefault(path, line)
            if path in self._array_lengths:
                path = (*path, self._array_lengths[path] - 1)
                self.lines.setdefault(path, line)
        return path

    def _read_keys(self) -> list[str]:
        keys = [_unquote(self._peek())]
        self._index += 1
        while self._peek() == ".":
            keys.append(_unquote(self._tokens[self._index + 1][0]))
            self._index += 2
        return keys

    def _read_assignment(self, table: KeyPath) -> None:
        line = self._current_line()
        path = (*table, *self._read_keys())
        for end in range(len(table) + 1, len(path) + 1):
            self.lines.setdefault(path[:end], line)
        self._index += 1
        self._read_value(path)

    def _read_value(self, path: KeyPath) -> None:
        if self._peek() in {"[", "{"}:
            self._read_elements(path, "]" if self._peek() == "[" else "}")
            return
        while self._peek() not in {",", "]", "}", "\n", ""}:
            self._index += 1

    def _read_elements(self, path: KeyPath, closing: str) -> None:
        self._index += 1
        count = 0
        while self._peek() not in {closing, ""}:
            if self._peek() in {"\n", ","}:
                self._index += 1
            elif closing == "}":
                self._read_assignment(path)
            else:
                self.lines.setdefault((*path, count), self._current_line())
                self._read_value((*path, count))
                count += 1
        self._index += 1


def _unquote(key: str) -> str:
    if key.startswith('"'):
        return str(json.loads(key)) if "\\U" not in key else key[1:-1]
    return key.strip("'")
