"""Tests of forked workers: they share memory with the first process, and they survive its death."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from assay.attestation.pool import fork_server, processes
from assay.attestation.pool.pool import VerifierPool
from assay.errors import VerificationUnavailableError
from tests.world.sigstore.private_sigstore import PrivateSigstore
from tests.world.sigstore.verifiers import (
    assert_findings,
    list_worker_pids,
    make_jobs,
    make_settings,
    run_verifier,
    trust_roots_for,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="without pidfd_open each worker is by itself")
_PRIVATE = 12_000
"""Maximum private memory of an idle worker in kB; a worker that shares no memory has about 33,000 kB."""
_MANY = 200
"""Number of documents: enough for three workers, each of which gets up to 60 ahead of time."""
_NOTED = """
import os
prepared = []
def prepare():
    prepared.append(os.getpid())
def main():
    os.write(1, f"{prepared} {os.getpid()}\\n".encode())
"""
_DIES = "raise SystemExit(3)"
_NO_FORK = "def refused():\n    raise OSError(11, 'no more processes')\nos.fork = refused"
_NO_PIDFD = "del os.pidfd_open"
_PIDFD_FORBIDDEN = "def refused(*_):\n    raise OSError(38, 'no such call')\nos.pidfd_open = refused"


@pytest.fixture
async def three(sigstore: PrivateSigstore) -> AsyncIterator[VerifierPool]:
    async with run_verifier(sigstore, 3) as made:
        yield made


def write_bootstrap(directory: Path, change: str, *, once: bool = False) -> Path:
    """Write a bootstrap script that runs `change` (with `once`: only in the first process), then the real script."""
    mark, script = directory / "changed", directory / "bootstrap.py"
    condition = f"not os.path.exists({str(mark)!r})" if once else "True"
    lines = "\n".join(f"    {line}" for line in (f"open({str(mark)!r}, 'w').close()", *change.splitlines()))
    real = f"runpy.run_path({str(processes.BOOTSTRAP_FILE)!r}, run_name='__main__')"
    script.write_text(f"import os, runpy\nif {condition}:\n{lines}\n{real}\n")
    return script


def open_descriptors() -> set[str]:
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the descriptor that reads the directory
            found.add(str(each.readlink()))
    return found


async def gone(pid: int) -> bool:
    try:
        stat = await asyncio.to_thread(Path(f"/proc/{pid}/stat").read_text)
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


async def test_they_share_the_memory_of_what_they_loaded(three: VerifierPool, sigstore: PrivateSigstore) -> None:
    running = await list_worker_pids(three)
    assert len(set(running)) == 3
    for pid in running:
        rollup = await asyncio.to_thread(Path(f"/proc/{pid}/smaps_rollup").read_text)
        private = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_Dirty:"))
        assert private < _PRIVATE, rollup
    assert_findings(await three.verify(make_jobs(sigstore, 64)), 64)


async def test_a_module_is_prepared_once_before_the_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "noted.py").write_text(_NOTED)
    monkeypatch.syspath_prepend(tmp_path)
    running = await processes.spawn_processes("noted", (), 2)
    pids = [await each.pid() for each in running]
    lines = [(await each.stdout.readline()).decode() for each in running]
    for each in running:
        await each.stop(1.0)
    assert lines == [f"[{pids[0]}] {pid}\n" for pid in pids]


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_one_that_is_killed_is_replaced_and_the_others_go_on(
    three: VerifierPool, sigstore: PrivateSigstore, which: int
) -> None:
    before = await list_worker_pids(three)
    os.kill(before[which], signal.SIGSTOP)
    asked = asyncio.create_task(three.verify(make_jobs(sigstore, _MANY)))
    await asyncio.sleep(0.1)
    os.kill(before[which], signal.SIGKILL)
    assert_findings(await asked, _MANY)
    assert_findings(await three.verify(make_jobs(sigstore, _MANY)), _MANY)
    after = await list_worker_pids(three)
    assert [old == new for old, new in zip(before, after, strict=True)] == [number != which for number in range(3)]


async def test_one_that_hangs_is_killed_and_replaced(three: VerifierPool, sigstore: PrivateSigstore) -> None:
    before = await list_worker_pids(three)
    three._timeout = 3  # long enough for the worker that runs, also on a busy machine
    for pid in before[1:]:
        os.kill(pid, signal.SIGSTOP)
    with pytest.raises(VerificationUnavailableError, match="longer than its time limit"):
        await three.verify(make_jobs(sigstore, _MANY))
    three._timeout = 60
    assert_findings(await three.verify(make_jobs(sigstore, _MANY)), _MANY)
    assert all([await gone(pid) for pid in before[1:]])
    assert (await list_worker_pids(three))[0] == before[0]


@pytest.mark.parametrize("stopped", [False, True])
async def test_closing_ends_all_of_them_and_leaves_nothing_open(sigstore: PrivateSigstore, *, stopped: bool) -> None:
    descriptors = open_descriptors()
    async with run_verifier(sigstore, 3) as verifier:
        running = await list_worker_pids(verifier)
        assert_findings(await verifier.verify(make_jobs(sigstore, 64)), 64)
        if stopped:
            os.kill(running[1], signal.SIGSTOP)
    for pid in running:
        assert await gone(pid)
    assert open_descriptors() <= descriptors


async def test_closing_before_they_are_there_ends_them_too(sigstore: PrivateSigstore) -> None:
    descriptors = open_descriptors()
    async with run_verifier(sigstore, 3):
        pass
    assert open_descriptors() <= descriptors


@pytest.mark.parametrize("change", [_DIES, _NO_FORK], ids=["it dies before it divides", "it may not divide"])
async def test_who_has_no_siblings_is_given_others(sigstore: PrivateSigstore, tmp_path: Path, change: str) -> None:
    bootstrap = write_bootstrap(tmp_path, change, once=True)
    verifier = VerifierPool(trust_roots_for(sigstore), make_settings(3), bootstrap=bootstrap)
    await verifier.start()
    assert_findings(await verifier.verify(make_jobs(sigstore, _MANY)), _MANY)
    await verifier.close()
    assert (tmp_path / "changed").exists()


async def test_where_none_can_be_started_nothing_stays_open(
    sigstore: PrivateSigstore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    descriptors = open_descriptors()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(OSError, match="none"):
        await VerifierPool(trust_roots_for(sigstore), make_settings(3)).start()
    assert open_descriptors() <= descriptors


@pytest.mark.parametrize("missing", [True, False], ids=["not on this system", "forbidden"])
def test_descriptors_of_processes_may_be_missing_or_forbidden(
    monkeypatch: pytest.MonkeyPatch, *, missing: bool
) -> None:
    def forbidden(*_: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    assert fork_server.has_pidfd()
    monkeypatch.setattr(os, "pidfd_open", forbidden)
    if missing:
        monkeypatch.delattr(os, "pidfd_open")
    assert not fork_server.has_pidfd()


@pytest.mark.parametrize("missing", [True, False], ids=["not on this system", "forbidden"])
async def test_without_descriptors_of_processes_each_is_by_itself(
    sigstore: PrivateSigstore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, missing: bool
) -> None:
    bootstrap = write_bootstrap(tmp_path, _NO_PIDFD if missing else _PIDFD_FORBIDDEN)
    monkeypatch.setattr(fork_server, "has_pidfd", lambda: False)
    verifier = VerifierPool(trust_roots_for(sigstore), make_settings(2), bootstrap=bootstrap)
    await verifier.start()
    assert all(isinstance(worker.process, processes.SpawnedProcess) for worker in verifier._workers)
    assert_findings(await verifier.verify(make_jobs(sigstore, 44)), 44)
    await verifier.close()


@pytest.mark.skipif(not hasattr(fcntl, "F_GETPIPE_SZ"), reason="only Linux tells and changes the size of a pipe")
async def test_a_process_that_has_ended_leaves_no_pipe_to_enlarge() -> None:
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    processes._enlarge_pipe(process.stdin)
    pipe = process.stdin.get_extra_info("pipe")
    assert fcntl.fcntl(pipe.fileno(), fcntl.F_GETPIPE_SZ) == processes._PIPE_BUFFER_BYTES, "the twin"
    process.kill()
    await process.wait()
    process.stdin.close()
    with suppress(ConnectionError):
        await process.stdin.wait_closed()
    assert pipe.closed
    processes._enlarge_pipe(process.stdin)
