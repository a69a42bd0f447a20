"""Pages of hosted indexes in the Simple API: PEP 691, PEP 700, PEP 740 and PEP 792. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

from packaging.utils import NormalizedName

from assay.ports import HostedFile, HostedProject

JSON_MEDIA_TYPE: Final = "application/vnd.pypi.simple.v1+json"
STATUSES: Final = ("active", "archived", "quarantined", "deprecated")
"""Project statuses (PEP 792)."""
CLOSED_STATUSES: Final = frozenset({"archived", "quarantined"})
"""Statuses of projects that take no uploads (PEP 792)."""
_QUARANTINED: Final = "quarantined"
"""Project status with which an index "MUST NOT offer" files (PEP 792)."""
_API_VERSION: Final = "1.4"


def render_hosted_page(url: str, project: HostedProject) -> bytes:
    """Return the page of a project as JSON; `url` is that of its index, with a trailing slash."""
    files = () if project.status == _QUARANTINED else project.files
    status = {"status": project.status} | ({} if project.reason is None else {"reason": project.reason})
    page = {
        "meta": {"api-version": _API_VERSION},
        "name": project.name,
        "project-status": status,
        "versions": list(dict.fromkeys(file.version for file in project.files)),
        "files": [_render_file(f"{url}{project.name}/{quote(file.filename)}", file) for file in files],
    }
    return json.dumps(page).encode()


def render_hosted_root_list(names: Iterable[NormalizedName]) -> bytes:
    """Return the list of all projects of an index as JSON."""
    return json.dumps({"meta": {"api-version": _API_VERSION}, "projects": [{"name": name} for name in names]}).encode()


def _render_file(url: str, file: HostedFile) -> dict[str, Any]:
    metadata = {"sha256": file.metadata_sha256} if file.metadata_sha256 is not None else False
    return {
        "filename": file.filename,
        "url": url,
        "hashes": {"sha256": file.sha256},
        "requires-python": file.requires_python,
        "size": file.size,
        "upload-time": file.uploaded.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "yanked": False if file.yanked is None else file.yanked or True,
        "core-metadata": metadata,
        "data-dist-info-metadata": metadata,
        "provenance": None if file.provenance_sha256 is None else f"{url}/provenance",
    }
