"""Columns for people. What comes from others is escaped: a filename must not move the cursor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def escape_unprintable(text: str) -> str:
    """`text` with everything that is not printable escaped."""
    return (
        text
        if text.isprintable()
        else "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
        )
    )


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of left-aligned columns, two spaces apart; the last column is as wide as it is."""
    cells = [tuple(header), *(tuple(escape_unprintable(cell) for cell in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
