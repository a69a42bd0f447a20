"""Policies as documents: read from TOML, described as JSON Schema, and the one that stands when there is none. Pure."""

from __future__ import annotations

from typing import Any, Final

from assay.policy.language.model import Policy, Requirements, Rule
from assay.policy.requirements.ratchet import RatchetMode
from assay.settings import parse_toml, validate_table

BUILT_IN_POLICY: Final = Policy(
    version=1,
    rules=(Rule(name="built-in policy", projects=("*",)),),
    defaults=Requirements(ratchet=RatchetMode.WARN),
)
"""What holds with no configuration at all: attestations if present, none forged, the ratchet only warns."""


def load_policy(text: str, source: str) -> Policy:
    """The policy that a TOML document states; `source` is its file's name, for messages.

    Raises:
        ConfigurationError: one line for each problem, with file, line, key path, expected, found, nearest valid key.
    """
    return validate_table(Policy, parse_toml(text, source), source=source, text=text)


def policy_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the language, for editors."""
    schema = Policy.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Assay policy"} | schema
