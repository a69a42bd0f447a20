"""Text tables for a terminal or a pipe. Unprintable characters are escaped, so that no filename can move the cursor.

On a terminal, a table fits the width. A column that has the same text in all rows becomes a line at the end. The last
column, which has the longest text, moves below each row. Long cells are folded. In a pipe, each row is one line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple, TextIO, TypeAlias, TypeVar

from rich.cells import cell_len
from rich.console import Console

_GAP: Final = 2
"""Number of spaces between two columns."""
_INDENT: Final = 4
"""Indentation of the text below a row."""
_MIN_COLUMN_WIDTH: Final = 8
_EMPTY: Final = "-"
_BREAK_AFTER: Final = frozenset(" -_./,@+:")
"""Characters after which a long cell may be folded. Text is folded only after spaces."""


class Mark(Enum):
    """Meaning of a cell, which has a colour on a terminal. The value is the code of the colour (ECMA-48, SGR)."""

    GOOD = 32
    UNSURE = 33
    BAD = 31


class Marked(NamedTuple):
    """Cell with a meaning."""

    text: str
    mark: Mark


Cell: TypeAlias = str | Marked
_ItemT = TypeVar("_ItemT")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputStyle:
    """Properties of the stream that a table is printed to."""

    width: int | None = None
    """Width of the terminal in columns; None for a pipe or a file, whose lines have any length."""
    color: bool = False


def describe_output(stream: TextIO, environ: Mapping[str, str]) -> OutputStyle:
    """Return the properties of a stream. ``NO_COLOR``, ``FORCE_COLOR`` and ``TERM=dumb`` decide whether it has colour.

    ``NO_COLOR`` takes precedence (no-color.org).
    """
    console = Console(file=stream, _environ=dict(environ))
    color = console.color_system is not None and not environ.get("NO_COLOR")
    return OutputStyle(width=console.width if stream.isatty() else None, color=color)


def escape_unprintable(text: str) -> str:
    r"""Return `text` with each unprintable character replaced by its Python escape, such as ``\x1b``."""
    return (
        text
        if text.isprintable()
        else "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
        )
    )


def print_table(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print a table to standard output, in its width and colour."""
    for line in format_for_output(header, rows):
        print(line)


def format_for_output(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> list[str]:
    """Return the lines of a table for standard output, in its width and colour."""
    return format_table(header, rows, describe_output(sys.stdout, os.environ))


_PLAIN: Final = OutputStyle()


def format_table(header: Sequence[str], rows: Iterable[Sequence[Cell]], style: OutputStyle = _PLAIN) -> list[str]:
    """Return the lines of a table. Columns are left-aligned and two spaces apart.

    With a width, a line is longer only if the table has too many columns for it.
    """
    cells = [[_escape(cell) for cell in row] for row in rows]
    widths = _measure([header, *([text for text, _ in row] for row in cells)])
    below: list[str] = [""] * len(cells)
    footer: list[str] = []
    if style.width is not None and _total(widths) > style.width:
        constant = _find_constant_columns(cells)
        footer = [
            f"{header[column]} of all rows: {text}" for column in constant if (text := cells[0][column][0]) != _EMPTY
        ]
        header = _drop(header, constant)
        cells, widths = [_drop(row, constant) for row in cells], _drop(widths, constant)
    if style.width is not None and _total(widths) > style.width:
        if len(header) > 1 and widths[-1] > _MIN_COLUMN_WIDTH:
            below = [row[-1][0] for row in cells]
            header, widths, cells = header[:-1], widths[:-1], [row[:-1] for row in cells]
        widths = _shrink(widths, style.width)
    lines = [_paint(line, 1, color=style.color) for line in _format_row([(name, None) for name in header], widths)]
    for row, text in zip(cells, below, strict=True):
        lines += _format_row(row, widths, color=style.color)
        if text not in {"", _EMPTY}:
            folded = fold(text, max(_MIN_COLUMN_WIDTH, (style.width or 0) - _INDENT), frozenset(" "))
            lines += [" " * _INDENT + line for line in folded]
    return lines + [line for text in footer for line in fold(text, style.width or 0, _BREAK_AFTER)]


def _find_constant_columns(cells: Sequence[Sequence[tuple[str, Mark | None]]]) -> list[int]:
    """Return the columns whose cells all have the same text. The first column and marked cells do not count."""
    if len(cells) <= 1:
        return []
    return [
        number
        for number, column in enumerate(zip(*cells, strict=True))
        if number and column[0][1] is None and len(set(column)) == 1
    ]


def _drop(row: Sequence[_ItemT], columns: Sequence[int]) -> list[_ItemT]:
    return [item for number, item in enumerate(row) if number not in columns]


def _escape(cell: Cell) -> tuple[str, Mark | None]:
    return (escape_unprintable(cell.text), cell.mark) if isinstance(cell, Marked) else (escape_unprintable(cell), None)


def _measure(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _shrink(widths: Sequence[int], limit: int) -> list[int]:
    """Return widths whose total is at most `limit`: the widest columns get narrower, down to a minimum."""
    shrunk = [min(width, limit) for width in widths]
    while _total(shrunk) > limit and max(shrunk) > _MIN_COLUMN_WIDTH:
        last_widest = len(shrunk) - 1 - shrunk[::-1].index(max(shrunk))
        shrunk[last_widest] -= 1
    return shrunk


def _format_row(row: Sequence[tuple[str, Mark | None]], widths: Sequence[int], *, color: bool = False) -> list[str]:
    """Return the lines of a row, whose cells are folded to the widths."""
    folded = [fold(text, width, _BREAK_AFTER) for (text, _), width in zip(row, widths, strict=True)]
    lines = []
    for number in range(max(map(len, folded))):
        parts = []
        for (_, mark), pieces, width in zip(row, folded, widths, strict=True):
            piece = pieces[number] if number < len(pieces) else ""
            padding = " " * (width - cell_len(piece))
            parts.append(piece + padding if mark is None else _paint(piece, mark.value, color=color) + padding)
        lines.append((" " * _GAP).join(parts).rstrip())
    return lines


def _paint(text: str, code: int, *, color: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if color and text else text


def fold(text: str, width: int, break_after: frozenset[str]) -> list[str]:
    """Return the lines of `text`, each at most `width` columns wide; at least one line.

    A line ends after one of the characters in `break_after` if it has one, and otherwise anywhere.
    """
    lines: list[str] = []
    start = used = 0
    breakable = 0
    for position, character in enumerate(text):
        size = cell_len(character)
        while used + size > width and position > start:
            end = breakable if breakable > start else position
            lines.append(text[start:end].rstrip(" "))
            start, breakable = end, 0
            used = cell_len(text[start:position])
        used += size
        if character in break_after:
            breakable = position + 1
    lines.append(text[start:].rstrip(" "))
    return lines
