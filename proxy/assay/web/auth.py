"""Authentication of users: by password, by token, or by a trusted proxy in front. Any other request gets only a 401.

This module reads the two files of `[server.auth]`, which contain only hashes. It makes the 401 response, and the 403
response for a user who may not use a view. It decides nothing about files: all users of a view have the same policy.

- pip and uv support only Basic authentication. A token is therefore also accepted as the password of the user
  ``__token__``, as on PyPI.
- scrypt is slow by design: 50 ms and 16 MiB. A correct password is therefore cached until the files change, under an
  HMAC key that only this process has. Uncached passwords are checked one at a time, so that a flood of them occupies at
  most one core. Addresses take turns, and each has a bounded queue, so that a client that guesses passwords does not
  delay the first login of a user elsewhere. Beyond the queue, the answer is 429, after a second.
- The header that names a user counts only if it comes from `trusted-proxies`. From any other peer it proves nothing.
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

from assay.caching.fair_slots import FairSlots, TooManyWaitingError
from assay.caching.lru import Lru
from assay.config import AuthSettings, ServerSettings
from assay.errors import ConfigurationError
from assay.file_watch import SettingWatch, reload_on_change
from assay.operator_files import read_text
from assay.users import Authentication, User
from assay.web.errors import Problem, build_problem_response
from assay.web.origin import get_client_network, is_trusted_proxy

TOKEN_USER = "__token__"  # noqa: S105 - the user name that PyPI gives to tokens
REALM = "assay"
PasswordCheck: TypeAlias = partial[Coroutine[Any, Any, User | None]]
"""Check of a password that is not in the cache. Call it and await the result: the user, or None if the password is
wrong."""

_SCRYPT_N, _SCRYPT_R, _SCRYPT_P, _SCRYPT_KEY_BYTES = 2**14, 8, 1, 32
_SCRYPT_MAX_MEMORY_BYTES = 2**26
_PASSWORD_ENTRY = re.compile(
    r"([^:\s]{1,256}):scrypt\$(\d{1,8})\$(\d{1,3})\$(\d{1,3})\$([\w+/=-]{8,128})\$([\w+/=-]{16,128})", re.ASCII
)
_TOKEN_ENTRY = re.compile(r"([^:\s]{1,256}):([0-9a-f]{64})", re.ASCII)
_MAX_AUTHORIZATION_CHARS = 1024
"""Maximum length of an ``Authorization`` header in characters. A request with a longer header gets 401."""
_MAX_VERIFIED_PASSWORDS = 10_000
_MAX_WAITING_CHECKS = 4
"""Maximum number of passwords from one address that wait to be checked. A check takes 50 ms."""
_MAX_KNOWN_HEADERS = 4096
"""Maximum number of Authorization headers whose user is in memory."""
_MAX_WAITING_CHECKS_IN_TOTAL = 128
"""Maximum number of passwords that wait to be checked. The last one waits about 6 seconds."""
_REFUSAL_DELAY_SECONDS = 1
"""Value of ``Retry-After`` in 429 responses, in seconds. pip and uv then repeat the request."""


def format_password_entry(user: str, password: str) -> str:
    """Return the line that a passwords file needs for a user: scrypt (RFC 7914) with N, r, p, salt and key.

    Raises:
        ConfigurationError: the user name is empty or too long, or contains a colon (RFC 7617, section 2) or white
            space.
    """
    salt = secrets.token_bytes(16)
    digest = _scrypt(password, salt, _SCRYPT_N, _SCRYPT_R, _SCRYPT_P)
    cost = f"{_SCRYPT_N}${_SCRYPT_R}${_SCRYPT_P}"
    line = f"{user}:scrypt${cost}${_encode_base64(salt)}${_encode_base64(digest)}"
    if not _PASSWORD_ENTRY.fullmatch(line):
        raise ConfigurationError("expected a user name of 1 to 256 characters without colons and spaces")
    return line


class Authenticator:
    """Authenticator for the users of `[server.auth]`.

    Attributes:
        watch: watch that reloads the password and token files when they change.
    """

    def __init__(self, settings: ServerSettings, auth: AuthSettings) -> None:
        self._settings = settings
        self._auth = auth
        self._passwords: Mapping[str, tuple[str, ...]] = {}
        self._tokens: Mapping[bytes, User] = {}
        self._digest_key = secrets.token_bytes(32)
        self._verified_users = Lru[bytes, User](max_items=_MAX_VERIFIED_PASSWORDS)
        self._users_by_header = Lru[bytes, User](max_items=_MAX_KNOWN_HEADERS)
        self._hashing_slot = FairSlots(
            1, max_waiting=_MAX_WAITING_CHECKS, max_waiting_in_total=_MAX_WAITING_CHECKS_IN_TOTAL
        )
        files = [Path(each) for each in (auth.passwords, auth.tokens) if each is not None]
        self.watch = SettingWatch("server.auth", files, self.load)

    def load(self) -> None:
        """Read the password and token files, and clear the caches of users. Blocking.

        Raises:
            ConfigurationError: a file cannot be read or has an invalid line; the message does not quote the line.
        """
        passwords, tokens = dict[str, tuple[str, ...]](), dict[bytes, User]()
        if self._auth.passwords is not None:
            for user, *parts in _read_entries(Path(self._auth.passwords), _PASSWORD_ENTRY, "server.auth.passwords"):
                passwords[user] = tuple(parts)
        if self._auth.tokens is not None:
            for name, digest in _read_entries(Path(self._auth.tokens), _TOKEN_ENTRY, "server.auth.tokens"):
                tokens[bytes.fromhex(digest)] = User(name, Authentication.TOKEN)
        self._passwords, self._tokens = passwords, tokens
        # The key changes too, so that a check that began before the reload cannot add its password to the new cache.
        self._digest_key = secrets.token_bytes(32)
        self._verified_users = Lru[bytes, User](max_items=_MAX_VERIFIED_PASSWORDS)
        self._users_by_header = Lru[bytes, User](max_items=_MAX_KNOWN_HEADERS)

    def identify(self, headers: Mapping[str, str], peer: str | None) -> User | PasswordCheck | None:
        """Return the user of a request, or None if the request has no valid credentials.

        If the request has a password that is not in the cache, return a check instead, because the check takes time.
        The caller calls the check and awaits the result.

        Args:
            headers: header fields of the request, by case-insensitive name.
            peer: IP address of the other end of the connection.
        """
        named = self._auth.user_header
        if named is not None and is_trusted_proxy(peer, self._settings) and (claimed := headers.get(named, "").strip()):
            return User(claimed, Authentication.HEADER)
        given = headers.get("Authorization", "")
        if not given or len(given) > _MAX_AUTHORIZATION_CHARS:
            return None
        digest = self._compute_digest(given)
        if (user := self._users_by_header.get(digest)) is not None:
            return user
        found = self._identify_header(given)
        if isinstance(found, User):
            self._users_by_header.put(digest, found)
        return found

    def _compute_digest(self, secret: str) -> bytes:
        """Return a keyed digest, so that the time of a look-up reveals nothing and the memory has no secrets.

        BLAKE2 is a keyed hash by itself (RFC 7693). An HMAC with SHA-256 takes 10 µs more for each request.
        """
        encoded = secret.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(encoded, key=self._digest_key, digest_size=32).digest()

    def _identify_header(self, given: str) -> User | PasswordCheck | None:
        scheme, _, rest = given.partition(" ")
        match scheme.lower():
            case "bearer":
                return self._identify_token(rest.strip())
            case "basic":
                return self._identify_basic(rest.strip())
            case _:
                return None

    def build_unauthorized_response(self, accept: str | None, root: str) -> web.Response:
        """Return the 401 response with the accepted authentication schemes (RFC 9110, section 15.5.2).

        The response is the same for every URL, so it does not reveal which resources exist.

        Args:
            accept: the ``Accept`` header of the request.
            root: relative URL of the view's home page from the requested URL.
        """
        problem = Problem(
            status=HTTPStatus.UNAUTHORIZED,
            kind="unauthenticated",
            title="Sign in required",
            detail="give a user name and password, or a token as the password of the user __token__",
            phrase="this proxy requires a user name and password, or a token",
        )
        response = build_problem_response(problem, accept, root)
        response.headers.add("WWW-Authenticate", f'Basic realm="{REALM}", charset="UTF-8"')
        if self._tokens:
            response.headers.add("WWW-Authenticate", f'Bearer realm="{REALM}"')
        return response

    def _identify_token(self, token: str) -> User | None:
        # Looked up by digest, so that the time of the look-up reveals nothing about the tokens.
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
        digest = self._compute_digest(f"{name}\0{password}")
        if (user := verified.get(digest)) is not None:
            return user
        return partial(self._verify_password, name, password, digest, verified)

    async def _verify_password(
        self, name: str, password: str, digest: bytes, verified: Lru[bytes, User], *, address: str | None = None
    ) -> User | None:
        """Return the user if the password is right, else None.

        Args:
            name: name of the user.
            password: the password.
            digest: key of the password in the cache.
            verified: the cache.
            address: IP address of the client.

        Raises:
            TooManyWaitingError: too many passwords wait to be checked, from this address or in total. It is raised
                after a delay.
        """
        # The check of an unknown name takes as long as that of a wrong password, so that it does not reveal the names.
        entry = self._passwords.get(name) or (
            str(_SCRYPT_N),
            str(_SCRYPT_R),
            str(_SCRYPT_P),
            _encode_base64(b"\0" * 16),
            _encode_base64(b"\0" * 32),
        )
        try:
            async with self._hashing_slot.acquire(get_client_network(address)):
                right = await asyncio.to_thread(_is_correct_password, password, entry)
        except TooManyWaitingError:
            # Guessers ignore Retry-After and ask again at once: each connection is answered once a second.
            await asyncio.sleep(_REFUSAL_DELAY_SECONDS)
            raise
        if not right or name not in self._passwords:
            return None
        user = User(name, Authentication.PASSWORD)
        verified.put(digest, user)
        return user


def build_too_many_passwords_response(accept: str | None, root: str) -> web.Response:
    """Return the 429 response for a password that cannot be checked, because too many wait (RFC 6585, 4)."""
    problem = Problem(
        status=HTTPStatus.TOO_MANY_REQUESTS,
        kind="too-many-passwords",
        title="Too many passwords are being checked",
        detail="too many passwords are being checked at the moment: try again in a second",
        phrase="too many passwords are being checked at the moment: try again",
        headers={"Retry-After": str(_REFUSAL_DELAY_SECONDS)},
    )
    return build_problem_response(problem, accept, root)


def build_view_forbidden_response(view: str, accept: str | None, root: str) -> web.Response:
    """Return the 403 response for an authenticated user who may not use the view with the name `view`.

    The response is the same for every URL of the view, so it does not reveal which resources exist.

    Args:
        view: name of the view.
        accept: the ``Accept`` header of the request.
        root: relative URL of the view's home page from the requested URL.
    """
    problem = Problem(
        status=HTTPStatus.FORBIDDEN,
        kind="not-your-view",
        title="You may not use this view",
        detail=f"you may not use the view {view}: ask the operator of this proxy for access, or use another view",
        phrase=f"you may not use the view {view} of this proxy",
    )
    return build_problem_response(problem, accept, root)


@asynccontextmanager
async def open_authenticator(settings: ServerSettings) -> AsyncIterator[Authenticator | None]:
    """Yield the authenticator, or None if access is open to all clients.

    While the context is open, the authenticator reloads its files when they change.

    Raises:
        ConfigurationError: a password or token file cannot be used.
    """
    authenticator = None if settings.auth is None else Authenticator(settings, settings.auth)
    async with reload_on_change(None if authenticator is None else authenticator.watch):
        yield authenticator


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
    """Decode Basic credentials as UTF-8, or as Latin-1 if they are not valid UTF-8.

    The 401 response requests UTF-8 (RFC 7617, section 2.1). pip, which uses the library requests, always sends Latin-1.
    """
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
