"""Progress: nothing in the first second, then a bar on a terminal and lines elsewhere."""

from __future__ import annotations

import io

import pytest

from assay.cli.progress import ProgressReport, track_items


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def report(stream: io.StringIO, *times: float) -> str:
    """Report once at each time, and return what is printed until the end of the operation."""
    clock = iter([0.0, *times])
    with ProgressReport("files read", stream=stream, clock=lambda: next(clock)) as progress:
        for done, _ in enumerate(times, start=1):
            progress(done, len(times))
    return stream.getvalue()


def test_a_fast_command_prints_nothing() -> None:
    assert report(io.StringIO(), 0.1, 0.9) == ""
    assert report(Terminal(), 0.1, 0.9) == ""


def test_a_log_gets_a_line_every_five_seconds() -> None:
    assert report(io.StringIO(), 0.5, 1.0, 1.5, 5.9, 6.0, 6.1) == "files read: 2 of 6 …\nfiles read: 5 of 6 …\n"


def test_a_terminal_gets_a_bar_that_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    shown = report(Terminal(), 0.5, 1.0, 1.2)
    assert "files read" in shown
    assert "3/3" in shown
    assert shown.endswith(("\x1b[2K", "\x1b[?25h", "\x1b[1A\x1b[2K"))


def test_a_terminal_without_cursor_movement_gets_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert report(Terminal(), 1.0, 2.0, 9.0) == "files read …\n"


def test_items_are_counted_without_a_total(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("assay.cli.progress.DELAY_SECONDS", -1.0)
    assert list(track_items("abc", "entries read")) == ["a", "b", "c"]
    assert capsys.readouterr().err == "entries read: 1 …\n"
