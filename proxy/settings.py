"""What every TOML document of ours has in common: strict models, kebab-case keys, errors that say where. Pure.

Owns the base class of settings and the translation of a pydantic error into one line with file, key path, line where
it can be located, expected, found, and the nearest valid key. Knows no particular setting.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


def kebab(name: str) -> str:
    """``max_stale`` as the key people write, ``max-stale``."""
    return name.replace("_", "-")


class Settings(BaseModel):
    """Base of all settings and policy tables: frozen, unknown keys refused, keys in kebab-case."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=kebab, validate_by_name=True, validate_by_alias=True
    )
