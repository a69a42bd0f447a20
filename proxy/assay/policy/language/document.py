"""Policy documents: the TOML reader, the JSON Schema, and the built-in policy. Pure."""

from __future__ import annotations

from typing import Any, Final

from assay.policy.language.model import Policy, Requirements, Rule
from assay.policy.language.values import KnownNames
from assay.policy.requirements.ratchet import RatchetMode
from assay.settings import parse_toml, validate_table

BUILT_IN_POLICY: Final = Policy(
    version=1,
    rules=(Rule(name="built-in policy", projects=("*",)),),
    defaults=Requirements(ratchet=RatchetMode.WARN),
)
"""Policy that applies without a policy file. Attestations are optional, and forged ones are refused. Lost or changed
provenance only leads to a note."""


def load_policy(text: str, source: str, known: KnownNames | None = None) -> Policy:
    """Parse a policy from TOML.

    Args:
        text: the TOML document.
        source: its filename, for error messages.
        known: names of the configured indexes and trust roots, which the policy may use. None permits all names.

    Raises:
        ConfigurationError: the policy has problems. The message has one line for each, with file, line, key path,
            expected value, found value and nearest valid key.
    """
    return validate_table(Policy, parse_toml(text, source), source=source, text=text, context=known)


def policy_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the policy language, for editors."""
    schema = Policy.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Assay policy"} | schema
