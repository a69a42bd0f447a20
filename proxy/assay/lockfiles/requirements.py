"""requirements.txt with hashes, as pip-compile and ``uv pip compile --generate-hashes`` write them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from assay.errors import ConfigurationError
from assay.lockfiles.fields import parse_prefixed_sha256, parse_version
from assay.lockfiles.model import PinnedFile
from assay.lockfiles.tools import find_exact_version

_COMMENT = re.compile(r"(^|\s+)#.*$")  # pip's own: a # begins a comment only after white space
_OPTION = re.compile(r"\s--?[a-z]")
_HASH = re.compile(r"--hash[=\s]([a-z0-9]+:[0-9a-fA-F]+)")
_INCLUDE_OPTION = re.compile(r"(-r|--requirement|-c|--constraint|-e|--editable)[=\s]?\s*(.*)")


def read_requirements(text: str, source: str) -> tuple[list[PinnedFile], list[str]]:
    """Pinned digests and what pins none.

    Raises:
        ConfigurationError: a line is no requirement.
    """
    files: list[PinnedFile] = []
    loose: list[str] = []
    for number, line in _iter_logical_lines(text):
        if elsewhere := _INCLUDE_OPTION.fullmatch(line):
            loose.append(f"{elsewhere[1]} {elsewhere[2]}: another file; audit it by itself")
        elif not line.startswith("-"):
            found = _parse_requirement(line, f"{source}:{number}")
            if isinstance(found, str):
                loose.append(found)
            else:
                files.extend(found)
    return files, loose


def _parse_requirement(line: str, where: str) -> list[PinnedFile] | str:
    option = _OPTION.search(line)
    stated = line[: option.start()] if option else line
    try:
        requirement = Requirement(stated.strip())
    except InvalidRequirement as error:
        if "/" in stated or stated.strip().endswith((".whl", ".tar.gz", ".zip")):
            return f"{stated.strip()}: a path or URL, not from an index"
        raise ConfigurationError(f"{where}: expected a requirement, found {stated.strip()!r:.80}") from error
    if requirement.url is not None:
        return f"{requirement.name}: from {requirement.url}, not from an index"
    version = find_exact_version(requirement.specifier)
    if version is None:
        return f"{requirement.name}{requirement.specifier}: not pinned to one version"
    digests = [digest for hashed in _HASH.findall(line) if (digest := parse_prefixed_sha256(hashed))]
    if not digests:
        return f"{requirement.name}=={version}: has no SHA-256, so that any file of it would do"
    name = canonicalize_name(requirement.name)
    checked = parse_version(version, where)
    return [PinnedFile(project=name, version=checked, filename=None, sha256=digest) for digest in digests]


def _iter_logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Logical lines, joined at backslashes and without comments, each with the number of its first."""
    first, pending = 0, ""
    for number, line in enumerate((*text.splitlines(), ""), start=1):
        first = first if pending else number
        if line.endswith("\\") and not _COMMENT.match(line):
            pending += f"{line[:-1]} "
            continue
        joined = _COMMENT.sub("", pending + line).strip()
        pending = ""
        if joined:
            yield first, joined
