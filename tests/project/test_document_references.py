"""Files refer only to documents and sections of the repository, and documents only to its tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from tests.deploy.repository import list_repository_files
from tests.paths import ROOT

OWN = "tests/project/test_document_references.py"
"""This file, which names missing documents on purpose."""
SUFFIXES = {".md", ".py", ".sh", ".toml", ".tpl", ".txt", ".yaml", ".yml"}
NAMES = {".dockerignore", ".gitignore", ".helmignore", "Dockerfile", "Makefile", "run"}
ADDRESS = re.compile(r"\b[a-z]+://\S+")
MENTION = re.compile(r"(?<![\w./:@*-])(?:\.{1,2}/)*(?:(?:[\w.-]+/)*[\w.-]*\w\.md\b|docs/[\w./-]*\w)")
SECTION = re.compile(r'([\w./-]+\.md),[\s#]+"([^"\n]+)"')
"""Citation of a section: ``docs/page.md, "Section"``, which a line break may divide."""
ELSEWHERE = re.compile(r"\bDESIGN\b|\bissue \d{1,2}\b")
"""Former documents outside the repository that were cited without a filename."""


def speaking_files() -> Iterator[tuple[str, str]]:
    """Yield the path and text of every file that is written by hand, without data and lock files."""
    for path in list_repository_files():
        if PurePosixPath(path).suffix in SUFFIXES or PurePosixPath(path).name in NAMES:
            yield path, (ROOT / path).read_text("utf-8")


def mentions(text: str) -> set[str]:
    """Return the documents of this repository that a text mentions, without those in URLs."""
    return set(MENTION.findall(ADDRESS.sub("", text)))


def resolve(mention: str, by: str) -> str | None:
    """Return the path of a mentioned document, which may be relative to the file, to the root, or to any folder."""
    known = list_repository_files()
    parts: list[str] = []
    for part in (PurePosixPath(by).parent / mention).parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    for path in ("/".join(parts), mention.removeprefix("./")):
        if path in known or any(each.startswith(f"{path}/") for each in known):
            return path
    endings = [path for path in known if path.endswith(f"/{mention}")]
    return endings[0] if endings else None


def dangling(text: str, by: str) -> set[str]:
    return {mention for mention in mentions(text) if resolve(mention, by) is None} | set(ELSEWHERE.findall(text))


def headings(path: str) -> set[str]:
    return set(re.findall(r"(?m)^#+ (.+?)\s*$", (ROOT / path).read_text("utf-8")))


def missing_sections(text: str, by: str) -> set[tuple[str, str]]:
    """Return the cited sections that do not exist in their documents."""
    cited = {(mention, section) for mention, section in SECTION.findall(text) if resolve(mention, by)}
    return {(mention, section) for mention, section in cited if section not in headings(str(resolve(mention, by)))}


def test_no_file_refers_to_a_document_that_there_is_not() -> None:
    found = {path: dangling(text, path) for path, text in speaking_files() if path != OWN}
    assert {path: names for path, names in found.items() if names} == {}


def test_no_file_cites_a_section_that_there_is_not() -> None:
    found = {path: missing_sections(text, path) for path, text in speaking_files() if path != OWN}
    assert {path: sections for path, sections in found.items() if sections} == {}


def test_no_document_names_a_test_that_there_is_not() -> None:
    texts = dict(speaking_files())
    defined = {name for text in texts.values() for name in re.findall(r"(?m)^ *(?:async )?def (test_\w+)", text)}
    defined |= {PurePosixPath(path).stem for path in texts}
    named = {
        (path, name)
        for path, text in texts.items()
        if path.endswith(".md")
        for name in re.findall(r"\b(test_\w+)\b", text)
    }
    assert len(named) > 50
    assert {(path, name) for path, name in named if name not in defined} == set()


def test_enough_is_read_for_this_to_mean_something() -> None:
    read = dict(speaking_files())
    assert {"Dockerfile", "Makefile", "pyproject.toml", "README.md", "proxy/assay/policy/decide.py", ".ci/run"} <= set(
        read
    )
    assert sum(len(mentions(text)) for text in read.values()) > 120
    assert sum(len(SECTION.findall(text)) for text in read.values()) > 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('the ratchet (POLICY.md, "Ratchet")', {"POLICY.md"}),
        ("(DESIGN, promise 2)", {"DESIGN"}),
        ("the bars of issue 8", {"issue 8"}),
        ("see docs/nothing.md and reference/verification.md.", {"docs/nothing.md", "reference/verification.md"}),
        ("[page](../nothing.md#section)", {"../nothing.md"}),
        ("written to docs/pictures/", {"docs/pictures"}),
        ("docs/policy-semantics.md, policy.md, `bundled/README.md`, docs/images, docs/reference.py", set()),
        ("https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md", set()),
        ("*.md, README.md.", set()),
    ],
)
def test_the_twin_what_dangles_is_found_and_what_does_not_is_not(text: str, expected: set[str]) -> None:
    assert dangling(text, "proxy/assay/policy/decide.py") == expected


def test_the_twin_a_section_that_is_not_there_is_found() -> None:
    text = 'docs/policy-semantics.md, "Ratchet"; docs/policy-semantics.md,\n    # "Rachet"; POLICY.md, "Laws"'
    assert missing_sections(text, "proxy/assay/units.py") == {("docs/policy-semantics.md", "Rachet")}
