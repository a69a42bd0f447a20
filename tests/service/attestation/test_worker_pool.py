"""Tests of verification workers: same evidence as in process even if workers die, and no worker outlives its owner."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from assay.attestation.pool import processes
from assay.attestation.pool.pool import _UNNEEDED_MODULES, VerifierPool, default_worker_count
from assay.errors import VerificationUnavailableError
from assay.evidence import Forged
from tests.paths import ROOT
from tests.world.sigstore.private_sigstore import PrivateSigstore
from tests.world.sigstore.verifiers import (
    assert_findings,
    list_worker_pids,
    make_jobs,
    make_settings,
    run_verifier,
    trust_roots_for,
)


@pytest.fixture
async def one_worker(sigstore: PrivateSigstore) -> AsyncIterator[VerifierPool]:
    async with run_verifier(sigstore, 1) as made:
        yield made


async def settled() -> None:
    """Let the event loop run until it waits for a response: batches are queued, taken and written."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_answers_come_in_the_order_of_the_jobs(verifier: VerifierPool, sigstore: PrivateSigstore) -> None:
    for count in (0, 1, 3, 53):
        assert_findings(await verifier.verify(make_jobs(sigstore, count)), count)


async def test_several_callers_are_served_at_once(verifier: VerifierPool, sigstore: PrivateSigstore) -> None:
    asked = make_jobs(sigstore, 24)
    for found in await asyncio.gather(*(verifier.verify(asked) for _ in range(4))):
        assert_findings(found, 24)


async def test_a_worker_killed_in_the_middle_of_a_batch_is_replaced_and_no_answer_is_wrong(
    one_worker: VerifierPool, sigstore: PrivateSigstore
) -> None:
    (pid,) = await list_worker_pids(one_worker)
    os.kill(pid, signal.SIGSTOP)
    asked = asyncio.create_task(one_worker.verify(make_jobs(sigstore, 20)))
    await settled()
    assert (one_worker.queued_batches, asked.done()) == (0, False)
    os.kill(pid, signal.SIGKILL)
    assert_findings(await asked, 20)
    assert await list_worker_pids(one_worker) != [pid]


async def test_workers_killed_between_batches_are_replaced(sigstore: PrivateSigstore) -> None:
    verifier = VerifierPool(trust_roots_for(sigstore), make_settings(2))
    await verifier.start()
    for pid in await list_worker_pids(verifier):
        os.kill(pid, signal.SIGKILL)
    assert_findings(await verifier.verify(make_jobs(sigstore, 44)), 44)
    await verifier.close()


async def test_documents_that_kill_every_worker_are_our_failure_and_nothing_hangs(
    sigstore: PrivateSigstore, tmp_path: Path
) -> None:
    bootstrap = tmp_path / "bootstrap.py"
    bootstrap.write_text("raise SystemExit(3)")
    verifier = VerifierPool(trust_roots_for(sigstore), make_settings(1), bootstrap=bootstrap)
    await verifier.start()
    with pytest.raises(VerificationUnavailableError, match="died"):
        await verifier.verify(make_jobs(sigstore, 4))
    bootstrap.write_bytes(processes.BOOTSTRAP_FILE.read_bytes())
    assert_findings(await verifier.verify(make_jobs(sigstore, 4)), 4)
    await verifier.close()


_DEADLY = """
import sys
sys.path[:] = sys.argv[5:]
from assay.attestation.pool import worker
harmless = worker.verify_batch
def verify_batch(jobs, roots):
    if any(job.filename.startswith("killer") for job in jobs):
        raise SystemExit(3)
    return harmless(jobs, roots)
worker.verify_batch = verify_batch
worker.main()
"""


async def test_what_waits_in_a_worker_behind_what_kills_it_is_not_blamed(
    sigstore: PrivateSigstore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bootstrap = tmp_path / "bootstrap.py"
    bootstrap.write_text(_DEADLY)
    verifier = VerifierPool(trust_roots_for(sigstore), make_settings(1), bootstrap=bootstrap)
    await verifier.start()
    good = make_jobs(sigstore, 4)
    killer = [replace(good[0], filename="killer-1.0.tar.gz")]
    first, second, third = await asyncio.gather(
        verifier.verify(killer), verifier.verify(good), verifier.verify(good), return_exceptions=True
    )
    assert isinstance(first, VerificationUnavailableError)
    assert "two verification workers died" in str(first)
    for found in (second, third):
        assert isinstance(found, list)
        assert_findings(found, 4)
    assert caplog.messages.count("verification-worker-died") == 2
    await verifier.close()


async def test_batches_longer_than_pipes_hold_are_given_ahead_and_answered(sigstore: PrivateSigstore) -> None:
    verifier = VerifierPool(trust_roots_for(sigstore), make_settings(1))
    await verifier.start()
    asked = make_jobs(sigstore, 4)
    # A batch has 4 MB, so it is buffered in this process while the worker answers the previous one.
    long = [replace(job, provenance=b'{"version": 1, "%s": 2' % (b"x" * 300_000)) for job in asked * 5]
    async with asyncio.timeout(60):
        many = await asyncio.gather(*(verifier.verify(long + asked) for _ in range(6)))
    for found in many:
        assert all(isinstance(one.evidence, Forged) for one in found[:20])
        assert_findings(found[20:], 4)
    await verifier.close()


async def test_a_worker_that_doesnt_answer_in_time_is_replaced(sigstore: PrivateSigstore) -> None:
    verifier = VerifierPool(trust_roots_for(sigstore), make_settings(1))
    await verifier.start()
    assert_findings(await verifier.verify(make_jobs(sigstore, 4)), 4)
    verifier._timeout = 0.1
    os.kill((await list_worker_pids(verifier))[0], signal.SIGSTOP)
    with pytest.raises(VerificationUnavailableError, match="longer than its time limit"):
        await verifier.verify(make_jobs(sigstore, 4))
    verifier._timeout = 60
    assert_findings(await verifier.verify(make_jobs(sigstore, 4)), 4)
    await verifier.close()


async def test_the_queue_is_bounded_and_whoever_brings_more_waits(sigstore: PrivateSigstore) -> None:
    verifier = VerifierPool(trust_roots_for(sigstore), make_settings(1, queue=1))
    await verifier.start()
    (pid,) = await list_worker_pids(verifier)
    os.kill(pid, signal.SIGSTOP)
    asked = [asyncio.create_task(verifier.verify(make_jobs(sigstore, 4))) for _ in range(5)]
    await settled()
    assert verifier.queued_batches == 1
    os.kill(pid, signal.SIGCONT)
    for found in await asyncio.gather(*asked):
        assert_findings(found, 4)
    await verifier.close()


async def test_a_caller_who_leaves_harms_nobody(one_worker: VerifierPool, sigstore: PrivateSigstore) -> None:
    (pid,) = await list_worker_pids(one_worker)
    os.kill(pid, signal.SIGSTOP)
    leaving = asyncio.create_task(one_worker.verify(make_jobs(sigstore, 8)))
    staying = asyncio.create_task(one_worker.verify(make_jobs(sigstore, 8)))
    await settled()
    leaving.cancel()
    os.kill(pid, signal.SIGCONT)
    assert_findings(await staying, 8)
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await list_worker_pids(one_worker) == [pid]


@pytest.mark.parametrize("count", [0, 1])
async def test_closing_fails_those_who_wait_and_ends_the_workers(count: int, sigstore: PrivateSigstore) -> None:
    verifier = VerifierPool(trust_roots_for(sigstore), make_settings(count, queue=1))
    await verifier.start()
    running = await list_worker_pids(verifier)
    for pid in running:
        os.kill(pid, signal.SIGSTOP)
    asked = [asyncio.create_task(verifier.verify(make_jobs(sigstore, 40))) for _ in range(4)]
    await settled()
    for pid in running:
        os.kill(pid, signal.SIGCONT)
    await verifier.close()
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(one) for one in found} == {VerificationUnavailableError}
    for pid in running:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with pytest.raises(VerificationUnavailableError, match="not running"):
        await verifier.verify(make_jobs(sigstore, 1))
    await verifier.close()


async def test_a_verifier_that_was_never_started_says_so(sigstore: PrivateSigstore) -> None:
    with pytest.raises(VerificationUnavailableError, match="not running"):
        await VerifierPool(trust_roots_for(sigstore), make_settings(1)).verify(make_jobs(sigstore, 1))


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc which libraries a process has loaded")
async def test_a_worker_has_not_loaded_what_it_never_needs(one_worker: VerifierPool, sigstore: PrivateSigstore) -> None:
    assert_findings(await one_worker.verify(make_jobs(sigstore, 4)), 4)
    (pid,) = await list_worker_pids(one_worker)
    maps = await asyncio.to_thread(Path(f"/proc/{pid}/maps").read_text)
    assert "pydantic_core" in maps
    assert [name for name in ("charset_normalizer", "zstd") if name in maps] == []


@pytest.mark.parametrize(("blocked", "found"), [(_UNNEEDED_MODULES, []), ((), ["asn1crypto", "pkcs11"])])
def test_a_worker_imports_no_library_for_keys_in_hardware(
    tmp_path: Path, blocked: tuple[str, ...], found: list[str]
) -> None:
    (tmp_path / "probe.py").write_text(
        "import sys\nimport assay.attestation.pool.worker\n"
        "def main():\n    print([name for name in ('asn1crypto', 'pkcs11') if sys.modules.get(name)])\n"
    )
    command = [sys.executable, "-P", str(processes.BOOTSTRAP_FILE), str(os.getpid()), "probe", ",".join(blocked), ""]
    ran = subprocess.run([*command, str(tmp_path), *sys.path], capture_output=True, text=True, check=False, timeout=60)
    assert (ran.stdout, ran.stderr) == (f"{found}\n", "")


async def test_a_worker_ignores_the_terminals_interrupt(one_worker: VerifierPool, sigstore: PrivateSigstore) -> None:
    assert_findings(await one_worker.verify(make_jobs(sigstore, 4)), 4)
    running = await list_worker_pids(one_worker)
    os.kill(running[0], signal.SIGINT)
    assert_findings(await one_worker.verify(make_jobs(sigstore, 4)), 4)
    assert await list_worker_pids(one_worker) == running


_OWNER = """
import asyncio, sys
from assay.attestation.config import VerificationSettings
from assay.attestation.pool.pool import VerifierPool
from tests.world.sigstore.private_sigstore import PrivateSigstore
from tests.world.sigstore.verifiers import list_worker_pids, make_jobs, trust_roots_for
async def main():
    sigstore = PrivateSigstore(seed=1)
    verifier = VerifierPool(trust_roots_for(sigstore), VerificationSettings(workers=2))
    await verifier.start()
    asked = make_jobs(sigstore, 40)
    if sys.argv[1] != "starting":
        await verifier.verify(asked)
    busy = [asyncio.create_task(verifier.verify(asked * 20)) for _ in range(20)] if sys.argv[1] == "busy" else []
    starting = sys.argv[1] == "starting"
    running = [await verifier._workers[0].process.pid()] if starting else await list_worker_pids(verifier)
    print(*running, flush=True)
    await asyncio.gather(*busy)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for processes that are not its children")
@pytest.mark.parametrize("state", ["starting", "idle", "busy"])
def test_no_worker_outlives_its_owner_by_two_seconds(state: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER, state],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as owner:
        assert owner.stdout is not None
        running = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(running) == (1 if state == "starting" else 2)  # before the first process has forked, and after
        ends = [os.pidfd_open(pid) for pid in running]
        owner.kill()
        waiting = select.poll()
        for end in ends:
            waiting.register(end, select.POLLIN)
        gone: set[int] = set()
        while len(gone) < len(running):
            ready = waiting.poll(2000)
            assert ready, f"still there: {running}"
            for end, _ in ready:
                waiting.unregister(end)
                gone.add(end)
        for end in ends:
            os.close(end)


_LIGHT = """
import sys
import assay.attestation.codec, assay.cli.commands.serve
heavy = {"sigstore", "pypi_attestations", "cryptography", "tuf", "multiprocessing"} & set(sys.modules)
heavy |= {"tarfile", "packaging.metadata"} & set(sys.modules)  # only for uploads
assert not heavy, heavy
"""


def test_what_serves_imports_nothing_heavy() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _LIGHT], capture_output=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert (ran.returncode, ran.stderr.decode()) == (0, "")


async def test_a_worker_imports_nothing_from_the_working_directory(
    sigstore: PrivateSigstore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sigstore.py").write_text("raise SystemExit('imported from the working directory')")
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the working directory')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    verifier = VerifierPool(trust_roots_for(sigstore), make_settings(1))
    await verifier.start()
    assert_findings(await verifier.verify(make_jobs(sigstore, 4)), 4)
    await verifier.close()


def test_the_default_leaves_a_core_to_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, expected in ((1, 0), (2, 1), (4, 3), (64, 4)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        assert default_worker_count() == expected
