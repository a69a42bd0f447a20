"""Log events: functions that count an event, write it to the log and pass it to the event subscribers.

An event has a stable name and fields. If a request causes an event, its fields include the id and the view of the
request, even if the request has ended meanwhile. A *security event* reports that bytes, documents or pages contradict
earlier verified data or an earlier decision.

`lines` defines the format of log lines and escapes all values. So no filename or header from outside can forge a line
of the log.
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

current_request: Final[ContextVar[tuple[str | None, str | None]]] = ContextVar("request", default=(None, None))
"""Id and view of the current request. Responses have the id as ``X-Request-Id``. For the view `default`, the second
value is None, because log lines omit this view."""

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
    """Return a new request id: a random prefix of this process (32 bits), followed by a counter."""
    return f"{_PROCESS_PREFIX}{next(_REQUEST_NUMBERS):08x}"


def event(name: str, /, **fields: object) -> None:
    """Emit an event of normal operation, such as ``page-fetched`` or ``download-finished``."""
    _emit(name, "info", fields)


def warning(name: str, /, **fields: object) -> None:
    """Emit an event that an operator should examine, such as ``page-stale`` or ``record-corrupt``."""
    _emit(name, "warning", fields)


def security(name: str, /, **fields: object) -> None:
    """Emit a security event: data contradicts earlier verified data. Examples: ``forged``, ``digest-mismatch``."""
    SECURITY_EVENTS.labels(name).inc()
    _emit(name, "security", fields)


def failure(name: str, /, error: BaseException, **fields: object) -> None:
    """Emit an event for an internal error of Assay. The log includes the traceback of `error`."""
    _emit(name, "error", fields, error)


def subscribe(subscriber: Subscriber) -> Callable[[], None]:
    """Call `subscriber` with each later event. Return a function that ends the subscription.

    Raises:
        RuntimeError: there are already `MAX_SUBSCRIBERS` subscribers.
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
    _emit("subscriber-failed", "error", {}, error)  # to the log only: a subscriber is being called


_SUBSCRIBERS: Final = SubscriberList(_report_failed_subscriber)


def _add_request_context(fields: dict[str, object]) -> dict[str, object]:
    """Return the fields with the id and the view of the current request.

    They are read here, because the formatter may run in another context.
    """
    request, view = current_request.get()
    known = {"request": request, "view": view}
    return {key: value for key, value in known.items() if value is not None} | fields


def log_request(request_event: RequestEvent) -> None:
    """Emit the event ``request``.

    If Assay's JSON handler is the only log handler, it writes the lines of several requests together.
    """
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
    """Send log events to a stream.

    Args:
        stream: destination of the log.
        level: lowest level of Assay's events that is logged.
        as_json: True for JSON lines, False for text. None: text if the stream is a terminal, else JSON lines.
    """
    root = logging.getLogger()
    root.handlers[:] = [LogHandler(stream, as_json=not stream.isatty() if as_json is None else as_json)]
    root.setLevel(logging.WARNING)
    _LOGGER.setLevel(level)
    # urllib3 warns of each retry when a trust root is renewed. Assay logs the outcome itself.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
