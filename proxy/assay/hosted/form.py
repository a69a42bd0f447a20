"""Form fields of PyPI's legacy upload API, as twine, uv, Poetry, Hatch and Flit send them. Pure.

https://docs.pypi.org/api/upload/ documents the fields. The archive's own metadata counts, so most metadata fields of
the form are ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from packaging.utils import NormalizedName
from packaging.version import Version

from assay.errors import UploadRefusedError
from assay.hosted.naming import ReleaseSlot, find_slot, parse_project_name, parse_release_version
from assay.simple.model import Kind

MAX_ATTESTATIONS: Final = 2
"""Maximum number of attestations of a file: one of each predicate type that PyPI accepts."""
MAX_ATTESTATIONS_CHARS: Final = 512 * 1024
"""Maximum length of the field `attestations`, in characters. An attestation has about 5 kB."""
USED_FIELDS: Final = frozenset(
    {
        ":action",
        "protocol_version",
        "filetype",
        "name",
        "version",
        "sha256_digest",
        "blake2_256_digest",
        "attestations",
    }
)
"""Fields that `parse_form` reads. Other fields of the form are discarded."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FILETYPES: Final = {"bdist_wheel": Kind.WHEEL, "sdist": Kind.SDIST}


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadForm:
    """Valid form of an upload. Its statements about the contents of the file are not yet checked."""

    project: NormalizedName
    version: Version
    filename: str
    slot: ReleaseSlot
    sha256: str | None
    blake2_256: str | None
    attestations: tuple[dict[str, Any], ...]
    """Attestation objects as parsed JSON, in the order of the form; untrusted."""


def parse_form(fields: Mapping[str, str], filename: str | None) -> UploadForm:
    """Return the valid form of an upload.

    Args:
        fields: the form fields `USED_FIELDS` without `content`. The caller has refused repeated fields.
        filename: filename of the part `content`; None if the form has no such part.

    Raises:
        UploadRefusedError: a field is missing or invalid, or contradicts the filename.
    """
    if fields.get(":action") != "file_upload":
        raise UploadRefusedError("expected the form field :action=file_upload")
    if fields.get("protocol_version", "1") != "1":
        raise UploadRefusedError("expected the form field protocol_version=1")
    if not filename:
        raise UploadRefusedError("the form has no file in the field content")
    project = parse_project_name(_require(fields, "name"))
    version = parse_release_version(_require(fields, "version"))
    slot = find_slot(filename, project, version)
    filetype = _require(fields, "filetype")
    if _FILETYPES.get(filetype) is not slot.kind:
        raise UploadRefusedError(f"the form field filetype={filetype[:40]!r} contradicts the filename {filename}")
    return UploadForm(
        project=project,
        version=version,
        filename=filename,
        slot=slot,
        sha256=_parse_digest(fields, "sha256_digest"),
        blake2_256=_parse_digest(fields, "blake2_256_digest"),
        attestations=_parse_attestations(fields.get("attestations")),
    )


def check_digests(form: UploadForm, *, sha256: str, blake2_256: str) -> None:
    """Compare the digests in the form with those of the received bytes (hexadecimal).

    Raises:
        UploadRefusedError: a stated digest differs, or the form states none.
    """
    if form.sha256 is None and form.blake2_256 is None:
        raise UploadRefusedError("the form has neither sha256_digest nor blake2_256_digest")
    for name, stated, found in (("SHA-256", form.sha256, sha256), ("BLAKE2b-256", form.blake2_256, blake2_256)):
        if stated is not None and stated != found:
            raise UploadRefusedError(f"the received file has the {name} {found}, but the form states {stated}")


def _require(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name, "").strip()
    if not value:
        raise UploadRefusedError(f"the form field {name} is missing")
    return value


def _parse_digest(fields: Mapping[str, str], name: str) -> str | None:
    value = fields.get(name, "").strip().lower()
    if value and not _DIGEST.fullmatch(value):
        raise UploadRefusedError(f"the form field {name} is not a digest of 64 hexadecimal digits")
    return value or None


def _parse_attestations(text: str | None) -> tuple[dict[str, Any], ...]:
    if text is None or not text.strip():
        return ()
    if len(text) > MAX_ATTESTATIONS_CHARS:
        raise UploadRefusedError(f"the form field attestations has more than {MAX_ATTESTATIONS_CHARS} characters")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UploadRefusedError("the form field attestations is not valid JSON") from error
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise UploadRefusedError("the form field attestations is not a JSON list of attestation objects (PEP 740)")
    if len(found) > MAX_ATTESTATIONS:
        raise UploadRefusedError(f"{len(found)} attestations: a file may have at most {MAX_ATTESTATIONS}")
    return tuple(found)
