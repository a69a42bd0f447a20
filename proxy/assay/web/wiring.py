"""What answers requests, put together from the running parts: the same for `assay serve` and for tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from assay.assembly import Assembly
from assay.config import Configuration
from assay.telemetry.audit_trail import AuditTrail
from assay.web.app import WebApp
from assay.web.audit import AuditRecorder
from assay.web.auth import Authenticator
from assay.web.health import Readiness, build_readiness
from assay.web.metrics import MetricsEndpoint
from assay.web.ui.pages import UiResponder
from assay.web.view import ViewResponder


def create_app(
    assembly: Assembly,
    configuration: Configuration,
    *,
    clock: Callable[[], datetime],
    audit_trail: AuditTrail | None,
    authenticator: Authenticator | None,
) -> tuple[WebApp, Readiness]:
    """The handler of all views, and what ``/readyz`` says.

    Args:
        assembly: the running parts.
        configuration: that they were made from.
        clock: UTC.
        audit_trail: where served and refused files are recorded; None: nowhere.
        authenticator: who may ask; None: everybody.
    """
    server = configuration.server
    root, *others = assembly.views
    ready = build_readiness(assembly, configuration.trust, clock, audit_trail)
    views = [
        ViewResponder(
            view=view,
            root_lists=assembly.root_lists,
            settings=server,
            clock=clock,
            ui=UiResponder(
                view=view,
                store=assembly.store,
                settings=server,
                clock=clock,
                other_views=tuple(each.settings for each in others) if view is root else (),
            ),
            recorder=AuditRecorder(audit_trail, server, view.settings.name),
        )
        for view in assembly.views
    ]
    return WebApp(
        views=views,
        readiness=ready,
        settings=server,
        metrics_endpoint=MetricsEndpoint(assembly),
        authenticator=authenticator,
    ), ready
