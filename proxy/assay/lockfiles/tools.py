"""uv.lock, poetry.lock, pdm.lock and Pipfile.lock, each as its tool writes it. Pure.

Of entries that come from a repository, a path or a bare URL nothing can be said here: no index lists them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from assay.errors import ConfigurationError
from assay.lockfiles.fields import (
    extract_filename,
    iter_tables,
    parse_package,
    parse_prefixed_sha256,
    parse_project_name,
    parse_version,
    require_string,
    require_table,
)
from assay.lockfiles.model import PinnedFile
from assay.settings import parse_toml

_ReadResult = tuple[list[PinnedFile], list[str]]


def read_uv(document: str, source: str) -> _ReadResult:
    """uv.lock: ``[[package]]`` with a ``source``, an ``sdist`` and ``wheels``.

    Raises:
        ConfigurationError: it is not that.
    """
    files: list[PinnedFile] = []
    loose: list[str] = []
    for entry, where in iter_tables(parse_toml(document, source).get("package"), f"{source}: package"):
        name, version = parse_package(entry, where)
        origin = require_table(entry.get("source", {}), f"{where}.source")
        if "registry" not in origin:
            kind = next(iter(origin), "nowhere")
            if kind not in {"virtual", "editable"}:  # the project that is locked, or a member of its workspace
                loose.append(f"{name}: from {kind} {origin.get(kind, '')}, not from an index")
            continue
        archives = [*iter_tables(entry.get("wheels"), f"{where}.wheels")]
        if "sdist" in entry:
            archives.append((require_table(entry["sdist"], f"{where}.sdist"), f"{where}.sdist"))
        for file, place in archives:
            address = file.get("filename") or file.get("url") or file.get("path")
            filename = extract_filename(require_string({"url": address}, "url", place))
            files.append(
                PinnedFile(
                    project=name, version=version, filename=filename, sha256=parse_prefixed_sha256(file.get("hash"))
                )
            )
    return files, loose


def read_poetry(document: str, source: str) -> _ReadResult:
    """poetry.lock: ``[[package]]`` with ``files``; before Poetry 1.5 they stood under ``[metadata.files]``.

    Raises:
        ConfigurationError: it is not that.
    """
    content = parse_toml(document, source)
    metadata = require_table(content.get("metadata", {}), f"{source}: metadata")
    apart = require_table(metadata.get("files", {}), f"{source}: metadata.files")
    files: list[PinnedFile] = []
    loose: list[str] = []
    for entry, where in iter_tables(content.get("package"), f"{source}: package"):
        origin = require_table(entry.get("source", {}), f"{where}.source")
        kind = origin.get("type", "legacy")
        if kind != "legacy":  # Poetry's word for an index
            loose.append(f"{entry.get('name')}: from {kind} {origin.get('url', '')}, not from an index")
            continue
        listed = entry.get("files", apart.get(str(entry.get("name"))))
        files.extend(_iter_listed_files({**entry, "files": listed}, where))
    return files, loose


def read_pdm(document: str, source: str) -> _ReadResult:
    """pdm.lock: ``[[package]]`` with ``files``.

    Raises:
        ConfigurationError: it is not that.
    """
    files: list[PinnedFile] = []
    loose: list[str] = []
    for entry, where in iter_tables(parse_toml(document, source).get("package"), f"{source}: package"):
        other = next((key for key in ("git", "hg", "svn", "bzr", "path", "url") if key in entry), None)
        if other is not None:
            loose.append(f"{entry.get('name')}: from {other} {entry[other]}, not from an index")
            continue
        files.extend(_iter_listed_files(entry, where))
    return files, loose


def _iter_listed_files(entry: Mapping[str, Any], where: str) -> Iterator[PinnedFile]:
    name, version = parse_package(entry, where)
    for file, place in iter_tables(entry.get("files"), f"{where}.files"):
        # PDM writes addresses instead of names with its strategy static_urls.
        named = extract_filename(require_string({"file": file.get("file") or file.get("url")}, "file", place))
        yield PinnedFile(project=name, version=version, filename=named, sha256=parse_prefixed_sha256(file.get("hash")))


def read_pipfile(document: str, source: str) -> _ReadResult:
    """Pipfile.lock: JSON, a section for each group, digests without filenames.

    Raises:
        ConfigurationError: it is not that.
    """
    try:
        content = require_table(json.loads(document), source)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{source}: expected JSON: {error}") from error
    files: list[PinnedFile] = []
    loose: list[str] = []
    for section, packages in content.items():
        if section == "_meta":
            continue
        for spelled, value in require_table(packages, f"{source}: {section}").items():
            found, odd = _parse_pipfile_entry(
                spelled, require_table(value, f"{source}: {section}.{spelled}"), f"{source}: {section}"
            )
            files.extend(found)
            loose.extend(odd)
    return files, loose


def _parse_pipfile_entry(raw_name: str, entry: Mapping[str, Any], where: str) -> _ReadResult:
    name = parse_project_name(raw_name, where)
    other = next((key for key in ("git", "hg", "svn", "bzr", "path", "file", "url") if key in entry), None)
    if other is not None:
        return [], [f"{name}: from {other} {entry[other]}, not from an index"]
    hashes = entry.get("hashes")
    digests = [
        digest for each in (hashes if isinstance(hashes, list) else ()) if (digest := parse_prefixed_sha256(each))
    ]
    if not digests:
        return [], [f"{name}: has no SHA-256, so that any file of it would do"]
    version = find_exact_version(entry.get("version"))
    checked = None if version is None else parse_version(version, where)
    return [PinnedFile(project=name, version=checked, filename=None, sha256=digest) for digest in digests], []


def find_exact_version(specifiers: object) -> str | None:
    """The one version that ``==1.0`` or ``===1.0`` allows; None for anything that leaves a choice."""
    try:
        only = list(SpecifierSet(str(specifiers)))
    except InvalidSpecifier:
        return None
    if len(only) != 1 or only[0].operator not in {"==", "==="} or only[0].version.endswith(".*"):
        return None
    return only[0].version
