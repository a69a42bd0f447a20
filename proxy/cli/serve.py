"""``assay serve``: run the proxy until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys

from proxy import telemetry
from proxy.assembly import assembled, read_policy, utc_now
from proxy.config import Configuration, load_configuration
from proxy.policy.model import Policy
from proxy.reload import following
from proxy.telemetry.audit import recording
from proxy.telemetry.metrics import POLICY_SINCE, watching_loop
from proxy.telemetry.tracing import exporting
from proxy.web.access import admission
from proxy.web.handler import Handler
from proxy.web.health import readiness
from proxy.web.metrics import Scrape
from proxy.web.people.answer import People
from proxy.web.server import DRAIN, listening

_FORMS = {"auto": None, "text": False, "json": True}


def main(options: argparse.Namespace) -> int:
    """Serve.

    Raises:
        ConfigurationError: configuration, policy, or the address to listen on.
    """
    telemetry.log_to(sys.stderr, as_json=_FORMS[options.log])
    configuration = load_configuration(options.config, os.environ)
    policy = read_policy(configuration.policy)
    asyncio.run(_serve(configuration, policy))
    return 0


async def _serve(configuration: Configuration, policy: Policy) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with (
        exporting(os.environ),
        admission(configuration.server) as access,
        recording(configuration.audit, utc_now) as trail,
        assembled(configuration, policy) as assembly,
        following(configuration.policy, assembly.gate),
        watching_loop(),
    ):
        ready = readiness(assembly, configuration.trust, utc_now, trail)
        handler = Handler(
            gate=assembly.gate,
            roots=assembly.roots,
            readiness=ready,
            settings=configuration.server,
            clock=utc_now,
            scrape=Scrape(assembly),
            people=People(assembly=assembly, settings=configuration.server, clock=utc_now),
            trail=trail,
            access=access,
        )
        async with listening(handler, ready, configuration.server, drain=DRAIN) as (host, port):
            shown = f"[{host}]" if ":" in host else host
            telemetry.event(
                "listening",
                index=f"{'http' if configuration.server.tls is None else 'https'}://{shown}:{port}/simple/",
                policy=str(configuration.policy or "built-in"),
                policy_digest=policy.digest,
                storage=str(configuration.storage.directory),
            )
            POLICY_SINCE.set_to_current_time()
            await stop.wait()
            telemetry.event("stopping")
    telemetry.event("stopped")
