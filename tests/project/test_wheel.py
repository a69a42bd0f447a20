"""Result of `python -m build`: a wheel, built from the source distribution, of the whole package and nothing else."""

from __future__ import annotations

import configparser
import importlib
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.repository import copy_repository, list_repository_files
from tests.paths import ROOT

PACKAGE = "proxy/assay/"
BUNDLED = "assay/attestation/bundled/"
BUILD = "import sys; from hatchling import build; getattr(build, sys.argv[1])(sys.argv[2])"
PACKAGES = 'packages = ["proxy/assay"]'


@dataclass(frozen=True)
class Built:
    """Wheel and source distribution of a release."""

    sdist: Path
    wheel: Path


@pytest.fixture(autouse=True, scope="module")
def no_revision() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ASSAY_REVISION", raising=False)
        yield


def build(hook: str, source: Path, into: Path) -> Path:
    """Run a build hook as a frontend does, and return the file that it created."""
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
    """Return the files of the import package by their names in a wheel."""
    paths = [path for path in list_repository_files() if path.startswith(PACKAGE)]
    return {path.removeprefix("proxy/"): (ROOT / path).read_bytes() for path in paths}


def top_levels(names: list[str]) -> set[str]:
    return {re.sub(r"-[^-]+\.dist-info$", ".dist-info", name.split("/")[0]) for name in names}


def missing_from(wheel: Path) -> set[str]:
    """Return the files of the package that are missing or different in the wheel."""
    held = read_wheel(wheel)
    return {name for name, content in package_files().items() if held.get(name) != content}


def test_the_wheel_holds_the_package_byte_for_byte_and_nothing_else(built: Built) -> None:
    held = read_wheel(built.wheel)
    assert top_levels(list(held)) == {"assay", "assay_proxy.dist-info"}
    assert {name for name in held if name.startswith("assay/")} == set(package_files())
    assert missing_from(built.wheel) == set()


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
        *(
            ".gitignore",
            "CHANGELOG.md",
            "LICENSE",
            "PKG-INFO",
            "README.md",
            "proxy",
            "pyproject.toml",
            "release",
            "requirements.lock",
            "requirements-scale.lock",
        )
    }


def change_build_settings(source: Path, old: str, new: str) -> None:
    settings = (source / "pyproject.toml").read_text("utf-8")
    assert settings.count(old) == 1
    (source / "pyproject.toml").write_text(settings.replace(old, new), "utf-8")


def test_the_twin_without_data_files_lacks_the_bundled_trust_roots(tmp_path: Path) -> None:
    source = copy_repository(tmp_path / "source")
    change_build_settings(source, PACKAGES, f'{PACKAGES}\nexclude = ["proxy/{BUNDLED}"]')
    wheel = build("build_wheel", source, tmp_path / "wheel")
    assert missing_from(wheel) == {name for name in package_files() if name.startswith(BUNDLED)}


def test_the_twin_that_packs_other_folders_takes_other_names(tmp_path: Path) -> None:
    source = copy_repository(tmp_path / "source")
    change_build_settings(source, PACKAGES, 'packages = ["proxy", "tests"]')
    wheel = build("build_wheel", source, tmp_path / "wheel")
    assert top_levels(list(read_wheel(wheel))) > {"proxy", "tests"}


def test_two_builds_of_the_same_files_are_identical(built: Built, tmp_path: Path) -> None:
    source = copy_repository(tmp_path / "elsewhere" / "source")
    for path in source.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    again = build("build_sdist", source, tmp_path / "sdist")
    assert again.read_bytes() == built.sdist.read_bytes()
    assert build("build_wheel", source, tmp_path / "wheel").read_bytes() == built.wheel.read_bytes()


def test_the_twin_with_another_date_differs(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    source = copy_repository(tmp_path / "source")
    assert build("build_wheel", source, tmp_path / "wheel").read_bytes() != built.wheel.read_bytes()


REVISION = "0123456789abcdef0123456789abcdef01234567"


def print_version(wheel: Path, into: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(into)  # noqa: S202 - our own wheel
    environment = {**os.environ, "PYTHONPATH": str(into)}
    command = [sys.executable, "-P", "-m", "assay", "--version"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=into).stdout


def test_a_wheel_names_the_commit_that_its_source_distribution_was_built_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_REVISION", REVISION)
    sdist = build("build_sdist", copy_repository(tmp_path / "source"), tmp_path / "sdist")
    monkeypatch.delenv("ASSAY_REVISION")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    [source] = (tmp_path / "unpacked").iterdir()
    wheel = build("build_wheel", source, tmp_path / "wheel")
    assert read_wheel(wheel)["assay/revision.txt"].decode() == f"{REVISION}\n"
    assert print_version(wheel, tmp_path / "installed").endswith(f" (revision {REVISION})\n")


def test_a_wheel_of_an_unknown_commit_names_none(built: Built, tmp_path: Path) -> None:
    assert "revision" not in print_version(built.wheel, tmp_path / "installed")


@pytest.mark.parametrize("revision", ["main", REVISION[:-1], f"{REVISION}\nx"])
def test_what_is_no_commit_id_ends_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str) -> None:
    monkeypatch.setenv("ASSAY_REVISION", revision)
    with pytest.raises(AssertionError, match="expected a commit id"):
        build("build_wheel", copy_repository(tmp_path / "source"), tmp_path / "wheel")
