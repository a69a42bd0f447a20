"""Version and revision of the build: a recorded commit is found, and a checkout has none."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from assay.telemetry import build
from assay.telemetry.build import get_revision, get_version


def test_the_version_is_that_of_the_distribution() -> None:
    assert get_version() == version("assay-proxy")


def test_the_revision_is_the_recorded_commit_and_none_in_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get_revision() is None
    (tmp_path / "revision.txt").write_text("0123456789abcdef0123456789abcdef01234567\n", "ascii")
    monkeypatch.setattr(build, "files", lambda package: tmp_path / package.removeprefix("assay"))
    assert get_revision() == "0123456789abcdef0123456789abcdef01234567"
