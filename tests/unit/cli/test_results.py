"""Rows of releases and files: problems first, newest versions first, counts, and each reason once."""

from __future__ import annotations

from packaging.version import Version

from assay.cli.results import FileResult, make_file_rows, make_release_rows
from assay.cli.tables import Mark, Marked


def make(project: str, version: str | None, filename: str, status: str = "approved", **changes: str) -> FileResult:
    code = changes.pop("code", "")
    return FileResult(
        project=project,
        version=None if version is None else Version(version),
        filename=filename,
        status=status,
        codes=(code,) if code else (),
        rule=changes.get("rule", "everything"),
        evidence=changes.get("evidence", "none"),
        because=changes.get("because", "-"),
    )


def list_releases(results: list[FileResult]) -> list[tuple[object, ...]]:
    return [row[:2] for row in make_release_rows(results)]


def test_problems_are_first_then_undecided_then_by_project_and_version() -> None:
    results = [
        make("b", "1.9", "b1"),
        make("b", "1.10", "b2"),
        make("b", "1.10rc1", "b3"),
        make("a", "2.0", "a1"),
        make("z", "1.0", "z1", "undecided"),
        make("y", "1.0", "y1", "missing"),
        make("b", "0.1", "b4", "withheld"),
        make("b", "0.1", "b5"),
        make("c", None, "c1"),
        make("c", "1", "c2"),
    ]
    assert list_releases(results) == [
        ("b", "0.1"),
        ("y", "1.0"),
        ("z", "1.0"),
        ("a", "2.0"),
        ("b", "1.10"),
        ("b", "1.10rc1"),
        ("b", "1.9"),
        ("c", "1"),
        ("c", "-"),
    ]
    assert [row[0] for row in make_file_rows(results)][:3] == ["b4", "b5", "y1"]


def test_a_row_counts_the_files_of_a_release_and_has_the_mark_of_the_worst() -> None:
    results = [
        make("a", "1", "one", "withheld", rule="x", evidence="acme/a"),
        make("a", "1", "two", "undecided", rule="y"),
        make("a", "1.0", "three"),
        make("a", "1", "four"),
    ]
    (row,) = make_release_rows(results)
    assert row[2] == Marked("1 withheld, 1 undecided, 2 approved", Mark.BAD)
    assert row[3] == "everything, x, y"
    assert row[4] == "none, acme/a"
    assert make_release_rows(results[1:])[0][2] == Marked("1 undecided, 2 approved", Mark.UNSURE)
    assert make_release_rows(results[2:])[0][2] == Marked("2 approved", Mark.GOOD)


def test_more_than_three_signers_are_counted() -> None:
    (row,) = make_release_rows([make("a", "1", str(n), evidence=f"acme/{n}") for n in range(5)])
    assert row[4] == "acme/0, acme/1, acme/2 and 2 more"


def test_a_reason_of_all_files_is_written_once() -> None:
    young = [make("a", "1", name, "withheld", code="too-young", because="[too-young] 8 days") for name in "xyz"]
    assert make_release_rows(young)[0][5] == "[too-young] 8 days"
    older = make("a", "1", "w", "withheld", code="too-young", because="[too-young] 9 days")
    assert make_release_rows([*young, older])[0][5] == "4 files, such as w: [too-young] 9 days"
    other = make("a", "1", "v", "withheld", code="forged", because="[forged] bad")
    good = make("a", "1", "u")
    assert make_release_rows([*young, other, good])[0][5] == "1 file: [forged] bad 3 files: [too-young] 8 days"
    assert make_release_rows([good])[0][5] == "-"
    assert make_release_rows([good, make("a", "1", "t", because="a note")])[0][5] == "1 file: a note"
