"""Content for the benchmarks: large pages, distributions and provenance, written once as a static directory tree.

All content is generated from seeds, so that two runs serve the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

JSON = "application/vnd.pypi.simple.v1+json"
UPLOADED = datetime(2026, 1, 1, 12, tzinfo=UTC)
_BLOCK_BYTES = 2**20


@dataclass
class Tree:
    """Directory that nginx serves as an index: ``simple/NAME/index.json``, ``files/…``, ``integrity/…``."""

    root: Path
    origin: str = ""
    """``http://127.0.0.1:PORT``, the start of the absolute URLs on pages."""
    pages: dict[str, list[dict[str, object]]] = field(default_factory=dict)

    def file(self, project: str, version: str, size: int, *, tag: str = "py3-none-any", folder: str = "files") -> str:
        """Write a distribution of `size` random bytes, which is not a valid archive, and return its path."""
        name = f"{project.replace('-', '_')}-{version}-{tag}.whl"
        path = self.root / folder / project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise, digest = random.Random(name).randbytes(min(size, _BLOCK_BYTES)), hashlib.sha256()
        with path.open("wb") as out:
            for start in range(0, size, _BLOCK_BYTES):
                piece = noise[: size - start]
                out.write(piece)
                digest.update(piece)
        self.list(project, name, digest.hexdigest(), size, url=f"/{folder}/{project}/{name}")
        return f"/{folder}/{project}/{name}"

    def list(self, project: str, name: str, sha256: str, size: int, *, url: str, provenance: str | None = None) -> None:
        """List a file on the page of its project. The file itself need not exist."""
        entries = self.pages.setdefault(project, [])
        entries.append(
            {
                "filename": name,
                "url": f"{self.origin}{url}",
                "hashes": {"sha256": sha256},
                "requires-python": ">=3.9",
                "size": size,
                "upload-time": (UPLOADED + timedelta(minutes=len(entries))).strftime("%Y-%m-%dT%H:%M:%S.000000Z"),
                "yanked": False,
                "core-metadata": False,
                "data-dist-info-metadata": False,
                "provenance": None if provenance is None else f"{self.origin}{provenance}",
            }
        )

    def page_of(self, project: str, files: int) -> None:
        """Add a page of files that are never fetched, ten for each release."""
        for number in range(files):
            version, tag = f"{number // 10}.0", f"cp3{number % 10}-cp3{number % 10}-manylinux_2_17_x86_64"
            name = f"{project.replace('-', '_')}-{version}-{tag}.whl"
            digest = hashlib.sha256(name.encode()).hexdigest()
            self.list(project, name, digest, 100_000, url=f"/files/{digest[:2]}/{digest[2:4]}/{digest[4:]}/{name}")

    def write(self) -> None:
        """Write the pages and the list of projects."""
        names = {"meta": {"api-version": "1.4"}, "projects": [{"name": project} for project in self.pages]}
        (self.root / "simple").mkdir(parents=True, exist_ok=True)
        (self.root / "simple" / "index.json").write_text(json.dumps(names))
        for project, entries in self.pages.items():
            versions = list(dict.fromkeys(str(entry["filename"]).split("-")[1] for entry in entries))
            page = {
                "meta": {"api-version": "1.4", "_last-serial": 1000 + len(entries)},
                "name": project,
                "project-status": {"status": "active"},
                "versions": versions,
                "files": entries,
            }
            path = self.root / "simple" / project / "index.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(page, separators=(",", ":")))
