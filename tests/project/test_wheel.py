"""What `python -m build` makes: by way of the source distribution, a wheel of the whole package and nothing else."""

from __future__ import annotations

import configparser
import importlib
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.repository import copy_repository, list_repository_files
from tests.paths import ROOT

PACKAGE = "proxy/assay/"
BUNDLED = "assay/attestation/bundled/"
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
DATA_TABLE = re.compile(r"(?ms)^\[tool\.setuptools\.package-data\]\n.*?(?=^\[)")


@dataclass(frozen=True)
class Built:
    """The two distributions that a release uploads."""

    sdist: Path
    wheel: Path


def build(hook: str, source: Path, into: Path) -> Path:
    """Run a build hook, as a frontend does, and return the one file that it made."""
    into.mkdir()
    command = [sys.executable, "-W", "ignore", "-c", BUILD, hook, str(into)]
    made = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 0, made.stderr
    [distribution] = into.iterdir()
    return distribution


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    work = tmp_path_factory.mktemp("build")
    sdist = build("build_sdist", copy_repository(work / "source"), work / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(work / "unpacked", filter="data")
    [source] = (work / "unpacked").iterdir()
    return Built(sdist, build("build_wheel", source, work / "wheel"))


def read_wheel(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def package_files() -> dict[str, bytes]:
    """The import package's files, by their names in a wheel."""
    paths = [path for path in list_repository_files() if path.startswith(PACKAGE)]
    return {path.removeprefix("proxy/"): (ROOT / path).read_bytes() for path in paths}


def top_levels(names: list[str]) -> set[str]:
    return {re.sub(r"-[^-]+\.dist-info$", ".dist-info", name.split("/")[0]) for name in names}


def missing_from(wheel: Path) -> set[str]:
    """The package's files that the wheel doesn't have, or has otherwise."""
    held = read_wheel(wheel)
    return {name for name, content in package_files().items() if held.get(name) != content}


def test_the_wheel_holds_the_package_byte_for_byte_and_nothing_else(built: Built) -> None:
    held = read_wheel(built.wheel)
    assert top_levels(list(held)) == {"assay", "assay_proxy.dist-info"}
    assert {name for name in held if name.startswith("assay/")} == set(package_files())
    assert missing_from(built.wheel) == set()
    [declared] = [held[name] for name in held if name.endswith(".dist-info/top_level.txt")]
    assert declared.decode().split() == ["assay"]


def test_the_wheel_has_the_bundled_trust_roots_and_says_that_it_is_typed(built: Built) -> None:
    held = read_wheel(built.wheel)
    assert "assay/py.typed" in held
    on_disk = {f"{BUNDLED}{path.name}": path.read_bytes() for path in (ROOT / "proxy" / BUNDLED).iterdir()}
    assert {f"{BUNDLED}sigstore.root.json", f"{BUNDLED}sigstore.trusted_root.json"} <= set(on_disk)
    assert {name: held.get(name) for name in on_disk} == on_disk


def test_the_wheel_brings_the_one_command(built: Built) -> None:
    [text] = [content for name, content in read_wheel(built.wheel).items() if name.endswith("/entry_points.txt")]
    points = configparser.ConfigParser()
    points.read_string(text.decode())
    assert {section: dict(points[section]) for section in points.sections()} == {
        "console_scripts": {"assay": "assay.__main__:main"}
    }
    assert callable(importlib.import_module("assay.__main__").main)


def test_the_source_distribution_has_the_package_and_no_tests(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert {path for path in list_repository_files() if path.startswith(PACKAGE)} <= names
    assert {name.split("/")[0] for name in names} == {
        *("LICENSE", "PKG-INFO", "README.md", "proxy", "pyproject.toml", "setup.cfg")
    }


def test_the_twin_without_package_data_lacks_the_bundled_trust_roots(tmp_path: Path) -> None:
    source = copy_repository(tmp_path / "source")
    settings = (source / "pyproject.toml").read_text("utf-8")
    without, removed = DATA_TABLE.subn("", settings)
    assert removed == 1
    (source / "pyproject.toml").write_text(without, "utf-8")
    wheel = build("build_wheel", source, tmp_path / "wheel")
    assert missing_from(wheel) == {name for name in package_files() if name.startswith(BUNDLED)}


def test_the_twin_that_looks_for_packages_in_the_root_takes_other_names(tmp_path: Path) -> None:
    source = copy_repository(tmp_path / "source")
    settings = (source / "pyproject.toml").read_text("utf-8")
    assert 'where = ["proxy"]' in settings
    (source / "pyproject.toml").write_text(settings.replace('where = ["proxy"]', 'where = ["."]'), "utf-8")
    wheel = build("build_wheel", source, tmp_path / "wheel")
    assert top_levels(list(read_wheel(wheel))) > {"proxy", "tests"}
