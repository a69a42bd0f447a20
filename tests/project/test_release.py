"""Files of a release: `make dist`, the SBOM (CycloneDX) and the statements about vulnerabilities (OpenVEX)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy import tools
from tests.deploy.repository import copy_repository
from tests.paths import ROOT

VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
SBOM = ROOT / "release" / "sbom.cdx.json"
VEX = ROOT / "release" / "openvex.json"
JUSTIFICATIONS = {
    "component_not_present",
    "vulnerable_code_not_present",
    "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "inline_mitigations_already_exist",
}


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def locked_versions() -> dict[str, str]:
    pins = re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.lock").read_text("utf-8"))
    return dict(pins)


def components(sbom: dict[str, Any]) -> dict[str, str]:
    return {canonicalize_name(each["name"]): each["version"] for each in sbom["components"]}


def unknown_to_lock(sbom: dict[str, Any]) -> dict[str, str]:
    """Return the components of an SBOM whose version is not that of the lock."""
    locked = locked_versions()
    return {name: version for name, version in components(sbom).items() if locked.get(name) != version}


def test_the_sbom_lists_the_locked_versions_of_the_dependencies() -> None:
    sbom = read(SBOM)
    assert (sbom["bomFormat"], sbom["metadata"]["component"]["version"]) == ("CycloneDX", VERSION)
    assert unknown_to_lock(sbom) == {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = {canonicalize_name(Requirement(each).name) for each in project["dependencies"]}
    [root] = [each for each in sbom["dependencies"] if each["ref"] == sbom["metadata"]["component"]["bom-ref"]]
    assert {canonicalize_name(ref.partition("==")[0]) for ref in root["dependsOn"]} == needed


def test_the_sbom_has_every_dependency_of_its_components_and_no_build_tool() -> None:
    sbom = read(SBOM)
    refs = {each["bom-ref"] for each in sbom["components"]}
    assert {ref for each in sbom["dependencies"] for ref in each.get("dependsOn", [])} <= refs
    assert not {"hatchling", "pip", "setuptools", "wheel", "assay-proxy"} & components(sbom).keys()


def test_an_sbom_of_another_lock_is_noticed() -> None:
    sbom = read(SBOM)
    sbom["components"][0]["version"] = "0.0.1"
    assert list(unknown_to_lock(sbom).values()) == ["0.0.1"]


def test_each_statement_is_about_a_shipped_version_and_gives_a_reason() -> None:
    vex, shipped = read(VEX), {each["purl"] for each in read(SBOM)["components"]}
    assert vex["@context"].startswith("https://openvex.dev/ns/")
    for statement in vex["statements"]:
        assert re.fullmatch(r"CVE-\d{4}-\d{4,}|GHSA(-\w{4}){3}|PYSEC-\d{4}-\d+", statement["vulnerability"]["name"])
        assert (statement["status"], statement["justification"] in JUSTIFICATIONS) == ("not_affected", True)
        [product] = statement["products"]
        assert product["@id"] == f"pkg:pypi/assay-proxy@{VERSION}"
        assert {each["@id"] for each in product["subcomponents"]} <= shipped
        named = re.findall(r"proxy/assay/[\w/]+\.py", statement["impact_statement"])
        assert named
        assert all((ROOT / path).is_file() for path in named)


def make_dist(source: Path) -> Path:
    venv = source / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / ".installed-dev").touch()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1764374400"}
    (venv / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (venv / "bin" / "python").chmod(0o755)
    command = ["make", "--old-file=.venv/.installed-dev", "dist"]
    done = subprocess.run(
        command, cwd=source, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return source / "dist"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dist(copy_repository(tmp_path_factory.mktemp("first") / "source"))


def test_two_runs_of_make_dist_in_two_directories_are_identical(dist: Path, tmp_path: Path) -> None:
    again = make_dist(copy_repository(tmp_path / "elsewhere"))
    first, second = ({path.name: path.read_bytes() for path in each.iterdir()} for each in (dist, again))
    assert first == second
    assert set(first) == {
        f"assay_proxy-{VERSION}-py3-none-any.whl",
        f"assay_proxy-{VERSION}.tar.gz",
        f"assay_proxy-{VERSION}.cdx.json",
        f"assay_proxy-{VERSION}.openvex.json",
        "SHA256SUMS",
    }


def test_the_checksums_are_those_of_the_files(dist: Path) -> None:
    listed = dict(line.split("  ")[::-1] for line in (dist / "SHA256SUMS").read_text().splitlines())
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in dist.iterdir()}
    assert listed == {name: digest for name, digest in found.items() if name != "SHA256SUMS"}


def test_the_wheel_has_the_sbom(dist: Path) -> None:
    [wheel] = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(f"assay_proxy-{VERSION}.dist-info/sboms/sbom.cdx.json") == SBOM.read_bytes()


@pytest.mark.deploy
def test_the_registry_would_accept_the_distributions(dist: Path) -> None:
    checked = tools.run("twine", "check", "--strict", *dist.glob("assay_proxy-*.whl"), *dist.glob("*.tar.gz"))
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count("PASSED") == 2


def list_entries(lock: str) -> dict[str, str]:
    """Return each package of a lock file with its version and hashes, without comments."""
    text = re.sub(r"(?m)^ *#.*\n", "", (ROOT / lock).read_text("utf-8"))
    return {entry.partition("==")[0]: entry for entry in re.split(r"(?m)^(?=[a-z])", text) if entry}


def test_the_lock_of_the_extra_scale_has_its_packages_as_the_development_lock_has_them() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        extra = tomllib.load(file)["project"]["optional-dependencies"]["scale"]
    entries = list_entries("requirements-scale.lock")
    assert set(entries) == {Requirement(each).name for each in extra}
    development = list_entries("requirements-dev.lock")
    assert entries == {name: development[name] for name in entries}
