"""Coverage measures the package with the settings of the project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import assay
from tests.paths import ROOT

PACKAGE = ROOT / "proxy" / "assay"
TEST = "from assay.units import parse_size\n\ndef test_a_size():\n    assert parse_size('1 kB') == 1000\n"
READ = """\
import glob, sys
from coverage import CoverageData

lines = {}
for name in glob.glob(sys.argv[1] + "*"):  # one file for each process
    data = CoverageData(name)
    data.read()
    for path in data.measured_files():
        lines.setdefault(path, set()).update(data.lines(path) or ())
for path in sorted(lines):
    print(len(lines[path]), path)
"""


def measure(directory: Path, settings: Path) -> dict[Path, int]:
    """Run one small test by the settings, and return how many lines of which file were run."""
    (directory / "test_small.py").write_text(TEST)
    data = directory / "data"
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    coverage = ("-m", "coverage", "run", "--rcfile", str(settings), "--data-file", str(data))
    outputs = []
    for command in ((*coverage, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_small.py"), ("-c", READ, data)):
        run = subprocess.run(
            [sys.executable, *command],
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        outputs.append(run.stdout)
    counted = (line.split(" ", 1) for line in outputs[-1].splitlines())
    return {Path(path): int(count) for count, path in counted}


def test_the_package_and_nothing_else_is_measured(tmp_path: Path) -> None:
    assert Path(assay.__file__).parent == PACKAGE
    measured = measure(tmp_path, ROOT / "pyproject.toml")
    assert [path for path in measured if not path.is_relative_to(PACKAGE)] == []
    assert measured[PACKAGE / "units.py"] > 20
    assert set(measured) >= set(PACKAGE.rglob("*.py")), "also what no test has imported counts"


def test_the_twin_a_source_of_another_name_measures_nothing(tmp_path: Path) -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    assert text.count('\nsource = ["assay"]\n') == 1
    settings = tmp_path / "pyproject.toml"
    settings.write_text(text.replace('\nsource = ["assay"]\n', '\nsource = ["proxy"]\n'), "utf-8")
    assert measure(tmp_path, settings) == {}
