"""Events: one stable name per thing that happens, with fields, to the log and to subscribers, and counted by name.

Owns the loggers and the id of the request on whose behalf something happens, with its view, which every line carries;
work that outlives its request keeps those of the one that began it. `lines` has what a line looks like. A *security
event* is a kind of its own: bytes, documents or pages that contradict what was proven or decided. Values of others are
escaped, so that no filename or header can write a line of the log.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Final, TextIO

from assay.telemetry import lines
from assay.telemetry.lines import LogHandler, RequestEvent
from assay.telemetry.metrics import EVENTS, SECURITY_EVENTS
from assay.telemetry.subscribers import Event, Level, Subscriber, SubscriberList

current_request_id: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""Of the request in work; also answered as ``X-Request-Id``."""
current_view: Final[ContextVar[str | None]] = ContextVar("view", default=None)
"""The view that the request in work is for; None: `default`, which lines do not name."""

_PROCESS_PREFIX = secrets.token_hex(4)
_REQUEST_NUMBERS = itertools.count(1)
_LOGGER = logging.getLogger("assay")
_SECURITY_LOGGER = logging.getLogger(lines.SECURITY_LOGGER)
_CHANNELS: Final[Mapping[Level, tuple[logging.Logger, int]]] = {
    "info": (_LOGGER, logging.INFO),
    "warning": (_LOGGER, logging.WARNING),
    "security": (_SECURITY_LOGGER, logging.ERROR),
    "error": (_LOGGER, logging.ERROR),
}


def new_request_id() -> str:
    """An id that no other request has, of this process or, as far as chance goes, of another."""
    return f"{_PROCESS_PREFIX}{next(_REQUEST_NUMBERS):08x}"


def event(name: str, /, **fields: object) -> None:
    """Emit something that happened as it should: ``page-fetched``, ``download-finished``, and so on."""
    _emit(name, "info", fields)


def warning(name: str, /, **fields: object) -> None:
    """Emit something that an operator should look at: ``page-stale``, ``record-broken``, and so on."""
    _emit(name, "warning", fields)


def security(name: str, /, **fields: object) -> None:
    """Emit a contradiction of what was proven or decided: ``forged``, ``digest-mismatch``, ``serial-rollback``."""
    SECURITY_EVENTS.labels(name).inc()
    _emit(name, "security", fields)


def failure(name: str, /, error: BaseException, **fields: object) -> None:
    """Emit a fault of our own, which is logged with its traceback."""
    _emit(name, "error", fields, error)


def subscribe(subscriber: Subscriber) -> Callable[[], None]:
    """Call `subscriber` with each event from now on; return a function that ends this.

    Raises:
        RuntimeError: there are too many subscribers.
    """
    return _SUBSCRIBERS.add(subscriber)


def _emit(name: str, level: Level, fields: dict[str, object], error: BaseException | None = None) -> None:
    EVENTS.labels(name, level).inc()
    logger, severity = _CHANNELS[level]
    is_logged = logger.isEnabledFor(severity)
    if is_logged or not _SUBSCRIBERS.is_empty:
        known = _add_request_context(fields)
        if is_logged:
            logger.log(severity, name, exc_info=error, extra={"fields": known})
        _SUBSCRIBERS.publish(Event(name, level, known))


def _report_failed_subscriber(error: Exception) -> None:
    _emit("subscriber-failed", "error", {}, error)  # to the log alone: a subscriber is being called


_SUBSCRIBERS: Final = SubscriberList(_report_failed_subscriber)


def _add_request_context(fields: dict[str, object]) -> dict[str, object]:
    """With the request's id and view: taken here, since the formatter may run in another context."""
    known = {"request": current_request_id.get(), "view": current_view.get()}
    return {key: value for key, value in known.items() if value is not None} | fields


def log_request(request_event: RequestEvent) -> None:
    """Emit the event ``request``; our own log handler, if it is the only one, writes its line together with others."""
    EVENTS.count_request()
    if not _SUBSCRIBERS.is_empty:
        _SUBSCRIBERS.publish(Event("request", "info", request_event.to_fields()))
    if not _LOGGER.isEnabledFor(logging.INFO):
        return
    listeners = logging.root.handlers
    channel = listeners[0] if len(listeners) == 1 else None
    if isinstance(channel, LogHandler) and channel.as_json:
        channel.write_batched(request_event.to_json_line(time.time()))
    else:
        _LOGGER.info("request", extra={"fields": request_event.to_fields()})


def configure_logging(stream: TextIO = sys.stderr, *, level: int = logging.INFO, as_json: bool | None = None) -> None:
    """Send events to `stream`, as JSON lines unless it is a terminal or `as_json` says otherwise."""
    root = logging.getLogger()
    root.handlers[:] = [LogHandler(stream, as_json=not stream.isatty() if as_json is None else as_json)]
    root.setLevel(logging.WARNING)
    _LOGGER.setLevel(level)
    # It warns of each retry of a trust root's renewal, whose outcome is an event of ours.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
