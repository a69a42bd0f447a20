"""The user on whose behalf a request is made: a name, how it was established, and what else is known. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

_NO_CLAIMS: Final[Mapping[str, str]] = MappingProxyType({})


class Authentication(StrEnum):
    """How a user's name was established."""

    TOKEN = "token"  # noqa: S105 - a word, not a secret
    PASSWORD = "password"  # noqa: S105 - as above
    HEADER = "header"
    """A trusted proxy named the user."""


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated user."""

    name: str
    how: Authentication
    claims: Mapping[str, str] = field(default_factory=lambda: _NO_CLAIMS, hash=False)
    """Facts that came with the name; none today."""
