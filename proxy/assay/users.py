"""Authenticated user of the proxy: name, authentication method and further claims. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

_NO_CLAIMS: Final[Mapping[str, str]] = MappingProxyType({})


class Authentication(StrEnum):
    """Method by which a user was authenticated."""

    TOKEN = "token"  # noqa: S105 - the name of a method, not a secret
    PASSWORD = "password"  # noqa: S105 - the name of a method, not a secret
    HEADER = "header"
    """The request header that `server.auth.user-header` names. A trusted front proxy sets it."""


@dataclass(frozen=True, slots=True)
class User:
    """Authenticated user of the proxy."""

    name: str
    how: Authentication
    claims: Mapping[str, str] = field(default_factory=lambda: _NO_CLAIMS, hash=False)
    """Further facts about the user. No authentication method sets any at present."""


current_client: Final[ContextVar[str | None]] = ContextVar("client", default=None)
"""Client for whom the current work is done: the name of the user, or else the address. It is None for work of the proxy
itself. Work that outlives its request keeps it, so that clients can share a limit fairly."""
