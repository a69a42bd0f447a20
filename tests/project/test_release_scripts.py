"""Scripts of the release workflow: the check of the tag, the packaged chart and the audit of the lock."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.deploy import tools
from tests.paths import ROOT
from tests.project.test_version import VERSION

IMAGE = "ghcr.io/acme/assay"
DIGEST = f"sha256:{'0123456789abcdef' * 4}"
TAG = f"v{VERSION}"
FILES = ("pyproject.toml", "CHANGELOG.md", "README.md", "SECURITY.md", "helm/assay/Chart.yaml")
CHANGES = "# Changelog\n\n## Unreleased\n\n## {} (2026-12-01)\n### Added\n- A key.\n\n## 0.0.1\n- Older.\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a copy of the files that the check reads, ready for a release by acme."""
    source = tmp_path / "source"
    for path in FILES:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, source / path)
    for folder in ("docs", "config"):
        shutil.copytree(ROOT / folder, source / folder)
    for document in (*source.rglob("*.md"), *source.rglob("*.toml")):
        document.write_text(document.read_text("utf-8").replace("OWNER/", "acme/"), "utf-8")
    (source / "CHANGELOG.md").write_text(CHANGES.format(VERSION), "utf-8")
    return source


def check(source: Path, tag: str = TAG, repository: str = "Acme/assay") -> tuple[int, str]:
    """Run the check; return its status, and the notes or the errors."""
    command = [sys.executable, "-I", "release/check_tag.py", tag, "--repository", repository, "--root", str(source)]
    notes = source / "notes.txt"
    ran = subprocess.run(
        [*command, "--notes", str(notes)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    return ran.returncode, notes.read_text("utf-8") if notes.exists() else ran.stderr


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def test_a_tag_of_the_version_passes_and_gets_its_notes(source: Path) -> None:
    assert check(source) == (0, "### Added\n- A key.\n")


def test_the_version_in_brackets_and_at_the_end_has_notes_too(source: Path) -> None:
    (source / "CHANGELOG.md").write_text(f"# Changelog\n\n## [{VERSION}] - 2026-12-01\n- Last.\n", "utf-8")
    assert check(source) == (0, "- Last.\n")


@pytest.mark.parametrize("tag", ["v9.9.9", VERSION, f"{TAG}.1", f"{TAG}-rc1", f"V{VERSION}", "main"])
def test_another_tag_is_refused(source: Path, tag: str) -> None:
    status, errors = check(source, tag)
    assert status == 1
    assert f"the tag is {tag}" in errors


@pytest.mark.parametrize(
    ("path", "old", "new", "error"),
    [
        ("helm/assay/Chart.yaml", f'appVersion: "{VERSION}"', 'appVersion: "9.9.9"', "Chart.yaml has the versions"),
        ("CHANGELOG.md", f"## {VERSION}", "## 9.9.9", "CHANGELOG.md has no text"),
        ("CHANGELOG.md", f"## {VERSION}", f"## {VERSION}1", "CHANGELOG.md has no text"),
        ("CHANGELOG.md", "### Added\n- A key.\n", "", "CHANGELOG.md has no text"),
        ("SECURITY.md", "# Security", "# Security of OWNER/assay", "SECURITY.md has the placeholder"),
        ("SECURITY.md", "# Security", "# Security of ghcr.io/OWNER/charts/assay", "SECURITY.md has the placeholder"),
        ("config/examples/policy-assay.toml", '"acme/assay"', '"mallory/assay"', "names the repository mallory/assay"),
    ],
)
def test_files_that_disagree_are_refused(source: Path, path: str, old: str, new: str, error: str) -> None:
    change(source / path, old, new)
    status, errors = check(source)
    assert status == 1
    assert error in errors
    assert len(errors.splitlines()) == 1


def package(directory: Path, image: str = IMAGE, digest: str = DIGEST) -> subprocess.CompletedProcess[str]:
    command = ["bash", "release/chart.sh", image, digest, str(directory)]
    environment = {**os.environ, "HELM": str(tools.tool("helm"))}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.deploy
def test_the_packaged_chart_installs_the_published_image_by_digest(tmp_path: Path) -> None:
    packaged = package(tmp_path)
    assert packaged.returncode == 0, packaged.stderr
    chart = tmp_path / f"assay-{VERSION}.tgz"
    for values, image in (
        ((), IMAGE),
        (("--set", "image.repository=mirror.acme.example/assay"), "mirror.acme.example/assay"),
    ):
        rendered = tools.run("helm", "template", "assay", chart, *values)
        assert rendered.returncode == 0, rendered.stderr
        assert set(re.findall(r"(?m)^ *image: (.+)$", rendered.stdout)) == {f'"{image}@{DIGEST}"'}


@pytest.mark.deploy
def test_the_packaged_chart_differs_from_the_source_only_in_its_image(tmp_path: Path) -> None:
    assert package(tmp_path).returncode == 0
    with tarfile.open(tmp_path / f"assay-{VERSION}.tgz") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    ours, packed = (ROOT / "helm/assay/values.yaml").read_text("utf-8"), tmp_path / "unpacked/assay/values.yaml"
    changed = set(packed.read_text("utf-8").splitlines()) - set(ours.splitlines())
    assert changed == {f'  repository: "{IMAGE}"', f'  digest: "{DIGEST}"'}


@pytest.mark.deploy
@pytest.mark.parametrize(
    ("image", "digest"),
    [
        ("", DIGEST),
        (IMAGE, ""),
        (IMAGE, "latest"),
        (IMAGE, DIGEST[:-1]),
        ("ghcr.io/a|b", DIGEST),
        (f'{IMAGE}"', DIGEST),
    ],
)
def test_no_chart_is_packaged_without_an_image_and_its_digest(tmp_path: Path, image: str, digest: str) -> None:
    refused = package(tmp_path / "out", image, digest)
    assert refused.returncode == 2
    assert "expected" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_the_audit_covers_the_lock_and_leaves_out_answered_advisories(tmp_path: Path) -> None:
    calls, auditor = tmp_path / "calls", tmp_path / "pip-audit"
    auditor.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{calls}\nexit 3\n')
    auditor.chmod(0o755)
    environment = {**os.environ, "PIP_AUDIT": str(auditor)}
    ran = subprocess.run(["bash", "release/audit.sh"], cwd=ROOT, env=environment, timeout=60, check=False)
    assert ran.returncode == 3, "a finding fails the job"
    arguments = calls.read_text().splitlines()
    locks = {"--requirement=requirements.lock", "--requirement=requirements-scale.lock"}
    assert {"--strict", "--require-hashes", *locks} <= set(arguments)
    ignored = [after for before, after in itertools.pairwise(arguments) if before == "--ignore-vuln"]
    vex = json.loads((ROOT / "release" / "openvex.json").read_text("utf-8"))
    assert ignored == [each["vulnerability"]["name"] for each in vex["statements"] if each["status"] == "not_affected"]
    assert ignored
