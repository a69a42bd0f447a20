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
from functools import lru_cache
from pathlib import Path
from typing import Final

from assay import telemetry
from assay.attestation.config import VerificationSettings
from assay.attestation.pool import processes, protocol
from assay.attestation.trust_roots import TrustRoot, TrustRoots, is_still_valid
from assay.caching.background import cancel_and_wait
from assay.errors import VerificationUnavailableError
from assay.evidence import Evidence
from assay.ports import VerificationJob, VerificationResult

MAX_BATCH_DOCUMENTS: Final = 20
"""Documents: long enough to make the hop cheap, short enough to spread a page over the workers."""
_MAX_BATCH_BYTES: Final = 4 << 20
_MAX_BATCHES_PER_WORKER: Final = 3
"""Batches that a worker has."""
_MAX_ATTEMPTS: Final = 2
_MAX_DEFAULT_WORKERS: Final = 4
_CLOSE_TIMEOUT_SECONDS: Final = 2.0
_RESTART_DELAY_SECONDS: Final = 0.5
"""Before a worker that died at once is started again: a broken installation must not spin."""
_WORKER_MODULE: Final = "assay.attestation.pool.worker"
_UNNEEDED_MODULES: Final = ("chardet", "charset_normalizer", "backports.zstd", "compression.zstd")
"""For answers to HTTP requests, which a worker never makes: 3.6 MB in each."""
_CLOSING_REASON: Final = "the verifier is closing"


@dataclass(slots=True, eq=False)
class _Batch:
    jobs: Sequence[VerificationJob]
    results: asyncio.Future[list[VerificationResult]]
    deaths: int = 0
    """Workers that died over it."""


@dataclass(slots=True, eq=False)
class _Worker:
    """One process, started again whenever it is found dead."""

    bootstrap: Path
    """Script that a new process runs first."""
    process: processes.ChildProcess | None = None
    roots: TrustRoots | None = field(default=None)
    """Those it was last given."""

    async def ensure_running(self) -> processes.ChildProcess:
        if self.process is not None and self.process.has_exited:
            await self.stop()
        if self.process is None:
            self.roots = None
            (self.process,) = await processes.spawn_processes(
                _WORKER_MODULE, _UNNEEDED_MODULES, 1, bootstrap=self.bootstrap
            )
        return self.process

    async def send_batch(self, jobs: Sequence[VerificationJob], roots: TrustRoots) -> None:
        """Send a batch, to be answered after those that were sent before; raises EOFError or OSError when it is dead.

        What the worker does not take yet is buffered: whoever waited for it here would not read what it answers.
        """
        running = await self.ensure_running()
        self.send_roots(roots)
        running.stdin.write(protocol.encode_frame(protocol.encode_batch(jobs)))

    def send_roots(self, roots: TrustRoots) -> None:
        """Let it load these roots, if it lives and was given others or none; whether it dies is found out later."""
        if self.process is not None and self.roots is not roots:
            self.process.stdin.write(protocol.encode_frame(protocol.encode_roots(roots)))
            self.roots = roots

    async def receive_response(self) -> bytes:
        """The answer to the oldest batch; raises EOFError or OSError when the worker dies over it."""
        if self.process is None:
            raise EOFError("a worker without a process")
        await self.process.pid()
        length = int.from_bytes(await self.process.stdout.readexactly(protocol.LENGTH_BYTES), "big")
        if length > protocol.MAX_FRAME_BYTES:
            raise EOFError("a worker's answer is too long")
        return await self.process.stdout.readexactly(length)

    async def stop(self, grace_seconds: float = 0.0) -> None:
        """Wait `grace_seconds` seconds for it to end, then kill it."""
        running, self.process = self.process, None
        if running is not None:
            await running.stop(grace_seconds)

    async def close(self) -> None:
        """Let it end by itself, for a while."""
        if self.process is not None:
            self.process.stdin.close()
        await self.stop(_CLOSE_TIMEOUT_SECONDS)


class VerifierPool:
    """Verifies documents over the roots in force, off the event loop: `assay.ports.Verifier`.

    Args:
        roots: trust roots in force at first.
        settings: of the `[verification]` table.
        bootstrap: script that a worker process runs first.
    """

    def __init__(
        self,
        roots: TrustRoots,
        settings: VerificationSettings | None = None,
        *,
        bootstrap: Path = processes.BOOTSTRAP_FILE,
    ) -> None:
        settings = settings or VerificationSettings()
        self._roots = roots
        self._bootstrap = bootstrap
        self._timeout = settings.timeout.total_seconds()
        self._worker_count = default_worker_count() if settings.workers is None else settings.workers
        self._queue: asyncio.Queue[_Batch] = asyncio.Queue(settings.queue)
        self._workers = [_Worker(bootstrap) for _ in range(self._worker_count)]
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
    def worker_count(self) -> int:
        """Worker processes; 0 for a thread."""
        return self._worker_count

    @property
    def queued_batches(self) -> int:
        """Batches in the queue, for metrics."""
        return self._queue.qsize()

    def trust_fingerprint_for(self, root_name: str | None) -> str:
        """Digest of the roots that count for an index with this `root_name`: part of the key of its evidence."""
        return " ".join(self._roots.fingerprints_for_index(root_name))

    def earlier_trust_fingerprints_for(self, root_name: str | None) -> tuple[str, ...]:
        """The same of the roots that were in force before, newest first."""
        return tuple(
            " ".join(roots.fingerprints_for_index(root_name))
            for roots in self._roots.earlier
            if _has_root(roots, root_name)
        )

    def is_still_valid(self, evidence: Evidence, root_name: str | None) -> bool:
        """Whether evidence recorded under earlier roots holds under these without verifying it again."""
        return is_still_valid(evidence, self._roots.for_index(root_name))

    def update_root(self, root: TrustRoot) -> None:
        """Put a renewed root in force, for every batch that starts from now on."""
        self._roots = self._roots.with_refreshed(root)

    def replace_roots(self, roots: TrustRoots) -> None:
        """Put other roots in force, as after a change of the configuration."""
        self._roots = roots

    async def start(self) -> None:
        """Start the workers; they load what they need while the proxy does the same."""
        if self._tasks:
            return
        if not self._worker_count:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="verify")
            self._tasks = [asyncio.create_task(self._run_thread(), name="verify")]
            return
        running = await processes.spawn_processes(
            _WORKER_MODULE, _UNNEEDED_MODULES, self._worker_count, bootstrap=self._bootstrap
        )
        for worker, process in zip(self._workers, running, strict=True):
            worker.process = process
            self._tasks.append(asyncio.create_task(self._run_worker(worker), name="verify"))

    async def close(self) -> None:
        """End the workers; whoever still waits gets `VerificationUnavailableError`. Idempotent."""
        await cancel_and_wait(self._tasks)
        self._tasks = []
        self._fail_queued_batches()
        await asyncio.gather(*(worker.close() for worker in self._workers))
        if self._thread is not None:
            await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
            self._thread = None

    def _fail_queued_batches(self) -> None:
        """Nobody takes batches any more. Whoever waits for room comes here too, and makes it for the next."""
        while not self._queue.empty():
            _fail_batch(self._queue.get_nowait(), _CLOSING_REASON)

    def preload_roots(self) -> None:
        """There will be documents soon: workers load the roots in force while these are on their way (12 ms)."""
        for worker in self._workers:
            worker.send_roots(self._roots)

    async def verify(self, jobs: Sequence[VerificationJob]) -> list[VerificationResult]:
        """Evidence for each job, in order, and how it is recorded.

        Raises:
            VerificationUnavailableError: our own failure; nothing may be recorded of any of them.
        """
        if not self._tasks:
            raise VerificationUnavailableError("the verifier is not running")
        batches = [
            _Batch(part, asyncio.get_running_loop().create_future())
            for part in _split_into_batches(jobs, self._worker_count)
        ]
        try:
            for batch in batches:
                await self._queue.put(batch)
                if not self._tasks:
                    self._fail_queued_batches()
            done = await asyncio.gather(*(batch.results for batch in batches))
        finally:
            for batch in batches:
                batch.results.cancel()
        return [found for one in done for found in one]

    async def _run_thread(self) -> None:
        while True:
            batch = await self._queue.get()
            if batch.results.done():
                continue
            try:
                _complete_batch(batch, await self._verify_in_thread(batch.jobs, self._roots))
            except asyncio.CancelledError:
                _fail_batch(batch, _CLOSING_REASON)
                raise

    async def _run_worker(self, worker: _Worker) -> None:
        given, again = deque[_Batch](), deque[_Batch]()
        try:
            while True:
                try:
                    await self._fill_worker(worker, given, again)
                    answer = await asyncio.wait_for(worker.receive_response(), self._timeout)
                except TimeoutError:
                    await worker.stop()
                    answer = protocol.encode_failure_response(f"verification took more than {self._timeout:g} seconds")
                    _complete_batch(given.popleft(), answer)
                except (EOFError, OSError) as error:
                    # It works in order: the oldest batch is the one that it died over.
                    given[0].deaths += 1
                    telemetry.warning("verification-worker-died", error=repr(error), attempt=given[0].deaths)
                    await worker.stop(_CLOSE_TIMEOUT_SECONDS)
                    if given[0].deaths == _MAX_ATTEMPTS:
                        answer = protocol.encode_failure_response(
                            "two verification workers died over the same documents"
                        )
                        _complete_batch(given.popleft(), answer)
                        await asyncio.sleep(_RESTART_DELAY_SECONDS)
                else:
                    _complete_batch(given.popleft(), answer)
                    continue
                # The next worker has read nothing of what this one was given.
                again.extendleft(reversed(given))
                given.clear()
        except asyncio.CancelledError:
            for batch in (*given, *again):
                _fail_batch(batch, _CLOSING_REASON)
            raise

    async def _fill_worker(self, worker: _Worker, in_flight: deque[_Batch], retries: deque[_Batch]) -> None:
        """Let the worker have as many batches as it may, and wait for one if it has none."""
        while len(in_flight) < _MAX_BATCHES_PER_WORKER:
            if retries:
                batch = retries.popleft()
            elif not in_flight:
                batch = await self._queue.get()
            elif self._queue.empty():
                return
            else:
                batch = self._queue.get_nowait()
            if not batch.results.done():
                in_flight.append(batch)
                await worker.send_batch(batch.jobs, self._roots)

    async def _verify_in_thread(self, jobs: Sequence[VerificationJob], roots: TrustRoots) -> bytes:
        def run() -> bytes:
            from assay.attestation.pool.worker import verify_batch  # noqa: PLC0415 - imports sigstore, in the thread that needs it

            return verify_batch(jobs, roots)

        try:
            return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(self._thread, run), self._timeout)
        except TimeoutError:
            return protocol.encode_failure_response(f"verification took more than {self._timeout:g} seconds")


def default_worker_count() -> int:
    """One for each core that we may use but the event loop's, at most four; 0, a thread, where there is one core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MAX_DEFAULT_WORKERS, cores - 1)


def _split_into_batches(jobs: Sequence[VerificationJob], workers: int) -> list[list[VerificationJob]]:
    """Batches of about the same length for all workers, within the limits of a frame."""
    most = max(1, min(MAX_BATCH_DOCUMENTS, -(-len(jobs) // max(1, workers))))
    batches: list[list[VerificationJob]] = []
    weight = 0
    for job in jobs:
        if not batches or len(batches[-1]) == most or weight + len(job.provenance) > _MAX_BATCH_BYTES:
            batches.append([])
            weight = 0
        batches[-1].append(job)
        weight += len(job.provenance)
    return batches


def _complete_batch(batch: _Batch, response: bytes) -> None:
    """What a worker said of a batch, for whoever waits for it."""
    match protocol.decode_response(response, len(batch.jobs)):
        case str(reason):
            if reason.startswith(protocol.PRIVATE_API_CHANGED):
                _warn_of_change(reason.removeprefix(protocol.PRIVATE_API_CHANGED))
            _fail_batch(batch, reason)
        case findings:
            if not batch.results.done():
                batch.results.set_result(findings)


@lru_cache(maxsize=1)
def _warn_of_change(reason: str) -> None:
    """Log, once, that verification refuses to work with a library: its name, its version, and what has changed."""
    named, _, changed = reason.partition(": ")
    library, _, version = named.partition(" ")
    telemetry.warning(
        "private-api-changed", library=library, version=version, changed=changed, instead="nothing is verified"
    )


def _fail_batch(batch: _Batch, reason: str) -> None:
    if not batch.results.done():
        batch.results.set_exception(VerificationUnavailableError(reason))


def _has_root(roots: TrustRoots, root_name: str | None) -> bool:
    return root_name is None or root_name in roots.by_name
