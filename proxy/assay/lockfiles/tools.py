"""Readers of uv.lock, poetry.lock, pdm.lock and Pipfile.lock. Pure.

An entry whose source is a repository, a path or a single URL pins no file, because no index lists its file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from packaging.specifiers import SpecifierSet

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
from assay.lockfiles.model import PinnedFile, ReadResult
from assay.settings import parse_toml

_LOCAL_SOURCES = frozenset({"editable", "directory"})
"""Kinds of a source in uv.lock that are a directory."""


def read_uv(document: str, source: str) -> ReadResult:
    """Read uv.lock: ``[[package]]`` tables with a ``source``, an ``sdist`` and ``wheels``.

    The locked project itself and the members of its workspace are not part of the result: uv.lock always names them,
    and they are the operator's own code. The same applies to virtual packages, which uv does not install.

    Raises:
        ConfigurationError: the text does not have this format.
    """
    files: list[PinnedFile] = []
    loose: list[str] = []
    content = parse_toml(document, source)
    members = require_table(content.get("manifest", {}), f"{source}: manifest").get("members")
    for entry, where in iter_tables(content.get("package"), f"{source}: package"):
        name, version = parse_package(entry, where)
        origin = require_table(entry.get("source", {}), f"{where}.source")
        if "registry" not in origin:
            if "virtual" not in origin and not _is_own_project(name, origin, members):
                kind = next(iter(origin), "nowhere")
                loose.append(f"{name}: from {kind} {origin.get(kind, '')}, not from an index")
            continue
        archives = [*iter_tables(entry.get("wheels"), f"{where}.wheels")]
        if "sdist" in entry:
            archives.append((require_table(entry["sdist"], f"{where}.sdist"), f"{where}.sdist"))
        if not archives:
            loose.append(_describe_empty(name))
        for file, place in archives:
            address = file.get("filename") or file.get("url") or file.get("path")
            filename = extract_filename(require_string({"url": address}, "url", place))
            files.append(
                PinnedFile(
                    project=name, version=version, filename=filename, sha256=parse_prefixed_sha256(file.get("hash"))
                )
            )
    return ReadResult(files, loose)


def _is_own_project(name: str, origin: Mapping[str, Any], members: object) -> bool:
    """Return whether a package of uv.lock is the locked project, or a member of its workspace.

    Args:
        name: normalized name of the package.
        origin: table ``source`` of the package.
        members: value of ``manifest.members``, the names of the members.
    """
    for kind in _LOCAL_SOURCES & origin.keys():
        path = str(origin[kind]).replace("\\", "/")
        is_inside = not path.startswith("/") and ":" not in path and ".." not in path.split("/")
        return path == "." or (is_inside and isinstance(members, list) and name in members)
    return False


def _describe_empty(name: object) -> str:
    return f"{name}: the lockfile names no file of this package"


def read_poetry(document: str, source: str) -> ReadResult:
    """Read poetry.lock: ``[[package]]`` tables with ``files``, or ``[metadata.files]`` before Poetry 1.5.

    Raises:
        ConfigurationError: the text does not have this format.
    """
    content = parse_toml(document, source)
    metadata = require_table(content.get("metadata", {}), f"{source}: metadata")
    apart = require_table(metadata.get("files", {}), f"{source}: metadata.files")
    files: list[PinnedFile] = []
    loose: list[str] = []
    for entry, where in iter_tables(content.get("package"), f"{source}: package"):
        origin = require_table(entry.get("source", {}), f"{where}.source")
        kind = origin.get("type", "legacy")
        if kind != "legacy":  # the word of Poetry for an index
            loose.append(f"{entry.get('name')}: from {kind} {origin.get('url', '')}, not from an index")
            continue
        listed = entry.get("files", apart.get(str(entry.get("name"))))
        listed_files = [*_iter_listed_files({**entry, "files": listed}, where)]
        files += listed_files
        if not listed_files:
            loose.append(_describe_empty(entry.get("name")))
    return ReadResult(files, loose)


def read_pdm(document: str, source: str) -> ReadResult:
    """Read pdm.lock: ``[[package]]`` tables with ``files``.

    Raises:
        ConfigurationError: the text does not have this format.
    """
    files: list[PinnedFile] = []
    loose: list[str] = []
    for entry, where in iter_tables(parse_toml(document, source).get("package"), f"{source}: package"):
        other = next((key for key in ("git", "hg", "svn", "bzr", "path", "url") if key in entry), None)
        if other is not None:
            loose.append(f"{entry.get('name')}: from {other} {entry[other]}, not from an index")
            continue
        listed_files = [*_iter_listed_files(entry, where)]
        files += listed_files
        if not listed_files:
            loose.append(_describe_empty(entry.get("name")))
    return ReadResult(files, loose)


def _iter_listed_files(entry: Mapping[str, Any], where: str) -> Iterator[PinnedFile]:
    name, version = parse_package(entry, where)
    for file, place in iter_tables(entry.get("files"), f"{where}.files"):
        # With the strategy static_urls, PDM writes URLs instead of filenames.
        named = extract_filename(require_string({"file": file.get("file") or file.get("url")}, "file", place))
        yield PinnedFile(project=name, version=version, filename=named, sha256=parse_prefixed_sha256(file.get("hash")))


def read_pipfile(document: str, source: str) -> ReadResult:
    """Read Pipfile.lock: JSON with a section for each group of packages, with digests but no filenames.

    Raises:
        ConfigurationError: the text does not have this format.
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
            found = _parse_pipfile_entry(
                spelled, require_table(value, f"{source}: {section}.{spelled}"), f"{source}: {section}"
            )
            files.extend(found.files)
            loose.extend(found.unpinned)
    return ReadResult(files, loose)


def _parse_pipfile_entry(raw_name: str, entry: Mapping[str, Any], where: str) -> ReadResult:
    name = parse_project_name(raw_name, where)
    other = next((key for key in ("git", "hg", "svn", "bzr", "path", "file", "url") if key in entry), None)
    if other is not None:
        return ReadResult([], [f"{name}: from {other} {entry[other]}, not from an index"])
    stated = entry.get("hashes")
    hashes = stated if isinstance(stated, list) else []
    digests = [digest for each in hashes if (digest := parse_prefixed_sha256(each))]
    if not digests:
        return ReadResult([], [f"{name}: has no SHA-256, so any file of this version matches"])
    other_hash = f"{name}: has a hash other than SHA-256, which can match another file"
    version = find_exact_version(entry.get("version"))
    checked = None if version is None else parse_version(version, where)
    return ReadResult(
        [PinnedFile(project=name, version=checked, filename=None, sha256=digest) for digest in digests],
        [other_hash] if len(digests) < len(hashes) else [],
    )


def find_exact_version(specifiers: object) -> str | None:
    """Return the version of a single specifier ``==1.0`` or ``===1.0``; None for any other specifiers."""
    try:
        only = list(SpecifierSet(str(specifiers)))
    except ValueError:  # InvalidSpecifier, or a number of more digits than Python converts
        return None
    if len(only) != 1 or only[0].operator not in {"==", "==="} or only[0].version.endswith(".*"):
        return None
    return only[0].version
