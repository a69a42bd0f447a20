"""A checkout of Assay: which Python runs it, under which name it is imported, and that it is really this one.

The whole of what a comparison knows about older checkouts: until the move to ``proxy/assay`` the package was ``proxy``.
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
    """A directory that holds the project, and the Python of a virtual environment with what it needs."""

    root: Path
    python: str

    @property
    def _moved(self) -> bool:
        return (self.root / "proxy" / "assay" / "__main__.py").exists()

    @property
    def package(self) -> str:
        """Return the name under which its package is imported."""
        return "assay" if self._moved else "proxy"

    @property
    def sources(self) -> Path:
        """Return the directory in which its package lies."""
        return self.root / "proxy" if self._moved else self.root

    @property
    def serve(self) -> list[str]:
        """Return the command that starts it, without flags."""
        return [self.python, "-m", self.package, "serve"]

    @property
    def environ(self) -> dict[str, str]:
        """Return what its processes need in the environment, to import its package and no other's."""
        return {"PYTHONPATH": str(self.sources)}

    def figures(self, what: str) -> Mapping[str, float]:
        """Run one of `figures.py`'s measurements by its own benchmarks, its own package and its own Python."""
        environ = {**os.environ, "PYTHONPATH": f"{self.sources}:{self.root}"}
        command = [self.python, "-P", str(_HERE / "figures.py"), what]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ, cwd=self.root)
        if done.returncode:
            raise SystemExit(f"{what} in {self.root} ended with {done.returncode}: {done.stderr[-2000:]}")
        return dict(json.loads(done.stdout))

    def check(self) -> None:
        """Refuse a directory that has no virtual environment, or whose Python imports another checkout's package."""
        if not Path(self.python).exists():
            raise SystemExit(f"{self.root} has no .venv/bin/python: run `make install-dev` in it")
        command = [self.python, "-P", "-c", f"import {self.package}; print({self.package}.__file__)"]
        environ = {**os.environ, **self.environ}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ, cwd=self.root)
        if done.returncode or not Path(done.stdout.strip()).is_relative_to(self.sources / self.package):
            raise SystemExit(f"{self.python} does not import {self.root}'s package: {done.stdout}{done.stderr[-2000:]}")


HERE = Checkout(_HERE.parent, sys.executable)
"""This one, run by the Python that runs this."""


def checkout(root: Path) -> Checkout:
    """Return another one, run by the Python of its own virtual environment."""
    root = root.resolve()
    found = Checkout(root, str(root / ".venv" / "bin" / "python"))
    found.check()
    return found
