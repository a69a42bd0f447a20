"""Authentication of users: by password, by token, or by a trusted proxy. Any other request gets 401 and nothing more.

Owns the two files of `[server.auth]`, the response 401, and the response 403 to a user to whom a view is closed. Only
hashes are kept. It decides nothing about files: a view's policy is the same for all its users.

- pip and uv know Basic alone, so a token is taken as the password of the user ``__token__`` too, as PyPI has it.
- scrypt takes 50 ms and 16 MiB on purpose, so a password that was right is remembered until the files change (under a
  key that only this process has), and others are tried one at a time: a flood of them costs one core at most.
- A header that names a user counts from `trusted-proxies` alone: from anybody else it is the client's own claim.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias

from aiohttp import web

from assay.caching.lru import Lru
from assay.config import AuthSettings, ServerSettings
from assay.errors import ConfigurationError
from assay.file_watch import SettingWatch, reload_on_change
from assay.operator_files import read_text
from assay.users import Authentication, User
from assay.web.errors import Problem, build_problem_response
from assay.web.origin import is_trusted_proxy

TOKEN_USER = "__token__"  # noqa: S105 - the user name that PyPI gives to tokens
REALM = "assay"
PasswordCheck: TypeAlias = partial[Coroutine[Any, Any, User | None]]
"""The check of a password that has not been verified before; returns None if it is wrong."""

_SCRYPT_N, _SCRYPT_R, _SCRYPT_P, _SCRYPT_KEY_BYTES = 2**14, 8, 1, 32
_SCRYPT_MAX_MEMORY_BYTES = 2**26
_PASSWORD_ENTRY = re.compile(
    r"([^:\s]{1,256}):scrypt\$(\d{1,8})\$(\d{1,3})\$(\d{1,3})\$([\w+/=-]{8,128})\$([\w+/=-]{16,128})", re.ASCII
)
_TOKEN_ENTRY = re.compile(r"([^:\s]{1,256}):([0-9a-f]{64})", re.ASCII)
_MAX_AUTHORIZATION_CHARS = 1024
"""Characters of an Authorization header: more is nobody's password."""
_MAX_VERIFIED_PASSWORDS = 10_000


def format_password_entry(user: str, password: str) -> str:
    """The line of a passwords file (RFC 7914: scrypt with N, r, p, salt and key).

    Raises:
        ConfigurationError: the user name has a colon or a space, or is empty (RFC 7617, 2).
    """
    salt = secrets.token_bytes(16)
    digest = _scrypt(password, salt, _SCRYPT_N, _SCRYPT_R, _SCRYPT_P)
    cost = f"{_SCRYPT_N}${_SCRYPT_R}${_SCRYPT_P}"
    line = f"{user}:scrypt${cost}${_encode_base64(salt)}${_encode_base64(digest)}"
    if not _PASSWORD_ENTRY.fullmatch(line):
        raise ConfigurationError("expected a user name without colons and spaces")
    return line


class Authenticator:
    """The users that `[server.auth]` names.

    Attributes:
        watch: reloads changed files.
    """

    def __init__(self, settings: ServerSettings, auth: AuthSettings) -> None:
        self._settings = settings
        self._auth = auth
        self._passwords: Mapping[str, tuple[str, ...]] = {}
        self._tokens: Mapping[bytes, User] = {}
        self._digest_key = secrets.token_bytes(32)
        self._verified_users = Lru[bytes, User](max_items=_MAX_VERIFIED_PASSWORDS)
        self._hashing_slot = asyncio.Semaphore(1)
        files = [Path(each) for each in (auth.passwords, auth.tokens) if each is not None]
        self.watch = SettingWatch("server.auth", files, self.load)

    def load(self) -> None:
        """Read the files. Blocking.

        Raises:
            ConfigurationError: one cannot be read, or has a line that is none; the line's text is not quoted.
        """
        passwords, tokens = dict[str, tuple[str, ...]](), dict[bytes, User]()
        if self._auth.passwords is not None:
            for user, *parts in _read_entries(Path(self._auth.passwords), _PASSWORD_ENTRY, "server.auth.passwords"):
                passwords[user] = tuple(parts)
        if self._auth.tokens is not None:
            for name, digest in _read_entries(Path(self._auth.tokens), _TOKEN_ENTRY, "server.auth.tokens"):
                tokens[bytes.fromhex(digest)] = User(name, Authentication.TOKEN)
        self._passwords, self._tokens = passwords, tokens
        # A new key as well: a check that began before must not be remembered after.
        self._digest_key = secrets.token_bytes(32)
        self._verified_users = Lru[bytes, User](max_items=_MAX_VERIFIED_PASSWORDS)

    def identify(self, headers: Mapping[str, str], peer: str | None) -> User | PasswordCheck | None:
        """Return the user of a request; None for invalid credentials or none; a check if it takes time to find out.

        Args:
            headers: the request's, case-insensitive.
            peer: address of the other end of the connection.
        """
        named = self._auth.user_header
        if named is not None and is_trusted_proxy(peer, self._settings) and (claimed := headers.get(named, "").strip()):
            return User(claimed, Authentication.HEADER)
        given = headers.get("Authorization", "")
        scheme, _, rest = given.partition(" ")
        if len(given) > _MAX_AUTHORIZATION_CHARS:
            return None
        match scheme.lower():
            case "bearer":
                return self._identify_token(rest.strip())
            case "basic":
                return self._identify_basic(rest.strip())
            case _:
                return None

    def build_unauthorized_response(self, accept: str | None, root: str) -> web.Response:
        """401, which says how to be let in and nothing of what there is (RFC 9110, 15.5.2)."""
        problem = Problem(
            status=HTTPStatus.UNAUTHORIZED,
            kind="unauthenticated",
            title="Not without a name",
            detail="this proxy answers those alone whom it knows: give a user name and password or a token",
            phrase="this proxy asks for a user name and password, or a token",
        )
        response = build_problem_response(problem, accept, root)
        response.headers.add("WWW-Authenticate", f'Basic realm="{REALM}", charset="UTF-8"')
        if self._tokens:
            response.headers.add("WWW-Authenticate", f'Bearer realm="{REALM}"')
        return response

    def _identify_token(self, token: str) -> User | None:
        # By digest, so that how long this takes says nothing about any token.
        return self._tokens.get(hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest())

    def _identify_basic(self, encoded: str) -> User | PasswordCheck | None:
        try:
            given = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            return None
        name, colon, password = _decode_credentials(given).partition(":")
        if not colon:
            return None
        if name == TOKEN_USER:
            return self._identify_token(password)
        verified = self._verified_users
        digest = hmac.digest(self._digest_key, f"{name}\0{password}".encode(), "sha256")
        if (user := verified.get(digest)) is not None:
            return user
        return partial(self._verify_password, name, password, digest, verified)

    async def _verify_password(
        self, name: str, password: str, digest: bytes, verified: Lru[bytes, User]
    ) -> User | None:
        # An unknown name takes as long as a known one with a wrong password.
        entry = self._passwords.get(name) or (
            str(_SCRYPT_N),
            str(_SCRYPT_R),
            str(_SCRYPT_P),
            _encode_base64(b"\0" * 16),
            _encode_base64(b"\0" * 32),
        )
        async with self._hashing_slot:
            right = await asyncio.to_thread(_is_correct_password, password, entry)
        if not right or name not in self._passwords:
            return None
        user = User(name, Authentication.PASSWORD)
        verified.put(digest, user)
        return user


def build_view_forbidden_response(view: str, accept: str | None, root: str) -> web.Response:
    """403 for a known user: the same on every address of the view, so that it says nothing of what there is."""
    problem = Problem(
        status=HTTPStatus.FORBIDDEN,
        kind="not-your-view",
        title="Not your view",
        detail=f"the view {view} of this proxy is not open to you: ask whoever runs it, or use another view's address",
        phrase=f"the view {view} of this proxy is not open to you",
    )
    return build_problem_response(problem, accept, root)


@asynccontextmanager
async def open_authenticator(settings: ServerSettings) -> AsyncIterator[Authenticator | None]:
    """What asks for names, with its files obeyed as they change; None where everybody may ask.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    access = None if settings.auth is None else Authenticator(settings, settings.auth)
    async with reload_on_change(None if access is None else access.watch):
        yield access


def _read_entries(path: Path, pattern: re.Pattern[str], what: str) -> list[tuple[str, ...]]:
    found = []
    for number, line in enumerate(read_text(path, f"{what}: {path}").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = pattern.fullmatch(line.strip())
        if match is None:
            raise ConfigurationError(f"{what}: {path}, line {number}: expected a name, a colon and a hash")
        found.append(match.groups())
    return found


def _decode_credentials(raw: bytes) -> str:
    """UTF-8 as the challenge asks (RFC 7617, 2.1), or the Latin-1 of clients that do not listen (requests, so pip)."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _is_correct_password(password: str, entry: tuple[str, ...]) -> bool:
    cost, block, lanes, salt, key = entry
    try:
        made = _scrypt(password, _decode_base64(salt), int(cost), int(block), int(lanes))
        return hmac.compare_digest(made, _decode_base64(key))
    except ValueError:
        return False


def _scrypt(password: str, salt: bytes, cost: int, block_size: int, parallelism: int) -> bytes:
    return hashlib.scrypt(
        password.encode(),
        salt=salt,
        n=cost,
        r=block_size,
        p=parallelism,
        maxmem=_SCRYPT_MAX_MEMORY_BYTES,
        dklen=_SCRYPT_KEY_BYTES,
    )


def _encode_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _decode_base64(text: str) -> bytes:
    return base64.b64decode(text)
