"""Text tables for a terminal. Unprintable characters are escaped, so that no filename can move the cursor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def escape_unprintable(text: str) -> str:
    r"""Return `text` with each unprintable character replaced by its Python escape, such as ``\x1b``."""
    return (
        text
        if text.isprintable()
        else "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
        )
    )


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table. Columns are left-aligned and two spaces apart."""
    cells = [tuple(header), *(tuple(escape_unprintable(cell) for cell in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
