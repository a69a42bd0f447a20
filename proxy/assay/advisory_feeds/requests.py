"""Requests of the command ``assay advisories`` to a running proxy: refresh the feeds, or accept what is on hold.

The command cannot change the files of the feeds while a proxy uses them. It writes one request to a file in the
directory of the feeds. The proxy looks for it once a second, removes it and carries it out. The state of the feeds on
disk shows the outcome.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assay import telemetry
from assay.advisories.snapshot import Hit
from assay.advisory_feeds.service import AdvisoryFeeds
from assay.advisory_feeds.state import decode_hits, encode_hits, write_atomically
from assay.caching.background import BackgroundTasks
from assay.errors import AssayError, ConfigurationError
from assay.telemetry.audit_trail import AuditTrail

POLL_INTERVAL_SECONDS: Final = 1.0
_FILE_NAME: Final = "request.json"
_MAX_REQUEST_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """Request to accept a refused snapshot and hits on hold of one feed."""

    feed: str
    digest: str | None
    """Digest of the refused snapshot; None: only hits are accepted."""
    hits: frozenset[Hit]
    reason: str


def write_request(directory: Path, acceptance: Acceptance | None) -> None:
    """Write a request for the proxy that uses the directory of the feeds. Blocking.

    Args:
        directory: directory of the feeds.
        acceptance: what is accepted; None to refresh all feeds.

    Raises:
        ConfigurationError: another request has not been carried out yet.
        StorageError: the file cannot be written.
    """
    path = directory / _FILE_NAME
    if path.exists():
        raise ConfigurationError(f"{path}: another request waits for the proxy; try again in a few seconds")
    document: dict[str, Any] = {"action": "refresh"}
    if acceptance is not None:
        document = {
            "action": "accept",
            "feed": acceptance.feed,
            "digest": acceptance.digest,
            "hits": encode_hits(acceptance.hits),
            "reason": acceptance.reason,
        }
    write_atomically(path, json.dumps(document).encode())


@asynccontextmanager
async def watch_requests(
    feeds: AdvisoryFeeds, trail: AuditTrail | None, *, poll_interval_seconds: float = POLL_INTERVAL_SECONDS
) -> AsyncIterator[None]:
    """Carry out requests until the context ends. Without a feed, nothing is watched.

    Args:
        feeds: the feeds.
        trail: the audit trail, which records each acceptance; None: no audit trail is configured.
        poll_interval_seconds: time between two looks, in seconds.
    """
    async with BackgroundTasks() as tasks:
        if feeds.feeds:
            tasks.spawn(_watch(feeds, trail, poll_interval_seconds), name="advisory requests")
        yield


async def _watch(feeds: AdvisoryFeeds, trail: AuditTrail | None, poll_interval_seconds: float) -> None:
    while True:
        await handle_request(feeds, trail)
        await asyncio.sleep(poll_interval_seconds)


async def handle_request(feeds: AdvisoryFeeds, trail: AuditTrail | None) -> None:
    """Carry out the request that waits, if one does. A failure is logged, so that later requests are carried out."""
    try:
        document = await asyncio.to_thread(_take, feeds.directory / _FILE_NAME)
        match document:
            case None:
                return
            case {"action": "refresh"}:
                await feeds.refresh()
            case {"action": "accept"}:
                await accept(feeds, _decode(document), trail)
            case _:
                telemetry.warning("advisory-request-failed", error="expected the action refresh or accept")
    except (AssayError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        telemetry.warning("advisory-request-failed", error=str(error))
    except Exception as error:  # noqa: BLE001 - see the docstring
        telemetry.failure("advisory-request-failed", error)


def _take(path: Path) -> Any:  # noqa: ANN401 - JSON
    """Return the request and remove it; None if no request waits. Blocking."""
    try:
        is_too_large = path.stat().st_size > _MAX_REQUEST_BYTES
    except FileNotFoundError:
        return None
    try:
        return None if is_too_large else json.loads(path.read_bytes())
    finally:
        path.unlink(missing_ok=True)


def _decode(document: dict[str, Any]) -> Acceptance:
    digest = document["digest"]
    return Acceptance(
        feed=str(document["feed"]),
        digest=None if digest is None else str(digest),
        hits=decode_hits(document["hits"]),
        reason=str(document["reason"]),
    )


async def accept(feeds: AdvisoryFeeds, acceptance: Acceptance, trail: AuditTrail | None) -> None:
    """Accept, and record what was accepted in the audit trail.

    Raises:
        AssayError: the feed does not exist, or its state or the audit trail cannot be written.
    """
    accepted = await feeds.accept(acceptance.feed, acceptance.digest, acceptance.hits, acceptance.reason)
    if trail is not None:
        await trail.record(
            {
                "event": "advisories-accepted",
                "feed": acceptance.feed,
                "snapshot": None if accepted.snapshot is None else accepted.snapshot.digest,
                "hits": encode_hits(accepted.hits),
                "reason": acceptance.reason,
            }
        )
