"""Where things are in a checkout, so that a test finds them wherever it is moved to."""

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
"""What the tests/install-*.sh programs install. Not there on every machine."""
