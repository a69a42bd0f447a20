"""Verification off the event loop: worker processes, or one thread where there is one core.

Owns the workers' lives. Jobs are split into batches, batches wait in a bounded queue, and each worker has a few: one
that it works on and others that are there when it is done, since the event loop is busiest when there is most to
verify. A worker that dies is replaced, and what it had is given to its successor; a batch over which two workers died,
or that outlasts its time, is a failure of ours (`VerificationUnavailableError`), never evidence. Closing, or the death
of the proxy however sudden, ends every worker.

Light on purpose: only the workers import sigstore. They are started as fresh interpreters and not by `multiprocessing`,
which imports the entry module again and passes pickles.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from assay import telemetry
from assay.attestation.config import VerificationSettings
from assay.attestation.pool import processes, protocol
from assay.attestation.pool.protocol import Finding, Job
from assay.attestation.trust_roots import TrustRoot, TrustRoots, still_stands
from assay.errors import VerificationUnavailableError
from assay.evidence import Evidence

__all__ = ["BATCH", "Job", "Verifier"]

BATCH: Final = 20
"""Documents: long enough to make the hop cheap, short enough to spread a page over the workers."""
_BATCH_BYTES: Final = 4 << 20
_AHEAD: Final = 3
"""Batches that a worker has."""
_TRIES: Final = 2
_MOST_WORKERS: Final = 4
_CLOSING_SECONDS: Final = 2.0
_RESTART_SECONDS: Final = 0.5
"""Before a worker that died at once is started again: a broken installation must not spin."""
_MODULE: Final = "assay.attestation.pool.worker"
_NEEDLESS: Final = ("chardet", "charset_normalizer", "backports.zstd", "compression.zstd")
"""For answers to HTTP requests, which a worker never makes: 3.6 MB in each."""
_CLOSING: Final = "the verifier is closing"


@dataclass(slots=True, eq=False)
class _Batch:
    jobs: Sequence[Job]
    done: asyncio.Future[list[Finding]]
    deaths: int = 0
    """Workers that died over it."""


@dataclass(slots=True, eq=False)
class _Worker:
    """One process, started again whenever it is found dead."""

    running: processes.Apart | None = None
    roots: TrustRoots | None = field(default=None)
    """Those it was last given."""

    async def ready(self) -> processes.Apart:
        if self.running is not None and self.running.is_gone:
            await self.end()
        if self.running is None:
            self.roots = None
            (self.running,) = await processes.siblings(_MODULE, _NEEDLESS, 1)
        return self.running

    async def give(self, jobs: Sequence[Job], roots: TrustRoots) -> None:
        """Send a batch, to be answered after those that were sent before; raises EOFError or OSError when it is dead.

        What the worker does not take yet is buffered: whoever waited for it here would not read what it answers.
        """
        running = await self.ready()
        self.prepare(roots)
        running.stdin.write(protocol.frame(protocol.encode_batch(jobs)))

    def prepare(self, roots: TrustRoots) -> None:
        """Let it load these roots, if it lives and was given others or none; whether it dies is found out later."""
        if self.running is not None and self.roots is not roots:
            self.running.stdin.write(protocol.frame(protocol.encode_roots(roots)))
            self.roots = roots

    async def answer(self) -> bytes:
        """The answer to the oldest batch; raises EOFError or OSError when the worker dies over it."""
        if self.running is None:
            raise EOFError("a worker without a process")
        await self.running.pid()
        length = int.from_bytes(await self.running.stdout.readexactly(protocol.LENGTH), "big")
        if length > protocol.LARGEST:
            raise EOFError("a worker's answer is too long")
        return await self.running.stdout.readexactly(length)

    async def end(self, grace: float = 0.0) -> None:
        """Wait `grace` seconds for it to end, then kill it."""
        running, self.running = self.running, None
        if running is not None:
            await running.end(grace)

    async def close(self) -> None:
        """Let it end by itself, for a while."""
        if self.running is not None:
            self.running.stdin.close()
        await self.end(_CLOSING_SECONDS)


class Verifier:
    """Verifies documents over the roots in force, off the event loop."""

    def __init__(self, roots: TrustRoots, settings: VerificationSettings | None = None) -> None:
        settings = settings or VerificationSettings()
        self._roots = roots
        self._timeout = settings.timeout.total_seconds()
        self._count = default_workers() if settings.workers is None else settings.workers
        self._queue: asyncio.Queue[_Batch] = asyncio.Queue(settings.queue)
        self._workers = [_Worker() for _ in range(self._count)]
        self._thread: ThreadPoolExecutor | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def roots(self) -> TrustRoots:
        """Those in force."""
        return self._roots

    @property
    def roots_digest(self) -> str:
        """Of all roots together: changes whenever any of them does."""
        return self._roots.digest

    @property
    def workers(self) -> int:
        """Worker processes; 0 for a thread."""
        return self._count

    @property
    def waiting(self) -> int:
        """Batches in the queue, for metrics."""
        return self._queue.qsize()

    def digest_for(self, trust: str | None) -> str:
        """Digest of the roots that count for an index with this `trust`: part of the key of its evidence."""
        return " ".join(self._roots.digests(trust))

    def earlier_digests_for(self, trust: str | None) -> tuple[str, ...]:
        """The same of the roots that were in force before, newest first."""
        return tuple(" ".join(roots.digests(trust)) for roots in self._roots.earlier if _has(roots, trust))

    def still_stands(self, evidence: Evidence, trust: str | None) -> bool:
        """Whether evidence recorded under earlier roots holds under these without verifying it again."""
        return still_stands(evidence, self._roots.for_index(trust))

    def renew(self, root: TrustRoot) -> None:
        """Put a renewed root in force, for every batch that starts from now on."""
        self._roots = self._roots.renewed(root)

    def replace(self, roots: TrustRoots) -> None:
        """Put other roots in force, as after a change of the configuration."""
        self._roots = roots

    async def start(self) -> None:
        """Start the workers; they load what they need while the proxy does the same."""
        if self._tasks:
            return
        if not self._count:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="verify")
            self._tasks = [asyncio.create_task(self._run_thread(), name="verify")]
            return
        running = await processes.siblings(_MODULE, _NEEDLESS, self._count)
        for worker, process in zip(self._workers, running, strict=True):
            worker.running = process
            self._tasks.append(asyncio.create_task(self._run_worker(worker), name="verify"))

    async def close(self) -> None:
        """End the workers; whoever still waits gets `VerificationUnavailableError`. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._drain()
        await asyncio.gather(*(worker.close() for worker in self._workers))
        if self._thread is not None:
            await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
            self._thread = None

    def _drain(self) -> None:
        """Nobody takes batches any more. Whoever waits for room comes here too, and makes it for the next."""
        while not self._queue.empty():
            _fail(self._queue.get_nowait(), _CLOSING)

    def prepare(self) -> None:
        """There will be documents soon: workers load the roots in force while these are on their way (12 ms)."""
        for worker in self._workers:
            worker.prepare(self._roots)

    async def verify(self, jobs: Sequence[Job]) -> list[Finding]:
        """Evidence for each job, in order, and how it is recorded.

        Raises:
            VerificationUnavailableError: our own failure; nothing may be recorded of any of them.
        """
        if not self._tasks:
            raise VerificationUnavailableError("the verifier is not running")
        batches = [_Batch(part, asyncio.get_running_loop().create_future()) for part in _split(jobs, self._count)]
        try:
            for batch in batches:
                await self._queue.put(batch)
                if not self._tasks:
                    self._drain()
            done = await asyncio.gather(*(batch.done for batch in batches))
        finally:
            for batch in batches:
                batch.done.cancel()
        return [found for one in done for found in one]

    async def _run_thread(self) -> None:
        while True:
            batch = await self._queue.get()
            if batch.done.done():
                continue
            try:
                _settle(batch, await self._in_thread(batch.jobs, self._roots))
            except asyncio.CancelledError:
                _fail(batch, _CLOSING)
                raise

    async def _run_worker(self, worker: _Worker) -> None:
        given, again = deque[_Batch](), deque[_Batch]()
        try:
            while True:
                try:
                    await self._give(worker, given, again)
                    answer = await asyncio.wait_for(worker.answer(), self._timeout)
                except TimeoutError:
                    await worker.end()
                    answer = protocol.encode_failure(f"verification took more than {self._timeout:g} seconds")
                    _settle(given.popleft(), answer)
                except (EOFError, OSError) as error:
                    # It works in order: the oldest batch is the one that it died over.
                    given[0].deaths += 1
                    telemetry.warning("verification-worker-died", error=repr(error), attempt=given[0].deaths)
                    await worker.end(_CLOSING_SECONDS)
                    if given[0].deaths == _TRIES:
                        answer = protocol.encode_failure("two verification workers died over the same documents")
                        _settle(given.popleft(), answer)
                        await asyncio.sleep(_RESTART_SECONDS)
                else:
                    _settle(given.popleft(), answer)
                    continue
                # The next worker has read nothing of what this one was given.
                again.extendleft(reversed(given))
                given.clear()
        except asyncio.CancelledError:
            for batch in (*given, *again):
                _fail(batch, _CLOSING)
            raise

    async def _give(self, worker: _Worker, given: deque[_Batch], again: deque[_Batch]) -> None:
        """Let the worker have as many batches as it may, and wait for one if it has none."""
        while len(given) < _AHEAD:
            if again:
                batch = again.popleft()
            elif not given:
                batch = await self._queue.get()
            elif self._queue.empty():
                return
            else:
                batch = self._queue.get_nowait()
            if not batch.done.done():
                given.append(batch)
                await worker.give(batch.jobs, self._roots)

    async def _in_thread(self, jobs: Sequence[Job], roots: TrustRoots) -> bytes:
        def run() -> bytes:
            from assay.attestation.pool.worker import answer  # noqa: PLC0415 - imports sigstore, in the thread that needs it

            return answer(jobs, roots)

        try:
            return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(self._thread, run), self._timeout)
        except TimeoutError:
            return protocol.encode_failure(f"verification took more than {self._timeout:g} seconds")


def default_workers() -> int:
    """One for each core that we may use but the event loop's, at most four; 0, a thread, where there is one core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST_WORKERS, cores - 1)


def _split(jobs: Sequence[Job], workers: int) -> list[list[Job]]:
    """Batches of about the same length for all workers, within the limits of a frame."""
    most = max(1, min(BATCH, -(-len(jobs) // max(1, workers))))
    batches: list[list[Job]] = []
    weight = 0
    for job in jobs:
        if not batches or len(batches[-1]) == most or weight + len(job.provenance) > _BATCH_BYTES:
            batches.append([])
            weight = 0
        batches[-1].append(job)
        weight += len(job.provenance)
    return batches


def _settle(batch: _Batch, answer: bytes) -> None:
    """What a worker said of a batch, for whoever waits for it."""
    match protocol.decode_answer(answer, len(batch.jobs)):
        case str(reason):
            _fail(batch, reason)
        case findings:
            if not batch.done.done():
                batch.done.set_result(findings)


def _fail(batch: _Batch, reason: str) -> None:
    if not batch.done.done():
        batch.done.set_exception(VerificationUnavailableError(reason))


def _has(roots: TrustRoots, trust: str | None) -> bool:
    return trust is None or trust in roots.named
