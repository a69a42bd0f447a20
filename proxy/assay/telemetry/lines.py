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

SECURITY_LOGGER: Final = "assay.security"
"""The logger of security events."""
_FLUSH_THRESHOLD_CHARS = 64 * 1024
"""Characters of gathered lines that are written without waiting."""
_FLUSH_DELAY_SECONDS = 0.25
"""Seconds that a line may wait."""

_encode_json_string = json.encoder.encode_basestring_ascii


class JsonFormatter(logging.Formatter):
    """A JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        line = {
            "time": _format_instant(record.created),
            "level": "security" if record.name == SECURITY_LOGGER else record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """For a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        level = "SECURITY" if record.name == SECURITY_LOGGER else record.levelname
        fields = " ".join(f"{key}={_format_value(value)}" for key, value in getattr(record, "fields", {}).items())
        line = f"{time} {level:<8} {_format_value(record.getMessage(), quote=False)} {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _format_value(value: object, *, quote: bool = True) -> str:
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

    def to_fields(self) -> dict[str, object]:
        """As any event's."""
        said = self._asdict()
        return {name: value for name, value in said.items() if value is not None or name not in {"view", "user"}}

    def to_json_line(self, created: float) -> str:
        """What `JsonFormatter` makes of it, in a third of the time."""
        whose = "" if self.view is None else f'"view": {_encode_json_string(self.view)}, '
        status = self.status if type(self.status) is int else _encode_json_string(str(self.status))
        client = "null" if self.client is None else _encode_json_string(self.client)
        user = "" if self.user is None else f', "user": {_encode_json_string(self.user)}'
        return (
            f'{{"time": "{_format_instant(created)}", "level": "info", "event": "request", '
            f'"request": "{self.request}", '
            f'{whose}"method": {_encode_json_string(self.method)}, "path": {_encode_json_string(self.path)}, '
            f'"status": {status}, "ms": {self.ms}, '
            f'"client": {client}{user}}}'
        )


def _format_instant(created: float) -> str:
    return _format_milliseconds(int(created * 1000))


@lru_cache(maxsize=4)
def _format_milliseconds(milliseconds: int) -> str:
    """Many requests end within one of them."""
    return f"{datetime.fromtimestamp(milliseconds // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}+00:00"


class LogHandler(logging.StreamHandler[TextIO]):
    """The stream, in order."""

    def __init__(self, stream: TextIO, *, as_json: bool) -> None:
        super().__init__(stream)
        self.setFormatter(JsonFormatter() if as_json else TextFormatter())
        self.as_json = as_json
        self._pending_lines: list[str] = []
        self._pending_chars = 0

    def write_batched(self, line: str) -> None:
        """Write a line with others, in a moment. On the event loop's thread."""
        with self.lock:  # type: ignore[union-attr]  # None only before __init__
            if not self._pending_lines:
                asyncio.get_running_loop().call_later(_FLUSH_DELAY_SECONDS, self.flush)
            self._pending_lines.append(line)
            self._pending_chars += len(line)
            full = self._pending_chars >= _FLUSH_THRESHOLD_CHARS
        if full:
            self.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, behind what was gathered. The lock is held."""
        self._write_pending()
        super().emit(record)

    def flush(self) -> None:
        """Write what was gathered."""
        with self.lock:  # type: ignore[union-attr]  # as above
            self._write_pending()
        super().flush()

    def _write_pending(self) -> None:
        if self._pending_lines:
            lines, self._pending_lines, self._pending_chars = self._pending_lines, [], 0
            with suppress(OSError, ValueError):  # as logging does: a log that cannot be written stops nobody
                self.stream.write("\n".join(lines) + "\n")
