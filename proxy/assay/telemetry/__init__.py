"""What happens here, for those who are not here: events to the log, metrics, and the audit trail."""

from assay.telemetry.events import event, failure, log_to, new_request_id, request, request_id, security, view, warning

__all__ = ["event", "failure", "log_to", "new_request_id", "request", "request_id", "security", "view", "warning"]
