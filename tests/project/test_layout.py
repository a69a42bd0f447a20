"""Layout: tests/unit mirrors the package, no folder has too many modules, and the package has one name, `assay`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.paths import ROOT, TESTS

UNIT = TESTS / "unit"
PACKAGE = ROOT / "proxy" / "assay"
MOST_MODULES = 16
LONGER_FOLDERS = {
    "cli/commands": "a module for each command, however many commands there are",
    "policy/requirements": "a module for each requirement of the policy language",
}
NAMED_OTHERWISE = {
    "test_config_environment.py": "config, out of the environment; test_config has the rest",
    "test_config_help.py": "config, its table [help]; test_config has the rest",
    "attestation/verification/test_sigstore_private_changed.py": "sigstore_private, where sigstore is another",
    "attestation/verification/test_verify_attacks.py": "verify, over the table of attacks in tests/world/sigstore",
    "attestation/verification/test_verify_conformance.py": "verify, over cases of Sigstore's conformance suite",
    "attestation/verification/test_verify_corpus.py": "verify, over the real attestations in tests/corpus",
    "attestation/verification/test_verify_differential.py": "verify, beside the reference verifier of sigstore",
    "files/shared/test_plan_object_storage.py": "plan, over a real object storage; test_plan has one in memory",
    "files/test_download_sources.py": "download, from several sources; test_download has what holds with one",
    "files/test_download_stored.py": "download, of a stored file; test_download has what holds without one",
    "policy/test_judge_ledger_changes.py": "judge.derive_ledger_changes; test_decide has the verdicts",
    "policy/requirements/test_ratchet_ledger.py": "ratchet, over facts of the ledger; test_ratchet has one page's",
    "store/test_blobs_failing.py": "blobs, while system calls fail",
    "store/test_records_put_soon.py": "records, where nobody waits for them to be kept",
}


def list_modules(folder: Path) -> list[str]:
    return sorted(file.stem for file in folder.glob("*.py") if file.name != "__init__.py")


def find_unmirrored(unit: Path, package: Path, named_otherwise: Mapping[str, str]) -> list[str]:
    """Return folders and test modules in `unit` without a counterpart in `package`, except data and helpers."""
    found = []
    for folder in sorted({file.parent for file in unit.rglob("*.py")}):
        mirrored = package / folder.relative_to(unit)
        if not (mirrored / "__init__.py").is_file():
            found.append(f"{folder.relative_to(unit)}/")
            continue
        known = {*list_modules(mirrored), mirrored.name}  # a package's own name: what its `__init__` has, or all of it
        found += [
            str(file.relative_to(unit))
            for file in sorted(folder.glob("test_*.py"))
            if file.stem.removeprefix("test_") not in known and str(file.relative_to(unit)) not in named_otherwise
        ]
    return found


def find_long_folders(package: Path, longer: Mapping[str, str]) -> dict[str, int]:
    """Return folders of more than `MOST_MODULES` modules, not counting `__init__`."""
    counts = {
        str(file.parent.relative_to(package)): len(list_modules(file.parent)) for file in package.rglob("__init__.py")
    }
    return {folder: count for folder, count in counts.items() if count > MOST_MODULES and folder not in longer}


def test_each_folder_and_module_of_tests_unit_has_its_namesake_in_the_package() -> None:
    assert find_unmirrored(UNIT, PACKAGE, NAMED_OTHERWISE) == []
    for path in NAMED_OTHERWISE:
        assert (UNIT / path).is_file(), f"{path} is in the table, and is no more"


def test_no_folder_of_the_package_is_long() -> None:
    assert find_long_folders(PACKAGE, LONGER_FOLDERS) == {}


def test_the_twins_a_stray_test_a_stray_folder_and_a_long_folder_are_found(tmp_path: Path) -> None:
    unit, package = tmp_path / "unit", tmp_path / "assay"
    for path in ("gate/__init__.py", "gate/gate.py", *(f"gate/module_{number}.py" for number in range(MOST_MODULES))):
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).touch()
    (package / "__init__.py").touch()
    for path in (
        "gate/test_gate.py",
        "gate/test_turns.py",
        "gate/test_listed.py",
        "gate/real/a.lock",
        "door/test_a.py",
    ):
        (unit / path).parent.mkdir(parents=True, exist_ok=True)
        (unit / path).touch()
    assert find_unmirrored(unit, package, {"gate/test_listed.py": "listed"}) == ["door/", "gate/test_turns.py"]
    assert find_long_folders(package, {}) == {"gate": MOST_MODULES + 1}
    assert find_long_folders(package, {"gate": "listed"}) == {}


def test_the_readme_of_the_tests_names_only_what_there_is_and_every_folder() -> None:
    named = set(re.findall(r"`(tests/[^`*\s]+)`", (TESTS / "README.md").read_text("utf-8")))
    assert sorted(path for path in named if not (ROOT / path).exists()) == []
    folders = {f"tests/{folder.parent.name}/" for folder in TESTS.glob("*/test_*.py")} | {"tests/service/"}
    assert folders <= named


_IMPORT_ALL = """
import importlib, pkgutil, sys
import assay.cli.commands.serve
for found in pkgutil.walk_packages(assay.__path__, "assay."):
    importlib.import_module(found.name)
print(len([name for name in sys.modules if name.split(".")[0] == "assay"]))
print([name for name in sys.modules if name.split(".")[0] == "proxy"])
"""


def test_nothing_imports_the_package_by_the_name_of_its_folder() -> None:
    """The root of the repository is on the path, so `proxy` could be imported as a second copy of all modules."""
    ran = subprocess.run(
        [sys.executable, "-c", "import proxy\n" + _IMPORT_ALL], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.stdout.splitlines()[1:] == ["['proxy']"], f"the twin is found: {ran.stderr}"
    ran = subprocess.run([sys.executable, "-c", _IMPORT_ALL], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    count, found = ran.stdout.splitlines()
    assert int(count) > len(list(PACKAGE.rglob("[!_]*.py")))
    assert found == "[]"


def run_ruff(source: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise"]
    command += ["--stdin-filename", "tests/unit/test_snippet.py", "-"]
    ran = subprocess.run(command, input=source, cwd=ROOT, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def test_ruff_bans_that_import() -> None:
    for line in ("from proxy.assay.errors import AssayError", "import proxy.assay.errors", "import proxy"):
        status, said = run_ruff(f"from __future__ import annotations\n\n{line}\n")
        assert (status, "TID251" in said) == (1, True), said
    status, said = run_ruff("from __future__ import annotations\n\nfrom assay.errors import AssayError\n")
    assert "TID251" not in said
    assert "F401" in said, "it is read, and found unused"


def test_no_wait_can_lose_a_cancellation() -> None:
    """In Python 3.11, `asyncio.wait_for` loses a cancellation that arrives together with the result."""
    modules = list((ROOT / "proxy" / "assay").rglob("*.py"))
    assert len(modules) > 200
    assert [path for path in modules if "wait_for(" in path.read_text("utf-8").replace("_wait_for(", "")] == []


_NUMBERED_PARAMETER = re.compile(r"(?:=|\(|,|LIMIT|VALUES|IN|AND|<|>)\s*\?\d")


def test_no_sql_has_numbered_parameters() -> None:
    """Python 3.14 refuses them with a sequence (CPython issue 101693), and 3.12 warns."""
    modules = sorted((ROOT / "proxy").rglob("*.py"))
    assert modules
    assert [each for each in modules if _NUMBERED_PARAMETER.search(each.read_text("utf-8"))] == []
    assert _NUMBERED_PARAMETER.search("WHERE project = ?1 ORDER BY")
    assert not _NUMBERED_PARAMETER.search("WHERE project = ? ORDER BY")
