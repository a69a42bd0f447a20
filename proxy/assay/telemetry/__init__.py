"""Observability: log events and their subscribers, metrics, traces and the audit trail."""

from assay.telemetry.events import (
    configure_logging,
    current_request,
    event,
    failure,
    log_request,
    new_request_id,
    security,
    subscribe,
    warning,
)
from assay.telemetry.subscribers import Event, Subscriber

__all__ = [
    "Event",
    "Subscriber",
    "configure_logging",
    "current_request",
    "event",
    "failure",
    "log_request",
    "new_request_id",
    "security",
    "subscribe",
    "warning",
]
