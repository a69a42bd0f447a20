"""What happens here, for those who are not here: events to the log, metrics, and the audit trail."""

from assay.telemetry.events import (
    configure_logging,
    current_request_id,
    current_view,
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
    "current_request_id",
    "current_view",
    "event",
    "failure",
    "log_request",
    "new_request_id",
    "security",
    "subscribe",
    "warning",
]
