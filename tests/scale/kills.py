"""kill -9 of replicas and engines at random moments, and an index that swaps and withdraws files meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from random import Random

from tests.scale.replicas import Replica
from tests.scale.waiting import eventually
from tests.world.index.distributions import BuiltDistribution, wheel
from tests.world.index.fake_index import Index, ListedFile

_MAX_AWAY = 2
"""Number of victims that are away at the same time: the others must answer meanwhile."""
_MIN_FILES = 20


@dataclass(frozen=True)
class Victim:
    """Something that is killed: `kill` ends it, and `start` starts it and waits until it works again."""

    name: str
    kill: Callable[[], Awaitable[object]]
    start: Callable[[], Awaitable[object]]
    is_engine: bool = False

    @classmethod
    def from_replica(cls, name: str, replica: Replica) -> Victim:
        # A replica ends if the database is away at its start; then it is started again, as Kubernetes does.
        return cls(name, replica.kill, partial(eventually, replica.start))


@dataclass
class Storm:
    """Kills, one after another, while each victim starts again.

    Attributes:
        killed_at: times of all kills.
        outages: start and end of each time in which an engine was away; without an engine, each replica is on its own.
    """

    victims: Sequence[Victim]
    random: Random
    killed_at: list[float] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    async def rage(self, kills: int) -> None:
        """Kill a running victim at random until `kills` have been killed; return when all run again."""
        running = list(self.victims)
        away = asyncio.Semaphore(_MAX_AWAY)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(kills):
                await away.acquire()
                victim = running.pop(self.random.randrange(len(running)))
                self.counts[victim.name] += 1
                killed = time.monotonic()
                self.killed_at.append(killed)
                await victim.kill()
                reviving = tasks.create_task(self._revive(victim, running, killed))
                reviving.add_done_callback(lambda _: away.release())
                await asyncio.sleep(self.random.uniform(0.0, 0.8))  # a random moment for the next kill

    async def _revive(self, victim: Victim, running: list[Victim], killed: float) -> None:
        await victim.start()
        if victim.is_engine:
            self.outages.append((killed, time.monotonic()))
        running.append(victim)


@dataclass
class FickleIndex:
    """Index whose owner swaps, withdraws and adds files again."""

    index: Index
    listed: list[ListedFile]
    random: Random
    swaps: int = 0
    withdrawals: int = 0
    _withdrawn: list[ListedFile] = field(default_factory=list)
    _originals: dict[str, BuiltDistribution] = field(default_factory=dict)
    """First content of the files that have other content now, by filename."""

    async def run(self, over: asyncio.Event) -> None:
        """Change something a few times a second until `over` is set."""
        while not over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), self.random.uniform(0.05, 0.4))
            change = self.random.choice([self._swap, self._swap, self._withdraw, self._list_again])
            change()

    def settle(self) -> None:
        """List all files again, each with its first content."""
        for _ in list(self._withdrawn):
            self._list_again()
        for each in self.listed:
            if each.built.filename in self._originals:
                self.index.replace(each, self._originals[each.built.filename])

    def _swap(self) -> None:
        """Replace the content of a file, or restore it; its URL stays the same or changes."""
        old = self.random.choice(self.listed)
        self.swaps += 1
        content = self._originals.pop(old.built.filename, None)
        if content is None:
            self._originals[old.built.filename] = old.built
            content = wheel(old.built.project, old.built.version, padding=self.random.randrange(400_000))
        assert content.filename == old.built.filename
        if self.random.random() < 0.5:
            self.index.replace(old, content)
        else:
            self.index.remove(old)
            self.listed.remove(old)
            self.listed.append(self.index.add(content))

    def _withdraw(self) -> None:
        if len(self.listed) <= _MIN_FILES:
            return
        gone = self.listed.pop(self.random.randrange(len(self.listed)))
        self.withdrawals += 1
        self.index.remove(gone)
        self._withdrawn.append(gone)

    def _list_again(self) -> None:
        if not self._withdrawn:
            return
        back = self._withdrawn.pop(self.random.randrange(len(self._withdrawn)))
        self.listed.append(self.index.add(back.built))


def list_unexcused_fetches(index: Index, storm: Storm, *, replicas: int) -> list[str]:
    """Return a description of each file that was fetched more often than the kills explain.

    A further fetch of a path is excused by a kill since the fetch before it, or by an engine that was away when it
    began: then each replica may fetch it.
    """
    by_path: dict[str, list[float]] = {}
    for request in index.requests:
        if request.path.startswith("/packages/") and request.method == "GET":
            by_path.setdefault(request.path, []).append(request.at)
    found = []
    for path, times in by_path.items():
        unexcused = 0
        for earlier, later in pairwise(times):
            is_killed = any(earlier <= killed <= later for killed in storm.killed_at)
            is_away = any(start <= later <= end + 1 for start, end in storm.outages)
            unexcused += not is_killed and not is_away
        if unexcused:
            found.append(f"{path}: {len(times)} fetches, of which {unexcused} have no reason (of {replicas} replicas)")
    return found
