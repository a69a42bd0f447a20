"""Notices of all replicas (`assay.ports.Notices`) by ``LISTEN`` and ``NOTIFY`` on one connection.

The text of a notification is one of these. Other texts are ignored with a warning, because any program that may connect
to the database may send one.

- ``ledger INDEX PROJECT VERSION``: facts of the ledger; the ledger sends it with each write
- ``project INDEX PROJECT SENDER``: evidence about a project
- ``wheel INDEX PROJECT SENDER``: digests of the METADATA in wheels
- ``all SENDER``: facts about any project, because the sender could not send all of its notices

A replica ignores its own notices. It recognizes those of the ledger by their version, which its judged page has.

A notice may be lost. Whenever the connection has been opened again, `EVERYTHING` is published. A connection whose
server no longer answers is found by a statement every `keepalive_seconds`.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from typing import Final

from assay import telemetry
from assay.caching.notices import LocalNotices
from assay.ports import EVERYTHING, Notice, NoticeTopic
from assay.simple.model import NormalizedName
from assay.store.postgresql.database import Connection, Database
from assay.store.postgresql.direct_connection import DirectConnection
from assay.store.postgresql.schema import NOTICE_CHANNEL

_MAX_PENDING: Final = 1000
"""Maximum number of notices that wait to be sent. Above it, they are replaced by one notice for everything."""
_MAX_BATCH: Final = 100
"""Maximum number of notices that one statement sends."""
_MAX_TEXT_CHARACTERS: Final = 512
_MAX_VERSION: Final = 2**63 - 1
_WARNING_INTERVAL_SECONDS: Final = 60.0
"""Time in seconds for which further ignored notifications are not logged."""
_MAX_LOGGED_CHARACTERS: Final = 80
_TEXT: Final = re.compile(
    r"(?P<topic>ledger|project|wheel) (?P<index>[a-z0-9._-]{1,64}) (?P<project>[a-z0-9-]{1,400})"
    r" (?P<rest>[0-9a-f]{1,32})|all (?P<sender>[0-9a-f]{1,32})"
)
_SEND: Final = "SELECT pg_notify($1, text) FROM unnest($2::text[]) AS pending (text)"


class PostgresNotices:
    """Channel of notices of one replica to itself and to all others.

    Args:
        database: the database.
        keepalive_seconds: time between two checks that the server still answers.
        clock: returns a monotonic time in seconds.
    """

    def __init__(
        self, database: Database, *, keepalive_seconds: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._keepalive_seconds = keepalive_seconds
        self._clock = clock
        self._local = LocalNotices()
        self._sender = secrets.token_hex(8)
        self._connection = DirectConnection(
            database,
            "notices",
            prepare=self._listen,
            serve=self._serve,
            on_lost=self._note_lost,
            on_end=self._wake_up,
        )
        self._pending: list[str] = []
        self._has_missed = False
        """True if notices of other replicas may have been lost."""
        self._work = asyncio.Event()
        self._warned_at: float | None = None
        self._ignored = 0

    async def open(self) -> None:
        """Begin to listen. If the database is unavailable, further tries are made in the background.

        Call this only once.
        """
        self._has_missed = not await self._connection.open()

    async def close(self) -> None:
        """Close the connection. Idempotent."""
        await self._connection.close()

    def subscribe(self, act: Callable[[Notice], None]) -> None:
        """Call `act` with each notice that is published after this call, by any replica."""
        self._local.subscribe(act)

    def publish(self, notice: Notice) -> None:
        """Call the subscribers of this process at once, and send the notice to other replicas in the background.

        A notice with `is_remote` is not sent, because other replicas have heard of its facts. A notice about a name
        that is too long for one is not sent either: other replicas learn its facts when they renew the page.
        """
        self._local.publish(notice)
        if notice.is_remote:
            return
        if notice.index is None or notice.project is None or notice.topic is None:
            text = f"all {self._sender}"
        else:
            text = f"{notice.topic.value} {notice.index} {notice.project} {self._sender}"
        if not _is_notice(text):  # the server would refuse a long text, and the connection would be closed each time
            return
        if len(self._pending) >= _MAX_PENDING:
            self._pending = [f"all {self._sender}"]
        else:
            self._pending.append(text)
        self._work.set()

    async def _listen(self, connection: Connection) -> None:
        await connection.add_listener(NOTICE_CHANNEL, self._receive)
        if self._has_missed:
            self._has_missed = False
            self._local.publish(EVERYTHING)

    async def _serve(self, connection: Connection) -> None:
        while True:
            try:
                async with asyncio.timeout(self._keepalive_seconds):
                    await self._work.wait()
            except TimeoutError:
                await connection.execute("SELECT 1")
            self._work.clear()
            if connection.is_closed():
                raise ConnectionResetError("the server has ended the connection")
            while self._pending:
                batch, self._pending = self._pending[:_MAX_BATCH], self._pending[_MAX_BATCH:]
                try:
                    await connection.execute(_SEND, NOTICE_CHANNEL, list(dict.fromkeys(batch)))
                except BaseException:
                    self._pending[:0] = batch  # to be sent again: a notice that is sent twice does no harm
                    raise

    def _receive(self, _connection: object, _process: int, _channel: str, text: str) -> None:
        match = _TEXT.fullmatch(text) if len(text) <= _MAX_TEXT_CHARACTERS else None
        if match is None:
            self._ignore(text)
            return
        topic, rest = match["topic"], match["rest"]
        if self._sender in {rest, match["sender"]}:
            return
        if topic is None:
            self._local.publish(EVERYTHING)
            return
        version = int(rest) if topic == "ledger" and rest.isdecimal() else None
        if topic == "ledger" and (version is None or version > _MAX_VERSION):
            self._ignore(text)
            return
        self._local.publish(
            Notice(
                index=match["index"],
                project=NormalizedName(match["project"]),
                topic=NoticeTopic.WHEELS if topic == NoticeTopic.WHEELS.value else NoticeTopic.PROJECT,
                version=version,
                is_remote=True,
            )
        )

    def _ignore(self, text: str) -> None:
        self._ignored += 1
        now = self._clock()
        if self._warned_at is not None and now - self._warned_at < _WARNING_INTERVAL_SECONDS:
            return
        telemetry.warning("notice-ignored", text=text[:_MAX_LOGGED_CHARACTERS], count=self._ignored)
        self._warned_at, self._ignored = now, 0

    def _wake_up(self) -> None:
        self._work.set()

    def _note_lost(self) -> None:
        self._has_missed = True


def _is_notice(text: str) -> bool:
    return len(text) <= _MAX_TEXT_CHARACTERS and _TEXT.fullmatch(text) is not None
