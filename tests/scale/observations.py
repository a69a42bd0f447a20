"""Everything that clients saw of a cluster, and whether it was right.

Right means: all pages of all replicas list a filename with one digest only, which is the first that any of them listed;
a complete response has exactly the bytes of that digest; and no request hangs.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any

import aiohttp

from tests.world.proxy.proxy_client import SIMPLE_JSON, ProxyClient, ReadResponse

HANG_SECONDS = 30
_ERRORS = (aiohttp.ClientError, ConnectionError)


@dataclass
class Observations:
    """Observed pages and files."""

    digests: dict[str, set[str]] = field(default_factory=dict)
    """Digests with which pages listed a filename; correct replicas never list more than one."""
    whole_files: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    """Responses that ended early, and refused connections: a killed replica causes them."""
    wrong: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)

    def observe_page(self, page: dict[str, Any]) -> list[dict[str, Any]]:
        """Record the files on a page, and return those that can be installed."""
        listed = [entry for entry in page["files"] if not entry["url"].endswith("?withheld")]
        for entry in listed:
            known = self.digests.setdefault(entry["filename"], set())
            known.add(entry["hashes"]["sha256"])
            if len(known) > 1:
                self.wrong.append(f"{entry['filename']} was listed with {sorted(known)}")
        return listed

    def observe_file(self, filename: str, expected: str, answer: ReadResponse) -> None:
        self.statuses[answer.status] += 1
        if answer.status != 200:
            return
        if (found := sha256(answer.body).hexdigest()) != expected:
            self.wrong.append(f"{filename} was served with the digest {found} instead of {expected}")
        self.whole_files += 1

    def list_conflicts(self, ledger: dict[str, str]) -> list[str]:
        """Return a description of each page that listed another digest than that of the ledger (by filename)."""
        return [
            f"{filename} was listed with {digest}, and the ledger has {ledger.get(filename)}"
            for filename, digests in self.digests.items()
            for digest in digests
            if ledger.get(filename) != digest
        ]

    def __str__(self) -> str:
        return (
            f"{self.whole_files} whole files, {len(self.digests)} filenames, statuses {dict(self.statuses)}, "
            f"{self.broken} broken, {len(self.wrong)} wrong, {len(self.hangs)} hangs"
        )


class Client:
    """Client that reads pages and files at random, and records all that it sees."""

    def __init__(self, seen: Observations, doors: Sequence[ProxyClient], projects: Sequence[str], *, seed: int) -> None:
        self._seen, self._doors, self._projects, self._random = seen, doors, projects, Random(seed)

    async def run(self, over: asyncio.Event) -> None:
        """Send requests until `over` is set."""
        while not over.is_set():
            project = self._random.choice(self._projects)
            page = await self._get(self._random.choice(self._doors), f"/simple/{project}/", {"Accept": SIMPLE_JSON})
            if page is None:
                continue
            self._seen.statuses[page.status] += 1
            if page.status != 200:
                continue
            entries = self._seen.observe_page(page.json())
            for entry in self._random.sample(entries, min(2, len(entries))):
                path = entry["url"].removeprefix("../..").partition("#")[0]
                answer = await self._get(self._random.choice(self._doors), path)
                if answer is not None:
                    self._seen.observe_file(entry["filename"], entry["hashes"]["sha256"], answer)

    async def _get(self, door: ProxyClient, path: str, headers: dict[str, str] | None = None) -> ReadResponse | None:
        started = time.monotonic()
        try:
            async with asyncio.timeout(HANG_SECONDS):
                return await door.get(path, headers)
        except TimeoutError:
            self._seen.hangs.append(path)
        except _ERRORS:
            self._seen.broken += 1
            # A killed replica refuses connections at once: do not send thousands of requests to it.
            await asyncio.sleep(0.02)
        finally:
            if time.monotonic() - started > HANG_SECONDS and path not in self._seen.hangs:
                self._seen.hangs.append(path)
        return None
