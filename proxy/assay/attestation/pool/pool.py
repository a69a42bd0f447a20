"""Pool of verification workers: processes, or one thread on a machine with a single core.

A job is the verification of one document. The pool splits jobs into batches and puts the batches into a bounded queue.
Each worker has up to three batches at a time, so that it need not wait for a busy event loop between batches.

If a worker dies, the pool starts another worker and sends the batches again. A batch fails with
`VerificationUnavailableError` if two workers die while verifying it, or if it exceeds its time limit. Such a failure
never becomes evidence. All workers end when the pool is closed or when the proxy dies, even suddenly.

Only the workers import sigstore, to save memory in the proxy process. Each worker starts as a new Python interpreter.
`multiprocessing` is not used, because it would import the entry module again and use pickle.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from assay import telemetry
from assay.attestation.config import VerificationSettings
from assay.attestation.pool import processes, protocol
from assay.attestation.trust_roots import TrustKey, TrustRoot, TrustRoots, is_still_valid
from assay.caching.background import cancel_and_wait
from assay.errors import VerificationUnavailableError
from assay.evidence import Evidence
from assay.ports import VerificationJob, VerificationResult

MAX_BATCH_DOCUMENTS: Final = 20
"""Maximum number of documents in a batch. A larger batch has less transfer cost for each document. A smaller batch
divides the documents of a page better among the workers."""
_MAX_BATCH_BYTES: Final = 4 << 20
_MAX_BATCHES_PER_WORKER: Final = 3
"""Maximum number of unanswered batches that a worker has at a time."""
_MAX_ATTEMPTS: Final = 2
_MAX_DEFAULT_WORKERS: Final = 4
_CLOSE_TIMEOUT_SECONDS: Final = 2.0
_RESTART_DELAY_SECONDS: Final = 0.5
"""Pause in seconds after two workers died while verifying a batch. Without the pause, a broken installation would
restart workers in a tight loop."""
_WORKER_MODULE: Final = "assay.attestation.pool.worker"
_UNNEEDED_MODULES: Final = (
    *("chardet", "charset_normalizer", "backports.zstd", "compression.zstd"),
    *("pkcs11", "asn1crypto"),
)
"""Modules that workers do not need, but libraries import if they are installed. The first ones decode HTTP responses,
and would take 3.6 MB of memory in each worker. The others sign with keys in hardware, and would take 2.7 MB in all."""
_CLOSING_REASON: Final = "verification has stopped, because Assay is shutting down"


@dataclass(slots=True, eq=False)
class _Batch:
    jobs: Sequence[VerificationJob]
    results: asyncio.Future[list[VerificationResult]]
    deaths: int = 0
    """Number of workers that died while verifying the batch."""


@dataclass(slots=True, eq=False)
class _Worker:
    """Worker process with its pipes. If the process dies, the next batch starts a new one."""

    bootstrap: Path
    """Script that a new process runs first."""
    process: processes.ChildProcess | None = None
    roots: TrustRoots | None = field(default=None)
    """Trust roots that the process received last; None if it has none."""

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
        """Send a batch to the worker process; start the process if it does not run.

        The worker answers batches in the order in which they were sent. This method does not wait until the worker has
        read the batch: unread bytes stay in a buffer. Waiting could cause a deadlock, because the worker may wait until
        the proxy reads its responses.

        Raises:
            OSError: a new worker process could not be started.
        """
        running = await self.ensure_running()
        self.send_roots(roots)
        running.stdin.write(protocol.encode_frame(protocol.encode_batch(jobs)))

    def send_roots(self, roots: TrustRoots) -> None:
        """Send the trust roots to a running worker unless it already has them. Do nothing if no worker runs.

        If the worker dies meanwhile, `receive_response` raises the error.
        """
        if self.process is not None and self.roots is not roots:
            self.process.stdin.write(protocol.encode_frame(protocol.encode_roots(roots)))
            self.roots = roots

    async def receive_response(self) -> bytes:
        """Wait for the response to the oldest unanswered batch and return it.

        Raises:
            EOFError: the worker died, or its response is too long.
            OSError: the pipe broke.
        """
        if self.process is None:
            raise EOFError("the verification worker is not running")
        await self.process.pid()
        length = int.from_bytes(await self.process.stdout.readexactly(protocol.LENGTH_BYTES), "big")
        if length > protocol.MAX_FRAME_BYTES:
            raise EOFError(f"the response of the verification worker is longer than {protocol.MAX_FRAME_BYTES} bytes")
        return await self.process.stdout.readexactly(length)

    async def stop(self, grace_seconds: float = 0.0) -> None:
        """Wait up to `grace_seconds` seconds for the end of the process; kill the process if it still runs."""
        running, self.process = self.process, None
        if running is not None:
            await running.stop(grace_seconds)

    async def close(self) -> None:
        """Close the worker's standard input, which ends the worker.

        Kill the worker if it still runs after 2 seconds.
        """
        if self.process is not None:
            self.process.stdin.close()
        await self.stop(_CLOSE_TIMEOUT_SECONDS)


class VerifierPool:
    """Pool of workers that verify documents against the trust roots in force; implements `assay.ports.Verifier`.

    Args:
        roots: trust roots in force at first.
        settings: the `[verification]` table; None: the default settings.
        bootstrap: script that a new worker process runs first.
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
        """Trust roots in force."""
        return self._roots

    @property
    def roots_digest(self) -> str:
        """Digest of all trust roots together. It changes if any trust root changes."""
        return self._roots.digest

    @property
    def queued_batches(self) -> int:
        """Number of batches in the queue; a metric."""
        return self._queue.qsize()

    def trust_fingerprint_for(self, root_name: str | None) -> str:
        """Return the fingerprint of the current trust roots of an index, which is part of the cache key of evidence.

        Args:
            root_name: name of the only trust root for the index, from the index's settings. None: the default root and
                all further roots.

        Raises:
            ConfigurationError: no trust root has this name.
        """
        return " ".join(self._roots.fingerprints_for_index(root_name))

    def earlier_trust_fingerprints_for(self, root_name: str | None) -> tuple[str, ...]:
        """Return the fingerprints of the earlier trust roots of an index, newest first.

        Evidence that was recorded before a renewal of the trust roots has one of these in its cache key.

        Args:
            root_name: name of the only trust root for the index, from the index's settings. None: the default root and
                all further roots.
        """
        return tuple(
            " ".join(roots.fingerprints_for_index(root_name))
            for roots in self._roots.earlier
            if _has_root(roots, root_name)
        )

    def is_still_valid(self, evidence: Evidence, root_name: str | None) -> bool:
        """Return True if recorded evidence is also valid under the trust roots in force, without a new verification.

        Args:
            evidence: evidence that was recorded under earlier trust roots.
            root_name: name of the only trust root for the index, from the index's settings. None: the default root and
                all further roots.
        """
        return is_still_valid(evidence, self._roots.for_index(root_name))

    @property
    def keys_digest(self) -> str:
        """Digest of all keys that can countersign; empty without keys."""
        return self._roots.keys_digest

    def replace_keys(self, keys: tuple[TrustKey, ...]) -> bool:
        """Put keys in force for all batches that are sent from now on; return whether they differ from the previous."""
        if keys == self._roots.keys:
            return False
        self._roots = replace(self._roots, keys=keys)
        return True

    def update_root(self, root: TrustRoot) -> None:
        """Put a renewed trust root in force for all batches that are sent from now on."""
        self._roots = self._roots.with_refreshed(root)

    def replace_roots(self, roots: TrustRoots) -> None:
        """Replace all trust roots, for example after a change of the configuration."""
        self._roots = roots

    async def start(self) -> None:
        """Start the workers, which then import their libraries while the proxy starts. Idempotent.

        Raises:
            OSError: a process could not be started.
        """
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
        """End the workers. Running calls of `verify` raise `VerificationUnavailableError`. Idempotent."""
        await cancel_and_wait(self._tasks)
        self._tasks = []
        self._fail_queued_batches()
        await asyncio.gather(*(worker.close() for worker in self._workers))
        if self._thread is not None:
            await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
            self._thread = None

    def _fail_queued_batches(self) -> None:
        """Fail all queued batches. Call this only after the workers have ended.

        The first caller is `close`. If the queue was full, other callers of `verify` still wait for space in it. When
        one of them gets space, it adds its batch and calls this method again. The method fails that batch and makes
        space for the next waiting caller.
        """
        while not self._queue.empty():
            _fail_batch(self._queue.get_nowait(), _CLOSING_REASON)

    def preload_roots(self) -> None:
        """Send the trust roots in force to all workers, before the first documents arrive.

        The workers then load the trust roots, which takes 12 ms, while the proxy fetches the documents.
        """
        for worker in self._workers:
            worker.send_roots(self._roots)

    async def verify(self, jobs: Sequence[VerificationJob]) -> list[VerificationResult]:
        """Verify documents; return the evidence and the encoded record for each document, in order.

        Raises:
            VerificationUnavailableError: the verification of a document did not complete. The caller must not record
                evidence for any of the documents.
        """
        if not self._tasks:
            raise VerificationUnavailableError("the pool of verification workers is not running")
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
                    # Not `wait_for`, which in Python 3.11 loses a cancellation at the moment of the response.
                    async with asyncio.timeout(self._timeout):
                        answer = await worker.receive_response()
                except TimeoutError:
                    await worker.stop()
                    answer = protocol.encode_failure_response(
                        f"the verification took longer than its time limit of {self._timeout:g} seconds"
                    )
                    _complete_batch(given.popleft(), answer)
                except (EOFError, OSError) as error:
                    # A worker verifies batches in order, so it died while verifying the oldest one.
                    given[0].deaths += 1
                    telemetry.warning("verification-worker-died", error=repr(error), attempt=given[0].deaths)
                    await worker.stop(_CLOSE_TIMEOUT_SECONDS)
                    if given[0].deaths == _MAX_ATTEMPTS:
                        answer = protocol.encode_failure_response(
                            "two verification workers died while verifying the same documents"
                        )
                        _complete_batch(given.popleft(), answer)
                        await asyncio.sleep(_RESTART_DELAY_SECONDS)
                else:
                    _complete_batch(given.popleft(), answer)
                    continue
                # The next process has none of these batches, so they are sent again.
                again.extendleft(reversed(given))
                given.clear()
        except asyncio.CancelledError:
            for batch in (*given, *again):
                _fail_batch(batch, _CLOSING_REASON)
            raise

    async def _fill_worker(self, worker: _Worker, in_flight: deque[_Batch], retries: deque[_Batch]) -> None:
        """Send batches to the worker until it has three unanswered ones or no batch is left.

        If the worker has no batch at all, wait for one.

        Args:
            worker: the worker.
            in_flight: unanswered batches of the worker; sent batches are appended.
            retries: batches that a dead process did not answer; they are sent before batches of the queue.
        """
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
            from assay.attestation.pool.worker import verify_batch  # noqa: PLC0415 - imports sigstore, only in a thread that verifies

            return verify_batch(jobs, roots)

        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except TimeoutError:
            return protocol.encode_failure_response(
                f"the verification took longer than its time limit of {self._timeout:g} seconds"
            )


def default_worker_count() -> int:
    """Return the default number of worker processes: the usable cores minus one for the event loop, at most four.

    The number is 0 on a single core: a thread then verifies.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MAX_DEFAULT_WORKERS, cores - 1)


def _split_into_batches(jobs: Sequence[VerificationJob], workers: int) -> list[list[VerificationJob]]:
    """Split jobs into batches of len(jobs) / workers documents, rounded up, so that the workers share the jobs evenly.

    A batch has at most `MAX_BATCH_DOCUMENTS` documents. Together, the documents of a batch have at most
    `_MAX_BATCH_BYTES`. A larger document gets a separate batch.
    """
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
    """Decode a worker's response, and set it as the result or the exception of the batch."""
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
    """Log, only once, that nothing can be verified because the private API of a library changed.

    Args:
        reason: library, version and change, in the form ``LIBRARY VERSION: CHANGE``.
    """
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
