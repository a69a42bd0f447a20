"""``assay serve``: run the proxy until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from assay import telemetry
from assay.assembly import Assembly, assemble, read_policies, utc_now
from assay.config import Configuration, load_configuration
from assay.policy.language.model import Policy
from assay.policy_reload import watch_policies
from assay.telemetry.audit_trail import open_audit_trail
from assay.telemetry.metrics import measure_loop_delay
from assay.telemetry.tracing import export_spans
from assay.web.app import create_app
from assay.web.auth import open_authenticator
from assay.web.server.server import DRAIN_SECONDS, run_server

_JSON_LOG_BY_OPTION = {"auto": None, "text": False, "json": True}
_GC_THRESHOLD_OBJECTS = 10_000
"""Objects that are made before the collector looks for cycles among them: a page that is judged makes and keeps
thousands, none of them in a cycle, and looking every 700 objects was 4 % of the work."""


def main(options: argparse.Namespace) -> int:
    """Serve.

    Raises:
        ConfigurationError: configuration, a policy, or the address to listen on.
    """
    telemetry.configure_logging(sys.stderr, as_json=_JSON_LOG_BY_OPTION[options.log])
    configuration = load_configuration(options.config, os.environ)
    asyncio.run(_serve_until_signal(configuration, read_policies(configuration)))
    return 0


async def _serve_until_signal(configuration: Configuration, policies: Mapping[str, Policy]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with run_proxy(configuration, policies):
        await stop.wait()
        telemetry.event("stopping")
    telemetry.event("stopped")


@asynccontextmanager
async def run_proxy(
    configuration: Configuration,
    policies: Mapping[str, Policy],
    *,
    environ: Mapping[str, str] = os.environ,
    drain: float = DRAIN_SECONDS,
) -> AsyncIterator[str]:
    """All that this command runs, until the context is left; gives the proxy's origin. `make demo` runs it too.

    Args:
        configuration: all of it.
        policies: by view; each is obeyed as its file changes.
        environ: for credentials.
        drain: seconds for which it says that it stops, before it does.

    Raises:
        ConfigurationError: a credential, trust root, directory or address is not usable.
        StorageError: the storage directory is not usable.
    """
    async with (
        export_spans(os.environ),
        open_authenticator(configuration.server) as access,
        open_audit_trail(configuration.audit, utc_now) as trail,
        assemble(configuration, policies, environ=environ) as assembly,
        watch_policies(assembly.views),
        measure_loop_delay(),
    ):
        handler, ready = create_app(assembly, configuration, clock=utc_now, audit_trail=trail, authenticator=access)
        async with run_server(handler, ready, configuration.server, drain_seconds=drain) as (host, port):
            shown = f"[{host}]" if ":" in host else host
            origin = f"{'http' if configuration.server.tls is None else 'https'}://{shown}:{port}"
            _log_listening(origin, assembly, str(configuration.storage.directory))
            # What is there by now stays: the collector need not look through it whenever it looks through all, which
            # would hold up everybody who asks.
            gc.freeze()
            gc.set_threshold(_GC_THRESHOLD_OBJECTS)
            yield origin


def _log_listening(origin: str, assembly: Assembly, storage: str) -> None:
    """Say where each view's index is, and by which policy; the one at ``/`` last, since then all of them are there."""
    for number, view in reversed(list(enumerate(assembly.views))):
        said = {"index": f"{origin}{view.settings.path}simple/", "policy": str(view.settings.policy or "built-in")}
        digest = view.gate.policy.digest
        if number:
            telemetry.event("view-open", view=view.settings.name, **said, policy_digest=digest)
        else:
            telemetry.event("listening", **said, policy_digest=digest, storage=storage)
