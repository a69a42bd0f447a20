"""Events: one stable name per thing that happens, with fields, to the log, and counted by name.

Owns the loggers, their two formats (readable text on a terminal, JSON lines elsewhere) and the id of the request on
whose behalf something happens, with its view, which every line carries; work that outlives its request keeps those of
the one that began it. A *security event* is a kind of its own: bytes, documents or pages that contradict what was
proven or decided. Values of others are escaped, so that no filename or header can write a line of the log.
"""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, TextIO

from proxy.telemetry.metrics import EVENTS, SECURITY

request_id: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""Of the request in work; also answered as ``X-Request-Id``."""
view: Final[ContextVar[str | None]] = ContextVar("view", default=None)
"""The view that the request in work is for; None: `default`, which lines do not name."""

_LOG = logging.getLogger("assay")
_SECURITY = logging.getLogger("assay.security")


def event(name: str, /, **fields: object) -> None:
    """Something that happened as it should: ``page-fetched``, ``download-finished``, and so on."""
    EVENTS.labels(name, "info").inc()
    if _LOG.isEnabledFor(logging.INFO):
        _LOG.info(name, extra={"fields": _placed(fields)})


def warning(name: str, /, **fields: object) -> None:
    """Something that an operator should look at: ``page-stale``, ``record-broken``, and so on."""
    EVENTS.labels(name, "warning").inc()
    _LOG.warning(name, extra={"fields": _placed(fields)})


def security(name: str, /, **fields: object) -> None:
    """Something that contradicts what was proven or decided: ``forged``, ``digest-mismatch``, ``serial-rollback``."""
    EVENTS.labels(name, "security").inc()
    SECURITY.labels(name).inc()
    _SECURITY.error(name, extra={"fields": _placed(fields)})


def failure(name: str, /, error: BaseException, **fields: object) -> None:
    """A fault of our own, with its traceback."""
    EVENTS.labels(name, "error").inc()
    _LOG.error(name, exc_info=error, extra={"fields": _placed(fields)})


def _placed(fields: dict[str, object]) -> dict[str, object]:
    """With the request's id and view: taken here, since the formatter may run in another context."""
    known = {"request": request_id.get(), "view": view.get()}
    return {key: value for key, value in known.items() if value is not None} | fields


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": "security" if record.name == _SECURITY.name else record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        level = "SECURITY" if record.name == _SECURITY.name else record.levelname
        fields = " ".join(f"{key}={_shown(value)}" for key, value in getattr(record, "fields", {}).items())
        line = f"{time} {level:<8} {_shown(record.getMessage(), quote=False)} {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _shown(value: object, *, quote: bool = True) -> str:
    text = str(value)
    if text.isprintable() and not (quote and (" " in text or not text)):
        return text
    return json.dumps(text)


def log_to(stream: TextIO = sys.stderr, *, level: int = logging.INFO, as_json: bool | None = None) -> None:
    """Send events to `stream`, as JSON lines unless it is a terminal or `as_json` says otherwise."""
    channel = logging.StreamHandler(stream)
    chosen = not stream.isatty() if as_json is None else as_json
    channel.setFormatter(_JsonLines() if chosen else _Text())
    root = logging.getLogger()
    root.handlers[:] = [channel]
    root.setLevel(logging.WARNING)
    _LOG.setLevel(level)
    # It warns of each retry of a trust root's renewal, whose outcome is an event of ours.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
