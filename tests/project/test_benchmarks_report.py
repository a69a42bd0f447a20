"""Figures of the benchmarks' table, and URLs of peers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.peers import Running
from benchmarks.report import number
from benchmarks.servers import Server


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.0000"),
        (0.05, "0.0500"),
        (0.5, "0.50"),
        (12, "12.0"),
        (1234, "1,234"),
        (-3.1619, "-3.16"),
        (-62.8, "-62.8"),
    ],
)
def test_a_negative_figure_is_rounded_like_a_positive_one(value: float, text: str) -> None:
    assert number(value) == text


def test_a_cache_that_translates_nothing_has_the_paths_of_the_index(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as process:
        server = Server("cache", 8000, process, tmp_path)
    plain = Running("cache", server, "/simple/", translates=False)
    assert plain.url("/files/127.0.0.1:9000/files/a/a-1.0.whl") == "http://127.0.0.1:8000/files/a/a-1.0.whl"
    assert plain.url("/simple/a/") == "http://127.0.0.1:8000/simple/a/"
    assert Running("own", server, "/local/simple/").url("/simple/a/") == "http://127.0.0.1:8000/local/simple/a/"
