"""Paths in a checkout, so that a test can be moved."""

from __future__ import annotations

from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parent
ROOT: Final = TESTS.parent
DOCS: Final = ROOT / "docs"
CORPUS: Final = TESTS / "corpus"
"""Real attestations and provenance documents of PyPI, with the verdict on each."""
LOCKFILES: Final = TESTS / "unit" / "lockfiles" / "real"
"""Lockfiles as their tools wrote them, of projects of the corpus."""
TOOLS: Final = ROOT / ".tools"
"""Directory of the tools that the tests/install-*.sh scripts install. Not there on every machine."""
