"""Entries of hosted files and the state of projects as JSON. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from packaging.utils import NormalizedName

from assay.evidence import PublisherIdentity
from assay.hosted.naming import find_slot, parse_release_version
from assay.hosted.page import STATUSES
from assay.ports import HostedFile, HostedProject

_SCHEMA: Final = 1
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectState:
    """Settings of a project by its managers."""

    status: str = "active"
    reason: str | None = None
    yanked: Mapping[str, str] = field(default_factory=dict)
    """Reasons of yanked files by filename."""


def encode_entry(file: HostedFile) -> bytes:
    """Return the entry of a file, without its yank."""
    content: dict[str, Any] = {
        "schema": _SCHEMA,
        "filename": file.filename,
        "version": file.version,
        "sha256": file.sha256,
        "size": file.size,
        "uploaded": file.uploaded.astimezone(UTC).isoformat(timespec="microseconds"),
        "uploader": file.uploader,
        "requires_python": file.requires_python,
        "metadata_sha256": file.metadata_sha256,
        "provenance_sha256": file.provenance_sha256,
        "signers": [list(signer) for signer in file.signers],
    }
    return json.dumps(content, indent=1).encode()


def decode_entry(raw: bytes) -> HostedFile:
    """Return the file of an entry.

    Raises:
        ValueError: the entry is malformed or of another version.
    """
    content = _parse(raw)
    try:
        if content["schema"] != _SCHEMA:
            raise ValueError(f"schema {content['schema']!r}")
        return HostedFile(
            filename=_text(content["filename"]),
            version=_text(content["version"]),
            sha256=_digest(content["sha256"]),
            size=_size(content["size"]),
            uploaded=_time(content["uploaded"]),
            uploader=_text(content["uploader"]),
            requires_python=_optional(content["requires_python"]),
            metadata_sha256=_optional(content["metadata_sha256"]),
            provenance_sha256=_optional(content["provenance_sha256"]),
            signers=tuple(PublisherIdentity(*map(_text, signer)) for signer in content["signers"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"malformed entry: {error}") from error


def check_entry(file: HostedFile, project: NormalizedName) -> None:
    """Check that an entry belongs to a project.

    Raises:
        UploadRefusedError: the filename belongs to another project or version.
    """
    find_slot(file.filename, project, parse_release_version(file.version))


def encode_state(state: ProjectState) -> bytes:
    """Return the state of a project as JSON."""
    return json.dumps(
        {"schema": _SCHEMA, "status": state.status, "reason": state.reason, "yanked": dict(state.yanked)}, indent=1
    ).encode()


def decode_state(raw: bytes) -> ProjectState:
    """Return the state of a project.

    Raises:
        ValueError: the state is malformed or of another version.
    """
    content = _parse(raw)
    try:
        if content["schema"] != _SCHEMA:
            raise ValueError(f"schema {content['schema']!r}")
        if content["status"] not in STATUSES:
            raise ValueError(f"status {content['status']!r}")
        yanked = {_text(name): _text(reason) for name, reason in content["yanked"].items()}
        return ProjectState(status=_text(content["status"]), reason=_optional(content["reason"]), yanked=yanked)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"malformed state: {error}") from error


def make_project(name: NormalizedName, files: Iterable[HostedFile], state: ProjectState) -> HostedProject:
    """Return a project with its files in the order of their uploads."""
    ordered = sorted(files, key=lambda file: (file.uploaded, file.filename))
    shown = tuple(replace(file, yanked=state.yanked.get(file.filename)) for file in ordered)
    digest = hashlib.sha256(encode_state(state))
    for file in shown:
        digest.update(encode_entry(file))
    return HostedProject(
        name=name, files=shown, status=state.status, reason=state.reason, version=f'"{digest.hexdigest()}"'
    )


def _parse(raw: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(raw)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def _digest(value: object) -> str:
    if not _SHA256.fullmatch(_text(value)):
        raise ValueError("a SHA-256 is not 64 hexadecimal digits")
    return _text(value)


def _time(value: object) -> datetime:
    time = datetime.fromisoformat(_text(value))
    if time.tzinfo is None:
        raise ValueError(f"the time {value} has no zone")
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"the time {value} is out of range") from error


def _size(value: object) -> int:
    if type(value) is not int or value < 0:  # neither a Boolean nor a number with a fraction, such as Infinity
        raise ValueError("the size is not a number of bytes")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, found {type(value).__name__}")
    return value


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)
