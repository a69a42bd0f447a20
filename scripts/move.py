"""Rewrite imports and dotted names after modules were moved: ``python scripts/move.py TABLE.json [FILE …]``.

The table maps old dotted module names to new ones ("modules"), and single names that went to another module
("names": "old.module:name" to "new.module:name"). Running it twice changes nothing more. Git moves the files.
"""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

Edit = tuple[int, int, str]
"""(start, end, text), in characters of the file."""


class Table:
    """Where modules and names are now."""

    def __init__(self, path: Path) -> None:
        table = json.loads(path.read_text())
        self.modules: dict[str, str] = table["modules"]
        self.names: dict[str, str] = table.get("names", {})
        self.roots = {name.partition(".")[0] for name in self.modules}
        first = "|".join(sorted(map(re.escape, self.roots)))
        self.dotted = re.compile(rf"(?<![\w./-])(?:{first})(?:\.[a-z_]+)+\b(?![-(])")

    def target(self, module: str, name: str) -> tuple[str, str]:
        """Return the module and name to import instead of `name` of `module`."""
        if f"{module}.{name}" in self.modules.values():
            return module, name  # it was renamed already
        if (moved := self.names.get(f"{module}:{name}")) is not None:
            new_module, _, new_name = moved.partition(":")
            return new_module, new_name or name
        if (moved := self.modules.get(f"{module}.{name}")) is not None:
            package, _, new_name = moved.rpartition(".")
            return package, new_name
        return self.modules.get(module, module), name

    def rename(self, match: re.Match[str]) -> str:
        """Return the new form of a dotted name found in a string or comment."""
        if any(match[0] == new or match[0].startswith(f"{new}.") for new in self.modules.values()):
            return match[0]  # it was renamed already
        parts = match[0].split(".")
        for length in range(len(parts), 1, -1):
            if (moved := self.modules.get(".".join(parts[:length]))) is not None:
                return ".".join([moved, *parts[length:]])
        return match[0]


def imports(tree: ast.Module, table: Table, offset: list[int]) -> Iterator[Edit | tuple[str, str]]:
    """Yield edits of import statements, and (old, new) for modules that are bound under another name now."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in table.roots:
            groups: dict[str, list[str]] = {}
            for alias in node.names:
                module, name = table.target(node.module, alias.name)
                bound = alias.asname
                if bound is None and name != alias.name:
                    yield alias.name, name
                groups.setdefault(module, []).append(name if bound in {None, name} else f"{name} as {bound}")
            indent = " " * node.col_offset
            lines = [f"from {module} import {', '.join(names)}" for module, names in groups.items()]
            yield _span(node, offset, f"\n{indent}".join(lines))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in table.modules:
                    yield _span(alias, offset, table.modules[alias.name])
                    if alias.asname is None:
                        yield alias.name, table.modules[alias.name]


def _span(node: ast.stmt | ast.alias, offset: list[int], text: str) -> Edit:
    end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
    return offset[node.lineno - 1] + node.col_offset, offset[end_line - 1] + end_column, text


def texts(source: str, table: Table, offset: list[int]) -> Iterator[Edit]:
    """Yield edits of dotted module names in strings and comments."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in {tokenize.STRING, tokenize.COMMENT}:
            new = table.dotted.sub(table.rename, token.string)
            if new != token.string:
                yield offset[token.start[0] - 1] + token.start[1], offset[token.end[0] - 1] + token.end[1], new


def names(tree: ast.Module, renamed: dict[str, str], offset: list[int]) -> Iterator[Edit]:
    """Yield edits of the uses of modules that are bound under another name now."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in renamed:
            start = offset[node.lineno - 1] + node.col_offset
            yield start, start + len(node.id), renamed[node.id]


def rewrite(source: str, table: Table) -> str:
    """Return a module's text with everything renamed."""
    tree = ast.parse(source)
    if not source.isascii():  # ast counts bytes
        return _rewrite_lines(source, tree, table)
    return _apply(source, tree, table, _offsets(source))


def _offsets(source: str) -> list[int]:
    total, offset = 0, []
    for line in source.splitlines(keepends=True):
        offset.append(total)
        total += len(line)
    return offset


def _rewrite_lines(source: str, tree: ast.Module, table: Table) -> str:
    lines = source.splitlines(keepends=True)
    for node in ast.walk(tree):  # bytes to characters
        if hasattr(node, "col_offset"):
            node.col_offset = len(lines[node.lineno - 1].encode()[: node.col_offset].decode())
            if node.end_lineno:
                node.end_col_offset = len(lines[node.end_lineno - 1].encode()[: node.end_col_offset].decode())
    return _apply(source, tree, table, _offsets(source))


def _apply(source: str, tree: ast.Module, table: Table, offset: list[int]) -> str:
    edits: set[Edit] = set()
    renamed: dict[str, str] = {}
    for found in imports(tree, table, offset):
        if len(found) == 2:  # noqa: PLR2004 - a pair
            renamed[found[0]] = found[1]
        else:
            edits.add(found)
    edits |= set(names(tree, renamed, offset)) | set(texts(source, table, offset))
    for start, end, text in sorted(edits, reverse=True):
        source = source[:start] + text + source[end:]
    return source


def main() -> None:
    """Rewrite the files named, else all Python files that git knows."""
    table = Table(Path(sys.argv[1]))
    listed = sys.argv[2:] or subprocess.check_output(["git", "ls-files", "*.py"], text=True).splitlines()
    changed = 0
    for path in map(Path, listed):
        source = path.read_text()
        new = rewrite(source, table)
        if new != source:
            path.write_text(new)
            changed += 1
    print(f"{changed} of {len(listed)} files changed")


if __name__ == "__main__":
    main()
