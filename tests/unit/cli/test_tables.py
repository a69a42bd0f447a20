"""Tables: they fit a terminal, keep one line for each row in a pipe, and print no control characters of an index."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from assay.cli.tables import Mark, Marked, OutputStyle, describe_output, fold, format_table

HEADER = ("PROJECT", "FILES", "BECAUSE")
REASON = "[too-young] the file is 8 days old, but the rule requires 14 days; allowed from 2026-12-04 21:10 UTC"
ROWS = [("widget", Marked("1 withheld", Mark.BAD), REASON), ("gadget", Marked("2 approved", Mark.GOOD), "-")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_pipe_each_row_is_one_line_without_colour() -> None:
    assert format_table(HEADER, ROWS) == [
        "PROJECT  FILES       BECAUSE",
        f"widget   1 withheld  {REASON}",
        "gadget   2 approved  -",
    ]


def test_on_a_narrow_terminal_the_last_column_is_below_the_row() -> None:
    assert format_table(HEADER, ROWS, OutputStyle(width=60)) == [
        "PROJECT  FILES",
        "widget   1 withheld",
        "    [too-young] the file is 8 days old, but the rule",
        "    requires 14 days; allowed from 2026-12-04 21:10 UTC",
        "gadget   2 approved",
    ]
    assert format_table(HEADER, ROWS, OutputStyle(width=200)) == format_table(HEADER, ROWS)


def test_a_long_name_is_folded_and_complete() -> None:
    name = "torch-2.9.1+cu130-cp313-cp313t-manylinux_2_28_x86_64.manylinux2014_x86_64.whl"
    lines = format_table(("FILE", "VERDICT", "BECAUSE"), [(name, "approved", "-")], OutputStyle(width=40))
    assert "".join(line.split()[0] for line in lines[1:]) == name
    assert all(len(line) <= 40 for line in lines)


def test_a_column_with_one_text_becomes_a_line_on_a_narrow_terminal() -> None:
    header = ("PROJECT", "RULE", "FILES", "BECAUSE")
    rows = [(name, "every other package", Marked("1 approved", Mark.GOOD), "-") for name in ("widget", "gadget")]
    assert format_table(header, rows, OutputStyle(width=40)) == [
        "PROJECT  FILES",
        "widget   1 approved",
        "gadget   1 approved",
        "RULE of all rows: every other package",
    ]
    assert "RULE" in format_table(header, rows[:1], OutputStyle(width=40))[0], "one row says it in its column"
    assert format_table(header, rows, OutputStyle(width=60)) == format_table(header, rows)


def test_colours_mark_the_verdict_only() -> None:
    lines = format_table(HEADER, ROWS, OutputStyle(width=60, color=True))
    assert lines[0] == "\x1b[1mPROJECT  FILES\x1b[0m"
    assert lines[1] == "widget   \x1b[31m1 withheld\x1b[0m"
    assert lines[-1] == "gadget   \x1b[32m2 approved\x1b[0m"


@pytest.mark.parametrize(
    ("environ", "stream", "color"),
    [
        ({"TERM": "xterm-256color"}, Terminal(), True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, Terminal(), False),
        ({"TERM": "xterm", "NO_COLOR": ""}, Terminal(), True),
        ({"TERM": "dumb"}, Terminal(), False),
        ({"TERM": "xterm"}, io.StringIO(), False),
        ({"TERM": "xterm", "FORCE_COLOR": "1"}, io.StringIO(), True),
        ({"TERM": "xterm", "FORCE_COLOR": "1", "NO_COLOR": "1"}, io.StringIO(), False),
    ],
)
def test_the_environment_decides_about_colour(environ: dict[str, str], stream: io.StringIO, color: bool) -> None:
    style = describe_output(stream, environ)
    assert style.color is color
    assert (style.width is None) == (not stream.isatty())


def test_a_terminal_has_the_width_of_its_variable() -> None:
    assert describe_output(Terminal(), {"COLUMNS": "71", "LINES": "20"}).width == 71
    assert describe_output(io.StringIO(), {"COLUMNS": "71"}).width is None


@pytest.mark.parametrize(
    "hostile", ["\x1b[31mred", "\x1b]0;title\x07", "a\r\nb", "\u202egpj", "[red]x[/red]", "\ud800"]
)
@pytest.mark.parametrize("width", [None, 30])
@pytest.mark.parametrize("mark", [None, Mark.BAD])
def test_hostile_text_stays_text(hostile: str, width: int | None, mark: Mark | None) -> None:
    cell = hostile if mark is None else Marked(hostile, mark)
    for color in (False, True):
        whole = "\n".join(format_table(("A", "B"), [(cell, hostile * 20)], OutputStyle(width=width, color=color)))
        own = re.sub(r"\x1b\[(?:1|31|0)m", "", whole) if color else whole
        assert all(character.isprintable() or character == "\n" for character in own)
        assert "[31mred" not in hostile or "\\x1b[31mred" in own


TEXT = st.text(max_size=60)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=5), st.integers(30, 200))
def test_every_line_fits_and_no_character_is_lost(rows: list[tuple[str, ...]], width: int) -> None:
    rows = [tuple(f"{number}{cell}" for cell in row) for number, row in enumerate(rows)]
    lines = format_table(HEADER, rows, OutputStyle(width=width))
    assert max(map(cell_len, lines)) <= width
    plain = format_table(HEADER, rows)
    expected = sorted(re.sub(r"\s", "", "".join(plain)))
    found = sorted(re.sub(r"\s", "", "".join(lines)))
    if "BECAUSE" in lines[0]:
        assert lines == plain or found == expected
    else:
        missing = len(expected) - len(found) - len("BECAUSE")
        assert missing == sum(row[-1].strip() == "-" for row in rows)


@given(st.text(max_size=80), st.integers(2, 30))
@example("00-0\u2e80", 2)  # after the break, the rest of the line is still too wide
def test_folding_loses_only_spaces_at_ends_of_lines(text: str, width: int) -> None:
    lines = fold(text, width, frozenset(" -"))
    assert lines
    assert all(cell_len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
