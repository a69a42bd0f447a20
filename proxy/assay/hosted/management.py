"""Changes that managers make: yanks (PEP 592) and project status (PEP 792). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from assay.errors import UploadRefusedError
from assay.hosted.naming import parse_release_version
from assay.hosted.page import STATUSES
from assay.ports import HostedProject
from assay.simple.fields import parse_version

_MAX_REASON_CHARS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class YankChange:
    """Yank of files, or its end."""

    filenames: tuple[str, ...]
    reason: str | None
    """Reason of the yank, which may be empty; None to undo the yank."""

    def to_json(self) -> Mapping[str, Any]:
        """Return the change for responses and the audit trail."""
        return {"filenames": list(self.filenames), "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChange:
    """New status of a project."""

    status: str
    reason: str | None

    def to_json(self) -> Mapping[str, Any]:
        """Return the change for responses and the audit trail."""
        return {"status": self.status, "reason": self.reason}


def parse_yank(content: object, project: HostedProject, *, undo: bool) -> YankChange:
    """Return the yank that a manager requests, of a version or of one file of it.

    Args:
        content: JSON object with `version`, and optionally `filename` and `reason`.
        project: the project.
        undo: True to undo a yank.

    Raises:
        UploadRefusedError: the request is invalid, or the project has no such file.
    """
    keys = _check_keys(content, {"version", "filename", "reason"})
    version = parse_release_version(keys.get("version") or "")
    filename = keys.get("filename")
    found = tuple(
        file.filename
        for file in project.files
        if parse_version(file.version) == version and filename in {None, file.filename}
    )
    if not found:
        raise UploadRefusedError(f"the project {project.name} has no file {filename or ''} of version {version}")
    return YankChange(filenames=found, reason=None if undo else keys.get("reason") or "")


def parse_status(content: object) -> StatusChange:
    """Return the status that a manager requests.

    Args:
        content: JSON object with `status` and optionally `reason`.

    Raises:
        UploadRefusedError: the request is invalid.
    """
    keys = _check_keys(content, {"status", "reason"})
    status = keys.get("status") or ""
    if status not in STATUSES:
        raise UploadRefusedError(f"invalid status {status[:40]!a}: expected one of {', '.join(STATUSES)}")
    return StatusChange(status=status, reason=keys.get("reason") or None)


def _check_keys(content: object, known: set[str]) -> dict[str, str | None]:
    if not isinstance(content, dict) or not content.keys() <= known:
        raise UploadRefusedError(f"expected a JSON object with some of the keys {', '.join(sorted(known))}")
    for key, value in content.items():
        if value is not None and not (isinstance(value, str) and value.isprintable()):
            raise UploadRefusedError(f"the key {key} is not a printable text")
        if value is not None and len(value) > _MAX_REASON_CHARS:
            raise UploadRefusedError(f"the key {key} has more than {_MAX_REASON_CHARS} characters")
    return content
