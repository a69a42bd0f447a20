"""Namespaces of a project, as its index states them (PEP 752). They are shown and passed on, and decide nothing.

A JSON page of API 1.5 has the key ``namespaces``: null, or a list with each namespace that matches the project's name
and has an active grant. `Project.extra` keeps the key, so the page that Assay serves has it unchanged.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from assay.simple.model import Project

_KEY: Final = "namespaces"
_MAX_NAMESPACES: Final = 20
_MAX_NAME_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """Namespace that matches the name of a project."""

    name: str
    is_owned: bool
    """True if an owner of the project has the grant of the namespace, according to the index."""

    def describe(self) -> str:
        """Return the namespace for a person: ``acme (owned)``."""
        return f"{self.name} ({'owned' if self.is_owned else 'not owned'})"


def read_namespaces(project: Project) -> tuple[Namespace, ...]:
    """Return the namespaces that the index states for a project, at most 20.

    Malformed entries are left out. Nothing depends on them, so they are no reason to refuse the page.
    """
    listed = next((json.loads(text) for key, text in project.extra if key == _KEY), None)
    if not isinstance(listed, list):
        return ()
    found = (
        Namespace(name=entry["name"], is_owned=entry.get("owned") is True)
        for entry in listed
        if isinstance(entry, dict) and _is_name(entry.get("name"))
    )
    return tuple(namespace for namespace, _ in zip(found, range(_MAX_NAMESPACES), strict=False))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME_CHARACTERS and value.isprintable()
