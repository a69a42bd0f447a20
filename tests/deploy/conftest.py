"""Container image, built once for all tests that run it."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.paths import ROOT


@pytest.fixture(scope="session")
def image() -> str:
    """Return the name of the image in the storage of tests/deploy/image.sh."""
    for command in ("buildah", "podman", "runc"):
        if shutil.which(command) is None:
            pytest.skip(f"{command} is missing: bash tests/install-tools.sh image")
    if os.environ.get("ASSAY_IMAGE"):
        return os.environ["ASSAY_IMAGE"]
    built = subprocess.run(
        ["bash", "tests/deploy/image.sh"], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )
    assert built.returncode == 0, built.stderr
    return built.stdout.strip()
