"""Contracts of import-linter: they name existing modules, cover all modules, and fail for forbidden imports."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT

PACKAGE = ROOT / "proxy" / "assay"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
CONTRACTS: dict[str, dict[str, Any]] = {contract["id"]: contract for contract in SETTINGS["contracts"]}
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


def layers_of(contract: dict[str, Any]) -> list[str]:
    """Return the modules of the layers, without their container."""
    return [name for layer in contract["layers"] for name in re.split(r"\s*[|:]\s*", layer)]


def names_in(contract: dict[str, Any]) -> Iterator[str]:
    """Return every module that a contract names, and for a pattern its package."""
    for container in contract.get("containers", []):
        yield from (f"{container}.{layer}" for layer in layers_of(contract))
    for key in ("source_modules", "forbidden_modules"):
        yield from contract.get(key, [])
    for ignored in contract.get("ignore_imports", []):
        yield from (re.sub(r"(\.\*+)+$", "", side) for side in ignored.split(" -> "))


def exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def top_level_modules() -> set[str]:
    """Return the top-level modules and packages of the package."""
    return {
        path.stem
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.name != "__init__.py"
    }


def lint(source: Path) -> subprocess.CompletedProcess[str]:
    command = [str(LINT_IMPORTS), "--config", str(source / "pyproject.toml"), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a copy of the package and the contracts, to which a test adds forbidden imports."""
    shutil.copytree(PACKAGE, tmp_path / "assay", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    return tmp_path


def plant(source: Path, importer: str, imported: str) -> None:
    """Append an import to a module."""
    path = source / importer.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    path.write_text(f"{path.read_text('utf-8')}\nimport {imported}\n", "utf-8")


def test_the_contracts_are_these() -> None:
    assert (SETTINGS["root_package"], SETTINGS["include_external_packages"]) == ("assay", True)
    assert set(CONTRACTS) == {
        *("layers", "pure", "protocols", "engine-in-one-place"),
        *("sigstore-in-one-place", "keys-in-one-place", "diskcache-in-one-place", "opentelemetry-in-one-place"),
        *("asyncpg-in-one-place", "obstore-in-one-place"),
    }


def test_every_module_of_the_store_but_two_belongs_to_the_engine() -> None:
    open_to_all = {"factory", "settings"}
    store = PACKAGE / "store"
    modules = {path.stem for path in store.glob("*.py") if path.stem != "__init__"}
    modules |= {path.parent.name for path in store.glob("*/__init__.py")}
    named = {name.removeprefix("assay.store.") for name in CONTRACTS["engine-in-one-place"]["forbidden_modules"]}
    assert named == modules - open_to_all


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
def test_every_module_that_a_contract_names_exists(contract: dict[str, Any]) -> None:
    named = set(names_in(contract))
    assert len(named) >= 2
    assert {name for name in named if not exists(name)} == set()


def test_the_twin_what_does_not_exist_is_found() -> None:
    wrong = {
        "containers": ["assay"],
        "layers": ["web | probe", "gone : units"],
        "forbidden_modules": ["proxy.store", "sigstore"],
        "ignore_imports": ["assay.store.cache -> diskcache", "assay.gone.** -> sigstore", "assay.web.** -> aiohttp"],
    }
    assert {name for name in names_in(wrong) if not exists(name)} == {
        *("assay.probe", "assay.gone", "proxy.store", "assay.store.cache")
    }


def test_the_layers_leave_no_module_out() -> None:
    assert CONTRACTS["layers"]["exhaustive"] is True
    layers = layers_of(CONTRACTS["layers"])
    assert len(layers) == len(set(layers))
    assert set(layers) == top_level_modules()


def test_the_twin_a_module_in_no_layer_fails(source: Path) -> None:
    (source / "assay" / "planted.py").write_text("")
    outcome = lint(source)
    assert outcome.returncode == 1, outcome.stdout
    assert "assay.planted" in outcome.stdout


def test_the_twin_a_copy_with_nothing_planted_passes(source: Path) -> None:
    outcome = lint(source)
    assert outcome.returncode == 0, outcome.stdout
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in outcome.stdout


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("assay.units", "assay.web.app"),
        ("assay.errors", "assay.units"),
        ("assay.policy.decide", "assay.gate.gate"),
        ("assay.gate.gate", "assay.assembly"),
        ("assay.pages.cache", "assay.files.cache"),
        ("assay.pages.cache", "assay.provenance.resolver"),
        ("assay.files.cache", "assay.pages.cache"),
        ("assay.files.cache", "assay.provenance.resolver"),
        ("assay.provenance.resolver", "assay.pages.cache"),
        ("assay.provenance.resolver", "assay.files.cache"),
        ("assay.store.records", "assay.upstream.client"),
    ],
)
def test_an_import_against_the_layers_fails(source: Path, importer: str, imported: str) -> None:
    plant(source, importer, imported)
    outcome = lint(source)
    assert outcome.returncode == 1, outcome.stdout
    assert f"{CONTRACTS['layers']['name']} BROKEN" in outcome.stdout
    assert f"- {importer} -> {imported} (l." in outcome.stdout


def test_every_import_that_a_contract_forbids_fails(source: Path) -> None:
    forbidding = [contract for contract in CONTRACTS.values() if contract["type"] == "forbidden"]
    # An import that is forbidden in the whole package is added to a module without an exception.
    planted = {
        ("assay.gate.gate" if importer == "assay" else importer, imported)
        for contract in forbidding
        for importer in contract["source_modules"]
        for imported in contract["forbidden_modules"]
    }
    for importer, imported in sorted(planted):
        plant(source, importer, imported)
    outcome = lint(source)
    assert outcome.returncode == 1, outcome.stdout
    for contract in forbidding:
        assert f"{contract['name']} BROKEN" in outcome.stdout
    found = set(re.findall(r"(?m)^-\s+(\S+) -> (\S+) \(l\.", outcome.stdout))
    assert len(planted) > 100
    assert planted - found == set()
