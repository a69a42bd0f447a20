"""Checkout of Assay: its Python, the import name of its package, and a check that this Python imports it.

Only this module contains the differences of older checkouts: before the move to ``proxy/assay``, the package was called
``proxy``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Checkout:
    """Directory of the project, and the Python of a virtual environment with its dependencies."""

    root: Path
    python: str

    @property
    def _moved(self) -> bool:
        return (self.root / "proxy" / "assay" / "__main__.py").exists()

    @property
    def package(self) -> str:
        """Import name of the package."""
        return "assay" if self._moved else "proxy"

    @property
    def sources(self) -> Path:
        """Directory that contains the package."""
        return self.root / "proxy" if self._moved else self.root

    @property
    def serve(self) -> list[str]:
        """Command that starts the proxy, without options."""
        return [self.python, "-m", self.package, "serve"]

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables with which processes import the package of this checkout."""
        return {"PYTHONPATH": str(self.sources)}

    def figures(self, what: str) -> Mapping[str, float]:
        """Run a measurement of `figures.py` with the benchmarks, the package and the Python of this checkout."""
        environ = {**os.environ, "PYTHONPATH": f"{self.sources}:{self.root}"}
        command = [self.python, "-P", str(_HERE / "figures.py"), what]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ, cwd=self.root)
        if done.returncode:
            raise SystemExit(f"{what} in {self.root} ended with {done.returncode}: {done.stderr[-2000:]}")
        return dict(json.loads(done.stdout))

    def check(self) -> None:
        """Exit if the directory has no virtual environment, or if its Python imports another checkout's package."""
        if not Path(self.python).exists():
            raise SystemExit(f"{self.root} has no .venv/bin/python: run `make install-dev` in it")
        command = [self.python, "-P", "-c", f"import {self.package}; print({self.package}.__file__)"]
        environ = {**os.environ, **self.environ}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ, cwd=self.root)
        if done.returncode or not Path(done.stdout.strip()).is_relative_to(self.sources / self.package):
            raise SystemExit(f"{self.python} does not import {self.root}'s package: {done.stdout}{done.stderr[-2000:]}")


HERE = Checkout(_HERE.parent, sys.executable)
"""The checkout of this module, with the current Python."""


def checkout(root: Path) -> Checkout:
    """Return the checkout in `root`, with the Python of its virtual environment."""
    root = root.resolve()
    found = Checkout(root, str(root / ".venv" / "bin" / "python"))
    found.check()
    return found
