"""Connections to the PostgreSQL database, with a deadline for each step and few kinds of errors.

No session state is kept on a connection of the pool, so a connection is not reset when it is returned. After an error
of the connection or a timeout, the connection is closed at once: it waits for no server that does not answer.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import asyncpg

from assay.errors import DatabaseUnavailableError, StorageError
from assay.store.postgresql.address import DatabaseAddress, make_tls_context, parse_database_url
from assay.store.postgresql.schema import SCHEMA

_APPLICATION: Final = "assay"
_IDLE_IN_TRANSACTION_FACTOR: Final = 5
"""Multiple of the deadline after which the server ends the transaction of a client that has stopped. Its locks would
otherwise make other replicas wait."""
_SERVER_SHARE: Final = 0.9
"""Part of the deadline after which the server ends a statement itself, so that the connection can be used again."""
_MAX_IDLE_SECONDS: Final = 300.0
_UNAVAILABLE_ERRORS: Final = (
    OSError,  # includes TimeoutError and errors of name resolution
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutdown, crash, start
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.InvalidAuthorizationSpecificationError,  # a password may be rotated
    asyncpg.ReadOnlySQLTransactionError,  # the server is no longer the primary
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.exceptions.TargetServerAttributeNotMatched,  # no host is the primary
    asyncpg.exceptions.ProtocolError,
)
"""Errors after which another try may succeed."""

_PARAMETER_ERRORS: Final = (
    asyncpg.UndefinedObjectError,
    asyncpg.CantChangeRuntimeParamError,
    asyncpg.InvalidParameterValueError,
)
"""Errors of a new connection if the server does not accept a parameter of the URL."""
_NO_TLS: Final = "rejected SSL upgrade"
"""Text of the driver's error if the server offers no TLS."""
_NO_ENCRYPTION: Final = "no encryption"
"""Text of the server's error if it permits no connection without TLS."""

DRIVER_ERRORS: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""All errors of a direct connection (`Database.connect_directly`)."""


class Connection(Protocol):
    """The methods of asyncpg's connection that the package uses. Each has the deadline of the database by default."""

    async def execute(self, query: str, *args: object) -> str:
        """Run one statement, or several without arguments; return the status of the last."""

    async def executemany(self, command: str, args: object) -> None:
        """Run one statement for each sequence of arguments, in one transaction."""

    async def fetch(self, query: str, *args: object) -> list[Any]:
        """Return all rows of one statement."""

    async def fetchrow(self, query: str, *args: object) -> Any:  # noqa: ANN401 - untyped driver
        """Return the first row of one statement; None without a row."""

    async def fetchval(self, query: str, *args: object) -> Any:  # noqa: ANN401 - untyped driver
        """Return the first column of the first row of one statement; None without a row."""

    def cursor(self, query: str, *args: object, prefetch: int | None = None) -> Any:  # noqa: ANN401 - untyped driver
        """Return an asynchronous iterator of rows. It needs a transaction."""

    def transaction(self, *, isolation: str | None = None, readonly: bool = False) -> Any:  # noqa: ANN401 - untyped driver
        """Return an asynchronous context manager of a transaction."""

    async def add_listener(self, channel: str, callback: Callable[..., object]) -> None:
        """Call `callback` with connection, process id, channel and text of each notification."""

    def add_termination_listener(self, callback: Callable[..., object]) -> None:
        """Call `callback` when the connection has ended."""

    def is_closed(self) -> bool:
        """Return whether the connection has ended."""

    def terminate(self) -> None:
        """End the connection without waiting for the server."""

    async def close(self) -> None:
        """End the connection."""


ObserveAvailability: TypeAlias = Callable[[bool], None]
"""Callback with whether the database is available."""


class UrlParameterError(StorageError):
    """Error if the server does not accept a parameter of the URL."""


def _get_no_password() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """Settings of the connections."""

    url: str = field(repr=False)
    password: Callable[[], str | None] = _get_no_password
    """Function that returns the password, called in a thread before each new connection. None: that of the URL."""
    deadline_seconds: float = 2.0
    """Maximum duration of each step: to get a connection, and to run a statement."""
    max_connections: int = 10


class Database:
    """Pool of connections to one database.

    Args:
        settings: URL, password and limits.

    Raises:
        ConfigurationError: the URL is invalid.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._address: DatabaseAddress = parse_database_url(settings.url)
        self._tls: ssl.SSLContext | None = None
        self._pool: Any = None
        self._is_available = True
        self._is_hanging = self._has_probe = False
        """True if the last call got no answer, and if a call is under way that finds out if there are answers again."""
        self._observers: list[ObserveAvailability] = []

    def __str__(self) -> str:
        """Return the URL without credentials, for messages."""
        return str(self._address)

    @property
    def deadline_seconds(self) -> float:
        """Maximum duration of each step."""
        return self._settings.deadline_seconds

    @property
    def is_available(self) -> bool:
        """True unless the last call failed because the database is unavailable."""
        return self._is_available

    def subscribe(self, callback: ObserveAvailability) -> None:
        """Call `callback` in the event loop whenever `is_available` changes."""
        self._observers.append(callback)

    async def open(self) -> None:
        """Prepare the pool. It connects when a connection is needed.

        Raises:
            ConfigurationError: a file of certificates or keys cannot be used.
        """
        self._tls = await asyncio.to_thread(make_tls_context, self._address)
        self._pool = asyncpg.create_pool(
            min_size=0,
            max_size=self._settings.max_connections,
            max_inactive_connection_lifetime=_MAX_IDLE_SECONDS,
            connect=self._connect_for_pool,
            reset=_keep_session,
        )
        await self._pool

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(self._settings.deadline_seconds):
                await pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Enter the context of a connection of the pool. Each statement outside a transaction is one by itself.

        Raises:
            DatabaseUnavailableError: the database cannot be reached, did not answer in time, or is shutting down.
            StorageError: another error of the database.
        """
        with self._translate_errors(), self._admit():
            if self._pool is None:
                raise DatabaseUnavailableError(f"the connections to the database {self} are closed")
            connection = await self._pool.acquire(timeout=self._settings.deadline_seconds)
            try:
                yield connection
            except BaseException as error:
                # A cancelled statement may still run, and a server that does not answer cannot confirm its end.
                if isinstance(error, (*_UNAVAILABLE_ERRORS, asyncpg.InterfaceError, asyncio.CancelledError)):
                    connection.terminate()
                raise
            finally:
                await self._release(connection)
            self._is_hanging = False
            self._note_available(is_available=True)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Enter the context of a connection in a transaction: committed at the end, or rolled back after an error.

        Raises:
            DatabaseUnavailableError: as `connection` does. It is then unknown whether the transaction was committed.
            StorageError: another error of the database.
        """
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def connect_directly(self, name: str) -> Connection:
        """Return a connection outside the pool. The caller must close it.

        Args:
            name: purpose, which the server shows as part of the name of the application.

        Raises:
            DatabaseUnavailableError: the database cannot be reached.
            StorageError: another error of the database.
        """
        with self._translate_errors():
            made = await self._connect(f"{_APPLICATION} {name}")
            self._is_hanging = False
            self._note_available(is_available=True)
            return made

    async def _release(self, connection: Any) -> None:  # noqa: ANN401 - untyped driver
        pool = self._pool
        if pool is None:
            connection.terminate()
            return
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await pool.release(connection, timeout=self._settings.deadline_seconds)

    async def _connect_for_pool(self, *_: object, **__: object) -> Connection:
        return await self._connect(_APPLICATION)

    async def _connect(self, application: str) -> Connection:
        seconds = self._settings.deadline_seconds
        async with asyncio.timeout(seconds):
            password = await asyncio.to_thread(self._settings.password)
            try:
                made: Connection = await asyncpg.connect(
                    self._address.dsn,
                    # Never None: the driver would look for a password file, which blocks.
                    password=password if password is not None else self._address.password or "",
                    ssl=self._tls if self._tls is not None else False,
                    timeout=seconds,
                    command_timeout=seconds,
                    target_session_attrs="read-write",
                    server_settings={
                        "application_name": application,
                        "search_path": SCHEMA,
                        "jit": "off",  # compiling a statement takes longer than running it
                        "statement_timeout": str(int(seconds * 1000 * _SERVER_SHARE)),
                        "idle_in_transaction_session_timeout": str(int(seconds * 1000) * _IDLE_IN_TRANSACTION_FACTOR),
                    },
                )
            except _PARAMETER_ERRORS as error:
                raise UrlParameterError(
                    f"the database {self} does not accept a parameter of its URL ({error}); correct the parameter or"
                    " remove it"
                ) from error
        return made

    @contextmanager
    def _admit(self) -> Iterator[None]:
        """Admit one caller at a time while the database does not answer. The others fail at once, without a wait.

        Raises:
            DatabaseUnavailableError: another caller is waiting for an answer.
        """
        is_probe = self._is_hanging
        if is_probe and self._has_probe:
            raise DatabaseUnavailableError(f"the database {self} is unavailable: it does not answer")
        self._has_probe = is_probe or self._has_probe
        try:
            yield
        finally:
            if is_probe:
                self._has_probe = False

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Translate errors of the driver, and note if the database is unavailable."""
        try:
            yield
        except asyncpg.QueryCanceledError as error:
            # The server has ended the statement, for example because another transaction holds a lock. It answers.
            raise DatabaseUnavailableError(f"the database {self} has not done the work in time: {error}") from error
        except _UNAVAILABLE_ERRORS as error:
            raise self._note_unavailable(error) from error
        except asyncpg.InterfaceError as error:
            if isinstance(error, ValueError):  # a value or the URL, and not the connection
                raise StorageError(f"the database {self} cannot be used: {error}") from error
            raise self._note_unavailable(error) from error
        except (asyncpg.PostgresError, asyncpg.InternalClientError, UnicodeError, OverflowError) as error:
            raise StorageError(f"the database {self} cannot be used: {error}") from error

    def _note_unavailable(self, error: Exception) -> DatabaseUnavailableError:
        self._is_hanging = isinstance(error, TimeoutError)
        self._note_available(is_available=False)
        reason = "it did not answer in time" if isinstance(error, TimeoutError) else str(error)
        if (remedy := _find_remedy(error)) is not None:
            reason += f"; {remedy}"
        return DatabaseUnavailableError(f"the database {self} is unavailable: {reason}")

    def _note_available(self, *, is_available: bool) -> None:
        if self._is_available == is_available:
            return
        self._is_available = is_available
        for observe in self._observers:
            observe(is_available)


async def _keep_session(_: object) -> None:
    """Do nothing: a connection of the pool has no state of a session."""


def _find_remedy(error: Exception) -> str | None:
    """Return what to change after an error of a connection; None if only the server can tell."""
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        remedy = "check the role in the URL and its password (password-file, or PGPASSWORD for a command)"
        if _NO_ENCRYPTION in str(error):
            remedy += ", or add sslmode=verify-full to the URL if the server requires TLS"
        return remedy
    if isinstance(error, ssl.SSLCertVerificationError):
        return "name the server as in its certificate, and a file with its certificate authority by sslrootcert=FILE"
    if isinstance(error, ConnectionError) and _NO_TLS in str(error):
        return (
            "the server offers no TLS: set ssl = on in its postgresql.conf, or add sslmode=disable to the URL if you"
            " trust the network"
        )
    return None
