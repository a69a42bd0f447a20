"""The log's lines: their two forms, and the stream that they go to.

Owns escaping (whatever others wrote stays on one line) and order: the lines of requests are gathered for a moment and
written together, and anything else that is to be written goes behind what was gathered. So a request costs no system
call of its own, and what a `kill -9` can lose is a quarter of a second of them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple, TextIO

SECURITY: Final = "assay.security"
"""The logger of security events."""
_GATHERED = 64 * 1024
"""Characters of gathered lines that are written without waiting."""
_MOMENT = 0.25
"""Seconds that a line may wait."""

_text = json.encoder.encode_basestring_ascii


class JsonLines(logging.Formatter):
    """A JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        line = {
            "time": _instant(record.created),
            "level": "security" if record.name == SECURITY else record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class ReadableText(logging.Formatter):
    """For a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        level = "SECURITY" if record.name == SECURITY else record.levelname
        fields = " ".join(f"{key}={_shown(value)}" for key, value in getattr(record, "fields", {}).items())
        line = f"{time} {level:<8} {_shown(record.getMessage(), quote=False)} {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _shown(value: object, *, quote: bool = True) -> str:
    text = str(value)
    if text.isprintable() and not (quote and (" " in text or not text)):
        return text
    return json.dumps(text)


class RequestEvent(NamedTuple):
    """The event ``request``: the one that is hot, and so the one with a form of its own."""

    request: str
    """Its id."""
    view: str | None
    """None: `default`, which lines do not name."""
    method: str
    path: str
    """Without the query."""
    status: int | str
    """Of the answer, or what became of it."""
    ms: float
    """Milliseconds that the answer took."""
    client: str | None
    user: str | None
    """None where nobody is asked for a name."""

    def fields(self) -> dict[str, object]:
        """As any event's."""
        said = self._asdict()
        return {name: value for name, value in said.items() if value is not None or name not in {"view", "user"}}

    def line(self, created: float) -> str:
        """What `JsonLines` makes of it, in a third of the time."""
        whose = "" if self.view is None else f'"view": {_text(self.view)}, '
        status = self.status if type(self.status) is int else _text(str(self.status))
        client = "null" if self.client is None else _text(self.client)
        user = "" if self.user is None else f', "user": {_text(self.user)}'
        return (
            f'{{"time": "{_instant(created)}", "level": "info", "event": "request", "request": "{self.request}", '
            f'{whose}"method": {_text(self.method)}, "path": {_text(self.path)}, "status": {status}, "ms": {self.ms}, '
            f'"client": {client}{user}}}'
        )


def _instant(created: float) -> str:
    return _millisecond(int(created * 1000))


@lru_cache(maxsize=4)
def _millisecond(since: int) -> str:
    """Many requests end within one of them."""
    return f"{datetime.fromtimestamp(since // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{since % 1000:03d}+00:00"


class Channel(logging.StreamHandler[TextIO]):
    """The stream, in order."""

    def __init__(self, stream: TextIO, *, as_json: bool) -> None:
        super().__init__(stream)
        self.setFormatter(JsonLines() if as_json else ReadableText())
        self.as_json = as_json
        self._lines: list[str] = []
        self._gathered = 0

    def gather(self, line: str) -> None:
        """Write a line with others, in a moment. On the event loop's thread."""
        with self.lock:  # type: ignore[union-attr]  # None only before __init__
            if not self._lines:
                asyncio.get_running_loop().call_later(_MOMENT, self.flush)
            self._lines.append(line)
            self._gathered += len(line)
            full = self._gathered >= _GATHERED
        if full:
            self.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, behind what was gathered. The lock is held."""
        self._write_gathered()
        super().emit(record)

    def flush(self) -> None:
        """Write what was gathered."""
        with self.lock:  # type: ignore[union-attr]  # as above
            self._write_gathered()
        super().flush()

    def _write_gathered(self) -> None:
        if self._lines:
            lines, self._lines, self._gathered = self._lines, [], 0
            with suppress(OSError, ValueError):  # as logging does: a log that cannot be written stops nobody
                self.stream.write("\n".join(lines) + "\n")
