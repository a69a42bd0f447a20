"""Tests of the language rule: no text has an expression that tests/words.txt lists, and the search finds each kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.project import language
from tests.project.language import Passage, allowed, find_in_file, find_in_passage, list_files, read_markdown


def _findings(text: str) -> list[str]:
    return [finding.advice for finding in find_in_passage("page", Passage(1, text))]


def test_no_text_has_an_expression_to_avoid() -> None:
    files = list_files()
    assert len(files) > 500, "the files were found"
    assert [str(finding) for path in files for finding in find_in_file(path)] == []


@pytest.mark.parametrize(
    "text",
    [
        "Drop a header that is none.",
        "The value is none.",
        "Serve whoever has a token.",
        "Tell who asks.",
        "A fault of ours.",
        "Then nobody waits.",
        "Let somebody else try.",
        "Open to everybody.",
        "Give him the rest.",
        "Return what is there.",
        "Kept for good.",
        "What the index sent.",
        "Return it. Where it is absent, return None.",
        "How long a request waits.",
        "That is the first one.",
        "Whether it is stale",
        "Return it.\n- How it works\n",
        "A table:\n| key | What it sets |\n",
        "Then the client is\ntold the reason.",
        "The source hands over to the next.",
        "The reader goes on at the next byte.",
        "The list is made anew.",
        "All files but for the last.",
        "A process of its own.",
        "The test stands beside its twin.",
    ],
)
def test_an_expression_to_avoid_is_found(text: str) -> None:
    assert _findings(text) != []


@pytest.mark.parametrize(
    "text",
    [
        "Drop an invalid header.",
        "Return None if `value` is None.",
        "Evidence is never taken for good evidence.",
        "Serve clients that have a token. The clients wait.",
        "Where is the policy?",
        "The proxy sends `nobody` and ``what is there``.",
        "This is the history of the file.",
        "A list:\n- Which file is it?\n- How does it work?\n",
        "The `_` stands for `-`. The mock stands in for the index.",
        "A name that an index owns but for which it has no project.",
    ],
)
def test_a_plain_text_is_not(text: str) -> None:
    assert _findings(text) == []


def test_headings_and_code_of_a_page_are_exempt_and_its_prose_is_not() -> None:
    page = "# What pip prints\n\n```sh\nserve nobody\n```\n\nNobody waits.\n"
    (passage,) = read_markdown(page)
    (finding,) = find_in_passage("page", passage)
    assert finding.line == 7


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('"""Nobody waits."""\n', 1),
        ("def f():\n    return 1  # for whoever asks\n", 1),
        ('TEXT = "the file of somebody else here"\n', 1),
        ('class A:\n    x = 1\n    """What it holds."""\n', 1),
        ('class A:\n    x = 1\n    """Of those who sign."""\n', 1),
        ('class A:\n    x = 1\n    """Trust root. By default, none."""\n', 0),
        ('def f(x):\n    return f"{x} is not for everybody today"\n', 1),
        ('def f(x):\n    """Return x."""\n    return "nobody"\n', 0),
        ('x = "a"  # nobody waits\n', 1),
        ('x = "b  # nobody waits"\n', 0),
        ("# One line. Then for\n# ever and ever.\nx = 1\n", 1),
        ("x = 1\n# What it holds.\n", 1),
        ("x = 1\n# That value is the default.\n", 0),
    ],
)
def test_docstrings_comments_and_messages_are_searched(
    source: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language, "ROOT", tmp_path)
    module = tmp_path / "proxy" / "assay" / "module.py"
    module.parent.mkdir(parents=True)
    module.write_text(source)
    assert len(find_in_file(module)) == count


@pytest.mark.parametrize(
    ("name", "source", "line"),
    [
        ("pyproject.toml", 'a = "b"\nc = "d"  # for whoever asks\n', 2),
        ("pyproject.toml", 'a = "b # whoever"\n', None),
        ("config/policy.toml", "# Rules for\n# ever.\n", 1),
        (".github/bug.yml", "a:\n  description: Tell somebody\n", 2),
        ("helm/assay/values.yaml", "a: 1  # nobody\n", 1),
        ("helm/assay/values.schema.json", '{\n"description": "nobody waits"}\n', 2),
        ("helm/assay/templates/NOTES.txt", "Installed.\n{{ .Values.nobody }}\nTell somebody.\n", 3),
        ("helm/assay/templates/_names.tpl", "\n{{/* What it is. */}}\n", 2),
        ("helm/assay/templates/_names.tpl", '{{ fail "expected a name for everybody, found none" }}\n', 1),
        ("Makefile", "x:  ## tell somebody\n", 1),
        ("Dockerfile", "RUN true\n# Where it runs.\n", 2),
        ("tests/install.sh", 'echo "${#a}"  # of ours\n', 1),
        ("tests/corpus/README.md", "Nobody.\n", 1),
        ("tests/corpus/provenance/a.py", "# nobody waits\n", None),
        ("requirements.lock", "# nobody\n", None),
    ],
)
def test_comments_and_texts_of_other_files_are_searched(
    name: str, source: str, line: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language, "ROOT", tmp_path)
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    assert [finding.line for finding in find_in_file(path)] == ([] if line is None else [line])


def test_an_exception_exempts_its_line_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "ROOT", tmp_path)
    page = tmp_path / "README.md"
    page.write_text("A quotation:\nnobody waits.\n\nThen nobody answers.\n")
    assert [finding.line for finding in find_in_file(page)] == [2, 4]
    monkeypatch.setattr(language, "allowed", lambda: (("README.md", "nobody waits", "a quotation"),))
    assert [finding.line for finding in find_in_file(page)] == [4]


def test_every_exception_is_needed_and_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    exceptions = allowed()
    assert all(reason.strip() for _, _, reason in exceptions)
    monkeypatch.setattr(language, "allowed", tuple)
    for path, part, _ in exceptions:
        lines = (ROOT / path).read_text("utf-8").splitlines()
        assert any(part in lines[finding.line - 1] for finding in find_in_file(ROOT / path)), f"{path}: {part!r}"
