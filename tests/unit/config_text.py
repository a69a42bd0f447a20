"""A configuration read from a text, as a test writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.config import Configuration, load_configuration
from assay.errors import ConfigurationError


def load(tmp_path: Path, text: str, **environ: str) -> Configuration:
    file = tmp_path / "proxy.toml"
    file.write_text(text, "utf-8")
    return load_configuration(file, environ)


def refusal(tmp_path: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, text, **environ)
    return str(refused.value)
