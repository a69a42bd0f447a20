"""Private names of libraries: only one module for each library uses them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web
from diskcache import Disk
from sigstore.verify import Verifier

import assay

PACKAGE = Path(assay.__file__).parent
PRIVATE_MODULES = {
    "aiohttp_private.py",
    "cli/parsing/argparse_private.py",
    "attestation/verification/sigstore_private.py",
    "store/diskcache_private.py",
}
SUBCLASSED = {
    "RequestHandler": web.RequestHandler,
    "Server": web.Server,
    "StreamResponse": web.StreamResponse,
    "Disk": Disk,
}
"""Library classes that a class of Assay derives from."""


def list_sources() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), path.read_text()


def list_private_names(base: type) -> set[str]:
    """Return private attributes that a class and its bases set, define or keep in slots."""
    found: set[str] = set()
    for each in base.__mro__[:-1]:
        found |= {name for name in vars(each) if name.startswith("_") and not name.startswith("__")}
        if each.__module__.split(".")[0] not in {"aiohttp", "diskcache"}:
            continue
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(each)))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
                found |= {node.attr} if node.attr.startswith("_") and not node.attr.startswith("__") else set()
    return found


def list_self_attributes(defined: ast.ClassDef) -> set[str]:
    return {
        node.attr
        for node in ast.walk(defined)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    } | {node.name for node in defined.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_only_these_modules_may_touch_private_members() -> None:
    # Ruff's SLF001 finds any other access.
    assert {name for name, source in list_sources() if "SLF001" in source} == PRIVATE_MODULES


def test_only_these_modules_import_private_modules() -> None:
    found = set()
    for name, source in list_sources():
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.ImportFrom(module=str(module)):
                    parts = [*module.split("."), *(each.name for each in node.names)]
                case ast.Import():
                    parts = [part for each in node.names for part in each.name.split(".")]
                case _:
                    continue
            if any(part.startswith("_") and not part.startswith("__") for part in parts[1:]) or parts[0] == "diskcache":
                found.add(name)
    assert found == {"attestation/verification/sigstore_private.py", "store/diskcache_private.py", "store/records.py"}


def test_aiohttp_is_imported_by_its_documented_modules_alone() -> None:
    documented = {"aiohttp", "aiohttp.web", "aiohttp.abc"}
    for name, source in list_sources():
        if name == "aiohttp_private.py":
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "aiohttp":
                assert node.module in documented, name


def test_a_class_of_ours_uses_no_private_member_of_the_library_class_that_it_derives_from() -> None:
    seen = set()
    for name, source in list_sources():
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.ClassDef):
                continue
            for base in (
                each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in node.bases
            ):
                if base in SUBCLASSED:
                    seen.add(base)
                    assert not list_self_attributes(node) & list_private_names(SUBCLASSED[base]), (name, node.name)
    assert seen == set(SUBCLASSED)


def test_the_lists_of_private_members_are_not_empty() -> None:
    assert {"_waiter", "_messages", "_loop", "_manager"} <= list_private_names(web.RequestHandler)
    assert "_connections" in list_private_names(web.Server)
    assert "_payload_writer" in list_private_names(web.StreamResponse)
    assert "_directory" in list_private_names(Disk)
    assert "_verify_chain_at_time" in vars(Verifier)
