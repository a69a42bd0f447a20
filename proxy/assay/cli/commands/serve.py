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
from assay.assembly import Assembly, assembled, read_policies, utc_now
from assay.config import Configuration, load_configuration
from assay.policy.language.model import Policy
from assay.policy_reload import following
from assay.telemetry.audit_trail import recording
from assay.telemetry.metrics import watching_loop
from assay.telemetry.tracing import exporting
from assay.web.auth import admission
from assay.web.server.server import DRAIN, listening
from assay.web.wiring import wired

_FORMS = {"auto": None, "text": False, "json": True}
_YOUNG = 10_000
"""Objects that are made before the collector looks for cycles among them: a page that is judged makes and keeps
thousands, none of them in a cycle, and looking every 700 objects was 4 % of the work."""


def main(options: argparse.Namespace) -> int:
    """Serve.

    Raises:
        ConfigurationError: configuration, a policy, or the address to listen on.
    """
    telemetry.log_to(sys.stderr, as_json=_FORMS[options.log])
    configuration = load_configuration(options.config, os.environ)
    asyncio.run(_serve(configuration, read_policies(configuration)))
    return 0


async def _serve(configuration: Configuration, policies: Mapping[str, Policy]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(configuration, policies):
        await stop.wait()
        telemetry.event("stopping")
    telemetry.event("stopped")


@asynccontextmanager
async def serving(
    configuration: Configuration,
    policies: Mapping[str, Policy],
    *,
    environ: Mapping[str, str] = os.environ,
    drain: float = DRAIN,
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
        exporting(os.environ),
        admission(configuration.server) as access,
        recording(configuration.audit, utc_now) as trail,
        assembled(configuration, policies, environ=environ) as assembly,
        following(assembly.views),
        watching_loop(),
    ):
        handler, ready = wired(assembly, configuration, clock=utc_now, trail=trail, access=access)
        async with listening(handler, ready, configuration.server, drain=drain) as (host, port):
            shown = f"[{host}]" if ":" in host else host
            origin = f"{'http' if configuration.server.tls is None else 'https'}://{shown}:{port}"
            _announce(origin, assembly, str(configuration.storage.directory))
            # What is there by now stays: the collector need not look through it whenever it looks through all, which
            # would hold up everybody who asks.
            gc.freeze()
            gc.set_threshold(_YOUNG)
            yield origin


def _announce(origin: str, assembly: Assembly, storage: str) -> None:
    """Say where each view's index is, and by which policy; the one at ``/`` last, since then all of them are there."""
    for number, view in reversed(list(enumerate(assembly.views))):
        said = {"index": f"{origin}{view.settings.path}simple/", "policy": str(view.settings.policy or "built-in")}
        digest = view.gate.policy.digest
        if number:
            telemetry.event("view-open", view=view.settings.name, **said, policy_digest=digest)
        else:
            telemetry.event("listening", **said, policy_digest=digest, storage=storage)
