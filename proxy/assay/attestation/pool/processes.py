"""Python processes of our own beside the proxy's: how they are started, told to end, and found to have ended.

What verification and renewal need (sigstore, TUF and all they import) takes 20 MB and half a second. It is loaded in
processes that need it and never in the one that answers requests. Several that need the same are started as one, which
divides itself when all is loaded (`boot`): two verification workers take 30 MB less so.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from assay.attestation.pool import fork_server

_PIPE_BUFFER_BYTES: Final = 2**20
"""Bytes: what Linux lets anybody have (`/proc/sys/fs/pipe-max-size`)."""
BOOTSTRAP_FILE: Final = Path(__file__).with_name("bootstrap.py")
"""Script that a child process runs first."""


class ChildProcess(Protocol):
    """A process and the pipes to it."""

    @property
    def stdin(self) -> asyncio.StreamWriter:
        """To it."""

    @property
    def stdout(self) -> asyncio.StreamReader:
        """From it."""

    @property
    def has_exited(self) -> bool:
        """Whether it is known to have ended."""

    async def pid(self) -> int:
        """Its process id; raises EOFError where it ended before it had one."""

    async def stop(self, grace_seconds: float) -> None:
        """Wait `grace_seconds` seconds for it to end, then kill it."""


class SpawnedProcess:
    """A process that was started for itself."""

    def __init__(self, process: Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a process without pipes")
        self._process = process
        self.stdin = process.stdin
        self.stdout = process.stdout

    @property
    def has_exited(self) -> bool:
        """Whether it is known to have ended."""
        return self._process.returncode is not None

    async def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def stop(self, grace_seconds: float) -> None:
        """Wait `grace_seconds` seconds for it to end, then kill it."""
        # A process that is already dead must be reaped by the loop's watcher alone: Popen.kill would race with it.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), grace_seconds)
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


class ForkedProcess:
    """A process that another of ours divided into: nobody's child here, so that its pipes say when it has ended."""

    def __init__(
        self, stdin: asyncio.StreamWriter, stdout: asyncio.StreamReader, read_transport: asyncio.ReadTransport
    ) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self._read_transport = read_transport
        self._pidfd: int | None = None
        """Of the process: a number alone could be another's by the time it is used."""
        self._pid_task = asyncio.create_task(self._read_pid(), name="sibling")

    @classmethod
    async def from_pipes(cls, write_descriptor: int, read_descriptor: int) -> ForkedProcess:
        """The process at the other ends of two pipes, whose ends here are its own from now on."""
        loop, stdout = asyncio.get_running_loop(), asyncio.StreamReader()
        receiving, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(read_descriptor, "rb", buffering=0)
        )
        sending, protocol = await loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(write_descriptor, "wb", buffering=0)
        )
        stdin = asyncio.StreamWriter(sending, protocol, None, loop)
        _enlarge_pipe(stdin)
        return cls(stdin, stdout, receiving)

    async def _read_pid(self) -> int:
        try:
            pid = int.from_bytes(await self.stdout.readexactly(fork_server.PID_BYTES), "big")
            self._pidfd = os.pidfd_open(pid)
        except (EOFError, OSError):  # it ended at once
            return 0
        return pid

    @property
    def has_exited(self) -> bool:
        """Whether it is known to have ended."""
        return self.stdout.at_eof()

    async def pid(self) -> int:
        """Its process id, once it is there; raises EOFError where it ended before."""
        if not (pid := await asyncio.shield(self._pid_task)):
            raise EOFError("it ended before it began")
        return pid

    async def stop(self, grace_seconds: float) -> None:
        """Wait `grace_seconds` seconds for it to end, then kill it."""
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wait_for_exit(), grace_seconds)
            if self._pidfd is not None:
                with suppress(ProcessLookupError):  # it has ended
                    signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                await self._wait_for_exit()
        finally:
            self._pid_task.cancel()
            if self._pidfd is not None:
                os.close(self._pidfd)
                self._pidfd = None
            self.stdin.close()
            self._read_transport.close()

    async def _wait_for_exit(self) -> None:
        with suppress(EOFError):
            await self.pid()
        if self._pidfd is None:
            return
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._pidfd)


async def spawn_process(
    module: str,
    blocked_modules: Sequence[str] = (),
    sibling_pipes: Sequence[tuple[int, int]] = (),
    *,
    bootstrap: Path = BOOTSTRAP_FILE,
) -> Process:
    """A process that runs `main` of a module, with pipes; it ends soon after this one does.

    Args:
        module: its name.
        blocked_modules: modules that libraries import where they can, and do without where they cannot.
        sibling_pipes: descriptors of pipes, to and from each sibling that it is to divide into.
        bootstrap: script that the interpreter runs.

    Raises:
        OSError: none can be started.
    """
    # -P: the working directory is no place to import from; the same path as ours is.
    path = [entry for entry in sys.path if entry]
    told = " ".join(f"{read}:{write}" for read, write in sibling_pipes)
    command = [sys.executable, "-P", str(bootstrap), str(os.getpid()), module, ",".join(blocked_modules), told, *path]
    kept = [descriptor for pair in sibling_pipes for descriptor in pair]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, pass_fds=kept)
    if process.stdin is not None:
        _enlarge_pipe(process.stdin)
    return process


async def spawn_processes(
    module: str, blocked_modules: Sequence[str], count: int, *, bootstrap: Path = BOOTSTRAP_FILE
) -> list[ChildProcess]:
    """So many processes, as `spawn_process` starts one.

    Raises:
        OSError: none can be started.
    """
    if count < 2 or not fork_server.has_pidfd():  # noqa: PLR2004 - one has no siblings
        return [SpawnedProcess(await spawn_process(module, blocked_modules, bootstrap=bootstrap)) for _ in range(count)]
    ours: list[tuple[int, int]] = []
    theirs: list[tuple[int, int]] = []
    try:
        for _ in range(count - 1):
            (read, to), (back, write) = os.pipe(), os.pipe()
            ours.append((to, back))
            theirs.append((read, write))
        first = SpawnedProcess(await spawn_process(module, blocked_modules, theirs, bootstrap=bootstrap))
    except BaseException:
        fork_server.close_pipes(ours)
        raise
    finally:
        fork_server.close_pipes(theirs)
    return [first, *[await ForkedProcess.from_pipes(to, back) for to, back in ours]]


def _enlarge_pipe(writer: asyncio.StreamWriter) -> None:
    """Let what is written be there at once, and not as this process finds the time for each 64 KiB more."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        # OSError: more than this user may have, in all pipes together. ValueError: the process has ended already.
        with suppress(OSError, ValueError):
            fcntl.fcntl(writer.get_extra_info("pipe").fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BUFFER_BYTES)
