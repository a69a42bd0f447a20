"""Command ``assay serve``: run the proxy until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from assay import telemetry
from assay.advisory_feeds.requests import watch_requests
from assay.assembly import Assembly, assemble
from assay.assembly.downloads import make_peer_credentials
from assay.assembly.inputs import get_known_names, read_policies, utc_now
from assay.config import Configuration, ServerSettings, load_configuration
from assay.gate.ledger_watch import watch_ledger
from assay.peers.addresses import parse_peer_address
from assay.policy.language.model import Policy
from assay.policy_reload import watch_policies
from assay.ports import AuditArchive
from assay.store.settings import SharedSettings
from assay.telemetry.audit_trail import AuditSettings, AuditSink, open_audit_trail
from assay.telemetry.audit_upload import UploadPacing, upload_parts
from assay.telemetry.metrics import measure_loop_delay
from assay.telemetry.tracing import export_spans
from assay.web.app import create_app
from assay.web.auth import open_authenticator
from assay.web.peers.server import run_peer_server
from assay.web.server.server import DRAIN_SECONDS, run_server

_JSON_LOG_BY_OPTION = {"auto": None, "text": False, "json": True}
_GC_THRESHOLD_OBJECTS = 10_000
"""Number of new objects between two runs of the garbage collector, which frees cycles. Judging a page creates thousands
of lasting objects, none of them in a cycle. With CPython's default of 700, the collector took 4 % of the time."""


def main(options: argparse.Namespace) -> int:
    """Serve until the process gets SIGTERM or SIGINT, then return 0.

    Raises:
        ConfigurationError: the configuration or a policy is invalid, or the address to listen on is unusable.
        AssayError: another component cannot start (`run_proxy`).
    """
    as_json = _JSON_LOG_BY_OPTION[options.log]
    telemetry.configure_logging(sys.stderr, as_json=as_json)
    configuration = load_configuration(options.config, os.environ, _list_settings(options))
    is_read_by_people = sys.stderr.isatty() if as_json is None else not as_json
    asyncio.run(
        _serve_until_signal(
            configuration,
            read_policies(configuration),
            new_ledger=options.new_ledger,
            greeting=format_greeting if is_read_by_people else None,
        )
    )
    return 0


def _list_settings(options: argparse.Namespace) -> dict[str, object]:
    """Return the tables of settings that options of the command line override."""
    server = {key: value for key in ("host", "port") if (value := getattr(options, key)) is not None}
    policy = {} if options.policy is None else {"policy": str(options.policy)}
    return {**({"server": server} if server else {}), **policy}


def format_greeting(origin: str, server: ServerSettings) -> str:
    """Return the address to open and the index URL, for people who run the command in a terminal."""
    for everywhere, loopback in (("//0.0.0.0", "//127.0.0.1"), ("//[::]", "//[::1]")):
        origin = origin.replace(everywhere, loopback)
    url = origin if server.public_url is None else server.public_url.rstrip("/")
    return f"""
Assay runs until you press Ctrl-C.
  Open in a browser:         {url}/
  Index URL for pip and uv:  {url}/simple/
"""


async def _serve_until_signal(
    configuration: Configuration,
    policies: Mapping[str, Policy],
    *,
    new_ledger: bool,
    greeting: Callable[[str, ServerSettings], str] | None,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with run_proxy(configuration, policies, new_ledger=new_ledger) as origin:
        if greeting is not None:
            print(greeting(origin, configuration.server), flush=True)
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
    new_ledger: bool = False,
) -> AsyncIterator[str]:
    """Run the whole proxy while the context is open, and yield its origin, such as ``http://127.0.0.1:8080``.

    ``make demo`` also uses this function.

    Args:
        configuration: the configuration of the proxy.
        policies: the policy of each view, by the name of the view. A changed policy file is reloaded.
        environ: environment variables, which contain credentials.
        drain: time in seconds for which `/readyz` fails before the proxy stops accepting connections.
        new_ledger: True to create an empty ledger if the storage has been used and its ledger is missing.

    Raises:
        ConfigurationError: a credential, trust root, directory or address is unusable.
        StorageError: the storage directory is unusable.
    """
    async with (
        export_spans(os.environ),
        open_authenticator(configuration.server) as access,
        open_audit_trail(configuration.audit, utc_now) as trail,
        assemble(configuration, policies, environ=environ, new_ledger=new_ledger) as assembly,
        upload_parts(trail, _get_archive(configuration.audit, assembly), _get_pacing(configuration.audit)),
        watch_policies(assembly.views, get_known_names(configuration)),
        watch_ledger(assembly.store, trail),
        watch_requests(assembly.feeds, trail),
        measure_loop_delay(),
    ):
        handler, ready = create_app(assembly, configuration, clock=utc_now, audit_trail=trail, authenticator=access)
        async with (
            _answer_peers(configuration.storage.shared, assembly),
            run_server(handler, ready, configuration.server, drain_seconds=drain) as (host, port),
        ):
            shown = f"[{host}]" if ":" in host else host
            origin = f"{'http' if configuration.server.tls is None else 'https'}://{shown}:{port}"
            _log_listening(origin, assembly, str(configuration.storage.directory))
            # Objects that exist now live as long as the process. Freezing excludes them from full collections, which
            # would otherwise delay all requests.
            gc.freeze()
            gc.set_threshold(_GC_THRESHOLD_OBJECTS)
            yield origin


def _get_archive(settings: AuditSettings, assembly: Assembly) -> AuditArchive | None:
    return assembly.store.make_audit_archive() if settings.sink is AuditSink.OBJECTS else None


def _get_pacing(settings: AuditSettings) -> UploadPacing:
    return UploadPacing(part_age_seconds=settings.upload.part_age.total_seconds())


@asynccontextmanager
async def _answer_peers(shared: SharedSettings | None, assembly: Assembly) -> AsyncIterator[None]:
    """Answer the other replicas while the context is open, if the configuration has an address for them.

    Raises:
        ConfigurationError: the proxy cannot listen on the address.
    """
    if shared is None or shared.peer_address is None:
        yield
        return
    gates = [view.gate for view in assembly.views]
    credentials, address = make_peer_credentials(shared, assembly.store), parse_peer_address(shared.peer_address)
    async with run_peer_server(gates, credentials, address, clock=utc_now):
        yield


def _log_listening(origin: str, assembly: Assembly, storage: str) -> None:
    """Log the index URL and the policy of each view.

    The view at ``/`` is logged last, so that all views are available when its event ``listening`` appears.
    """
    for number, view in reversed(list(enumerate(assembly.views))):
        fields = {"index": f"{origin}{view.settings.path}simple/", "policy": str(view.settings.policy or "built-in")}
        digest = view.gate.policy.digest
        if number:
            telemetry.event("view-available", view=view.settings.name, **fields, policy_digest=digest)
        else:
            telemetry.event("listening", **fields, policy_digest=digest, storage=storage)
