"""Build hook of hatchling: the wheel and the source distribution contain the commit that they were built from.

The environment variable ``ASSAY_REVISION`` names the commit. A wheel that is built from a source distribution has the
commit of the source distribution. Without both, there is no such file.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FILE_NAME = "revision.txt"


class RevisionHook(BuildHookInterface[Any]):
    """Hook that adds `revision.txt` to the package, and to the root of the source distribution."""

    _directory: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file to the files of the build.

        Raises:
            ValueError: the revision is not a commit id.
        """
        known = Path(self.root, _FILE_NAME)
        revision = os.environ.get("ASSAY_REVISION", "") or (known.read_text("utf-8") if known.exists() else "")
        if version == "editable" or not revision.strip():
            return
        if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", revision.strip()) is None:
            raise ValueError(f"ASSAY_REVISION: expected a commit id, found {revision!r}")
        self._directory = tempfile.TemporaryDirectory()
        source = Path(self._directory.name, _FILE_NAME)
        source.write_text(f"{revision.strip()}\n", "utf-8")
        target = _FILE_NAME if self.target_name == "sdist" else f"assay/{_FILE_NAME}"
        build_data["force_include"][str(source)] = target

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - the interface's signature
        """Remove the temporary file."""
        if self._directory is not None:
            self._directory.cleanup()
