"""Search documentation, comments, docstrings and texts for users for expressions that tests/words.txt lists.

Run ``python -m tests.project.language PATH…`` from the repository's root to check files or directories; without a path,
it checks everything. There are three rules: no listed expression; no sentence that starts with a question word or
"That"; no docstring that starts with a preposition or conjunction. Headings, questions, code and quotations are exempt.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from tests.paths import ROOT, TESTS

_FIRST_WORDS = re.compile(
    r"(?:^|(?<=[.;:!?] )|(?<=[.!?]\n)|(?<=\n\n)|(?<=\n- )|(?<=^- )|(?<=\| ))\s*"
    r"(?P<word>What|Who|Whom|Whether|Where|How|That)\b(?P<rest>[^.!?]*[.!?]?)"
)
_FRAGMENT = re.compile(r"\s*(?:Of|As|By|Till|And|But|So|Nothing|Those)\b")
_CODE = re.compile(r"``[^`]*``|`[^`]*`|\"[^\"\n]*\"|“[^”]*”|<[^>\n]*>|https?://\S+", re.DOTALL)
_SECTION = re.compile(r"^\s*(?:Args|Returns|Raises|Yields|Attributes):\s*$", re.MULTILINE)
_HASH_COMMENT = re.compile(r"(?:^|(?<=\s))##?\s(?P<text>.*)$")
_TEMPLATE_COMMENT = re.compile(r"\{\{-?\s*/\*(?P<text>.*?)\*/\s*-?\}\}", re.DOTALL)
_USER_VALUE = re.compile(r"^\s*(?:- )?\"?(?:description|summary|title|value)\"?:\s*(?P<text>.*)$")
_MIN_USER_TEXT_WORDS = 4
_DATA = (
    "tests/corpus/attestations/",
    "tests/corpus/github-attestations/",
    "tests/corpus/provenance/",
    "tests/corpus/sigstore-conformance/",
    "tests/storage/fd54e99/",
    "tests/words",
)
_CODE_ROOTS = ("proxy/", "benchmarks/", "demo/", "docs/", "tests/")
_COMMENTED = (".toml", ".yaml", ".yml", ".sh", ".in", ".tpl")
_COMMENTED_NAMES = frozenset(
    {"Makefile", "Dockerfile", "NOTES.txt", ".dockerignore", ".gitignore", ".helmignore", ".ci/run"}
)
_USER_JSON = frozenset({"helm/assay/values.schema.json", "helm/assay/files/dashboard.json"})


@dataclass(frozen=True, slots=True)
class Finding:
    """An expression that should be replaced."""

    path: str
    line: int
    text: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text!r}: {self.advice}"


@dataclass(frozen=True, slots=True)
class Passage:
    """A text with the line on which it starts."""

    line: int
    text: str
    is_comment: bool = False
    """True for comments, in which "That" may refer to the code beside the comment."""
    is_docstring: bool = False
    """True for docstrings, which must not start with a preposition or conjunction."""


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    lines = (TESTS / "words.txt").read_text("utf-8").splitlines()
    rows = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return tuple((re.compile(pattern.replace(" ", r"\s+"), re.IGNORECASE), advice) for pattern, advice in rows)


@cache
def allowed() -> tuple[tuple[str, str, str], ...]:
    """Return the exceptions: path, part of the sentence, reason."""
    lines = (TESTS / "words-allowed.txt").read_text("utf-8").splitlines()
    rows = [tuple(line.split("\t")) for line in lines if line and not line.startswith("#")]
    return tuple((path, part, reason) for path, part, reason in rows)


def find_in_passage(path: str, passage: Passage) -> Iterator[Finding]:
    """Yield the findings of one text."""
    text = _CODE.sub(lambda code: re.sub(r"[^\n]", "x", code[0]), passage.text)

    def make(match: re.Match[str], advice: str) -> Finding:
        return Finding(path, passage.line + text.count("\n", 0, match.start()), _around(passage.text, match), advice)

    for pattern, advice in _patterns():
        for match in pattern.finditer(text):
            yield make(match, advice)
    if passage.is_docstring and (fragment := _FRAGMENT.match(text)) is not None:
        yield make(fragment, "start with an imperative, or with a noun that says what it is")
    for first in _FIRST_WORDS.finditer(text):
        is_question = first["rest"].rstrip().endswith("?")
        if not is_question and not (passage.is_comment and first["word"] == "That"):
            yield make(first, f"starts with {first['word']}: name the subject first")


def _around(text: str, match: re.Match[str]) -> str:
    return " ".join(text[max(0, match.start() - 30) : match.end() + 40].split())


def read_markdown(source: str) -> Iterator[Passage]:
    """Yield the prose of a Markdown page: no code blocks and no headings."""
    blanked = re.sub(
        r"^```.*?^```", lambda block: re.sub(r"[^\n]", "", block[0]), source, flags=re.DOTALL | re.MULTILINE
    )
    blanked = re.sub(r"^#.*$", "", blanked, flags=re.MULTILINE)
    yield Passage(1, blanked)


def read_docstrings(source: str) -> Iterator[Passage]:
    """Yield the docstrings of a module, including those of attributes."""
    for node in ast.walk(ast.parse(source)):
        for child in getattr(node, "body", []) if isinstance(getattr(node, "body", None), list) else []:
            if (
                isinstance(child, ast.Expr)
                and isinstance(child.value, ast.Constant)
                and isinstance(child.value.value, str)
            ):
                yield Passage(child.value.lineno, _SECTION.sub("", child.value.value), is_docstring=True)


def read_comments(source: str) -> Iterator[Passage]:
    """Yield the comments of a Python module; consecutive lines of a comment are one passage."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = [
        (token.start[0], token.string.lstrip("#").strip(), token.line.lstrip().startswith("#"))
        for token in tokens
        if token.type == tokenize.COMMENT
    ]
    yield from _join_lines(found)


def read_hash_comments(source: str) -> Iterator[Passage]:
    """Yield the comments of a TOML, YAML, shell, make or Docker file; a ``#`` inside double quotes is no comment."""
    found = []
    for number, line in enumerate(source.splitlines(), 1):
        for match in _HASH_COMMENT.finditer(line):
            before = line[: match.start()]
            if before.count('"') % 2 == 0:
                found.append((number, match["text"].strip(), not before.strip()))
                break
    yield from _join_lines(found)


def _join_lines(comments: Sequence[tuple[int, str, bool]]) -> Iterator[Passage]:
    """Yield passages of comments given as line number, text, and whether the comment is alone on its line."""
    block: list[str] = []
    first = 0
    for number, text, is_alone in comments:
        if block and is_alone and number == first + len(block):
            block.append(text)
            continue
        if block:
            yield Passage(first, "\n".join(block), is_comment=True)
        block, first = [text], number
    if block:
        yield Passage(first, "\n".join(block), is_comment=True)


def read_template(source: str) -> Iterator[Passage]:
    """Yield the comments and the quoted texts of a Helm template, such as error messages."""
    for match in _TEMPLATE_COMMENT.finditer(source):
        yield Passage(source.count("\n", 0, match.start()) + 1, match["text"].strip(), is_comment=True)
    for match in re.finditer(r'"(?P<text>(?:[^"\\\n]|\\.)*)"', source):
        if _is_user_text(match["text"]):
            yield Passage(source.count("\n", 0, match.start()) + 1, match["text"])


def read_user_values(source: str) -> Iterator[Passage]:
    """Yield the values of keys such as ``description`` in YAML and JSON that people read."""
    for number, line in enumerate(source.splitlines(), 1):
        if (match := _USER_VALUE.match(line)) is not None:
            yield Passage(number, match["text"].strip().rstrip(",").strip('"'))


def read_user_texts(source: str) -> Iterator[Passage]:
    """Yield string literals of several words that are not docstrings: messages, pages and help."""
    tree = ast.parse(source)
    documentation = {
        id(child.value)
        for node in ast.walk(tree)
        for child in (getattr(node, "body", []) if isinstance(getattr(node, "body", None), list) else [])
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
    }
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=values):
                text = "".join(str(each.value) if isinstance(each, ast.Constant) else "x" for each in values)
            case ast.Constant(value=str(text)) if id(node) not in documentation and id(node) not in parts:
                pass
            case _:
                continue
        if _is_user_text(text):
            yield Passage(node.lineno, text)


def _is_user_text(text: str) -> bool:
    return len(re.findall(r"[A-Za-z]{2,}", text)) >= _MIN_USER_TEXT_WORDS


def find_readers(name: str) -> tuple[Callable[[str], Iterator[Passage]], ...]:
    """Return the functions that read the passages of a file; none if the file is not searched."""
    path = PurePosixPath(name)
    if name.startswith(_DATA) and path.name != "README.md":
        return ()
    if path.suffix == ".md":
        return (read_markdown,)
    if path.suffix == ".py":
        readers = (read_docstrings, read_comments) if name.startswith(_CODE_ROOTS) else ()
        return (*readers, read_user_texts) if name.startswith("proxy/") else readers
    if name in _USER_JSON:
        return (read_user_values,)
    if path.name == "NOTES.txt":
        return (lambda source: iter((Passage(1, re.sub(r"\{\{.*?\}\}", "x", source)),)),)
    if path.suffix == ".tpl":
        return (read_template,)
    if path.suffix in _COMMENTED or path.name in _COMMENTED_NAMES or name in _COMMENTED_NAMES:
        has_values = name.startswith((".github/", "helm/"))
        return (read_hash_comments, read_user_values) if has_values else (read_hash_comments,)
    return ()


def find_in_file(path: Path) -> list[Finding]:
    """Return the findings of a file that no exception covers."""
    name = path.relative_to(ROOT).as_posix()
    if not (readers := find_readers(name)):
        return []
    source = path.read_text("utf-8")
    lines = source.splitlines()
    found = [each for read in readers for passage in read(source) for each in find_in_passage(name, passage)]
    return [
        each
        for each in found
        if not any(each.path == path and part in lines[each.line - 1] for path, part, _ in allowed())
    ]


def list_files(arguments: Sequence[str] = ()) -> list[Path]:
    """Return the tracked files below the given paths, or all, that are searched."""
    command = ["git", "ls-files", "-z", "--", *(arguments or (".",))]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [ROOT / name for name in listed if name and find_readers(name)]


def main() -> int:
    """Print the findings; return 1 if there are any."""
    found = [finding for path in list_files(sys.argv[1:]) for finding in find_in_file(path)]
    print("\n".join(map(str, found)) or "no findings")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
