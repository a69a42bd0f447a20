"""What answers requests, put together from the running parts: the same for `assay serve` and for tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from assay.assembly import Assembly
from assay.config import Configuration
from assay.telemetry.audit_trail import Trail
from assay.web.app import Handler
from assay.web.audit import Recorder
from assay.web.auth import Access
from assay.web.health import Readiness, readiness
from assay.web.metrics import Scrape
from assay.web.ui.pages import People
from assay.web.view import ViewAnswers


def wired(
    assembly: Assembly,
    configuration: Configuration,
    *,
    clock: Callable[[], datetime],
    trail: Trail | None,
    access: Access | None,
) -> tuple[Handler, Readiness]:
    """The handler of all views, and what ``/readyz`` says.

    Args:
        assembly: the running parts.
        configuration: that they were made from.
        clock: UTC.
        trail: where served and refused files are recorded; None: nowhere.
        access: who may ask; None: everybody.
    """
    server = configuration.server
    root, *others = assembly.views
    ready = readiness(assembly, configuration.trust, clock, trail)
    views = [
        ViewAnswers(
            view=view,
            roots=assembly.roots,
            settings=server,
            clock=clock,
            people=People(
                view=view,
                store=assembly.store,
                settings=server,
                clock=clock,
                others=tuple(each.settings for each in others) if view is root else (),
            ),
            recorder=Recorder(trail, server, view.settings.name),
        )
        for view in assembly.views
    ]
    return Handler(views=views, readiness=ready, settings=server, scrape=Scrape(assembly), access=access), ready
