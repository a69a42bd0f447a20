"""Log lines: the JSON and text formats, and the handler that writes the lines to a stream.

Values from clients and indexes are escaped, so that each event stays on one line. Lines about requests are buffered for
up to 0.25 s and written together, which saves a system call for each request. `kill -9` can lose the buffered lines.
Before any other line is written, the buffered lines are written, so that the order of lines is kept.
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
"""Name of the logger of security events."""
_FLUSH_THRESHOLD_CHARS = 64 * 1024
"""Number of buffered characters at which the buffered lines are written at once."""
_FLUSH_DELAY_SECONDS = 0.25
"""Maximum time in seconds that a line stays in the buffer."""

encode_json_string = json.encoder.encode_basestring_ascii


class JsonFormatter(logging.Formatter):
    """Formatter that writes each event as a JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON object for a log record."""
        line = {
            "time": format_instant(record.created),
            "level": "security" if record.name == SECURITY_LOGGER else record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """Formatter for a terminal: time, level, event and ``key=value`` fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text line for a log record, followed by the traceback if the record has one."""
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
    """Event ``request``, which each request emits. Its JSON encoding is faster than that of other events."""

    request: str
    """Id of the request."""
    view: str | None
    """Name of the view; None for the view `default`, which log lines omit."""
    method: str
    path: str
    """Path of the request, without the query."""
    status: int | str
    """Status code of the response. If the response did not complete, a word such as ``aborted``."""
    ms: float
    """Duration of the request in milliseconds."""
    client: str | None
    user: str | None
    """Name of the authenticated user; None if no authentication is configured."""

    def to_fields(self) -> dict[str, object]:
        """Return the fields of the event. Leave out `view` and `user` if they are None."""
        said = self._asdict()
        return {name: value for name, value in said.items() if value is not None or name not in {"view", "user"}}

    def to_json_line(self, created: float) -> str:
        """Return the line that `JsonFormatter` would return, in a third of the time.

        Args:
            created: Unix time of the event, in seconds.
        """
        whose = "" if self.view is None else f'"view": {encode_json_string(self.view)}, '
        status = self.status if type(self.status) is int else encode_json_string(str(self.status))
        client = "null" if self.client is None else encode_json_string(self.client)
        user = "" if self.user is None else f', "user": {encode_json_string(self.user)}'
        return (
            f'{{"time": "{format_instant(created)}", "level": "info", "event": "request", '
            f'"request": "{self.request}", '
            f'{whose}"method": {encode_json_string(self.method)}, "path": {encode_json_string(self.path)}, '
            f'"status": {status}, "ms": {self.ms}, '
            f'"client": {client}{user}}}'
        )


def format_instant(created: float) -> str:
    """Return a Unix time in seconds as ISO 8601 in UTC, with milliseconds."""
    return _format_milliseconds(int(created * 1000))


@lru_cache(maxsize=4)
def _format_milliseconds(milliseconds: int) -> str:
    """Return a Unix time in milliseconds as ISO 8601.

    The result is cached for requests that end in the same millisecond.
    """
    return f"{datetime.fromtimestamp(milliseconds // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}+00:00"


class LogHandler(logging.StreamHandler[TextIO]):
    """Log handler that buffers lines about requests and keeps the order of all lines."""

    def __init__(self, stream: TextIO, *, as_json: bool) -> None:
        super().__init__(stream)
        self.setFormatter(JsonFormatter() if as_json else TextFormatter())
        self.as_json = as_json
        self._pending_lines: list[str] = []
        self._pending_chars = 0

    def write_batched(self, line: str) -> None:
        """Put a line into the buffer, which is written within 0.25 s. Call this only on the event loop's thread."""
        with self.lock:  # type: ignore[union-attr]  # None only before __init__
            if not self._pending_lines:
                asyncio.get_running_loop().call_later(_FLUSH_DELAY_SECONDS, self.flush)
            self._pending_lines.append(line)
            self._pending_chars += len(line)
            full = self._pending_chars >= _FLUSH_THRESHOLD_CHARS
        if full:
            self.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the buffered lines, then the line of a log record. The caller holds the handler's lock."""
        self._write_pending()
        super().emit(record)

    def flush(self) -> None:
        """Write the buffered lines."""
        with self.lock:  # type: ignore[union-attr]  # as above
            self._write_pending()
        super().flush()

    def _write_pending(self) -> None:
        if self._pending_lines:
            lines, self._pending_lines, self._pending_chars = self._pending_lines, [], 0
            with suppress(OSError, ValueError):  # like logging, which ignores a failed write
                self.stream.write("\n".join(lines) + "\n")
