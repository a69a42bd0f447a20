"""Names of log events and metrics: documented, and no old name in use."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.telemetry import metrics
from tests.paths import ROOT

_EMITTERS = {"event", "warning", "security", "failure", "_emit", "_log_failure"}
_EXEMPT = ("CHANGELOG.md", "tests/corpus/", "tests/storage/")
_BINARY = {".png", ".webp", ".gz", ".lock", ".ico"}
_RENAMED = re.compile(r"^\s*\| (?:event|metric) `([\w-]+)`(?P<part>[^|]*) \| `([\w-]+)` \|$", re.MULTILINE)


def _emitted_names() -> Iterator[str]:
    for path in sorted((ROOT / "proxy" / "assay").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in _EMITTERS:
                yield from _constants(node.args[0])


def _constants(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(name)):
            yield name
        case ast.IfExp(body=first, orelse=second):
            yield from _constants(first)
            yield from _constants(second)
        case _:
            return


def _documented_names(text: str) -> list[str]:
    return re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)


def _renamed() -> dict[str, str]:
    """Old names by new name, without those that still name something else."""
    found = _RENAMED.findall((ROOT / "CHANGELOG.md").read_text())
    return {old: new for old, part, new in found if not part.strip()}


def _tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [
        ROOT / name
        for name in listed.stdout.split("\0")
        if name and not name.startswith(_EXEMPT) and Path(name).suffix not in _BINARY
    ]


def test_every_event_is_documented_and_every_documented_event_exists() -> None:
    documented = _documented_names((ROOT / "docs" / "events.md").read_text())
    emitted = set(_emitted_names()) | {"request"}
    assert len(emitted) > 60, "the search has found the events"
    assert emitted == set(documented)
    assert len(documented) == len(set(documented)), "an event is documented once"
    assert [name for name in emitted if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name)] == []


@pytest.mark.parametrize(("source", "found"), [('event("a-b", x=1)', ["a-b"]), ('other("a-b")', [])])
def test_the_search_finds_events(
    source: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "proxy" / "assay"
    package.mkdir(parents=True)
    (package / "module.py").write_text(source)
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert list(_emitted_names()) == found


def test_no_old_name_is_left() -> None:
    renamed = _renamed()
    assert len(renamed) >= 40, "the table in CHANGELOG.md was found"
    old = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, renamed))})(?:_bucket|_sum|_count|_created)?(?![\w-])")
    used = {
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in _tracked_files()
        if path.is_file()
        for match in old.finditer(path.read_text(errors="replace"))
    }
    assert used == set()


def test_every_new_name_is_in_use() -> None:
    exposed = metrics.render_exposition().decode()
    events = set(_emitted_names())
    missing = [
        new for new in _renamed().values() if (new not in exposed if new.startswith("assay_") else new not in events)
    ]
    assert missing == []
