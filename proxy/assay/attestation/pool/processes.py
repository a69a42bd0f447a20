"""Child processes of the proxy that run Python modules: starts them, stops them, and notices their end.

The libraries for verification and renewal (sigstore, TUF and their dependencies) need 20 MB of memory and half a second
to import. Only child processes import these libraries, never the process that answers requests.

To start several processes with one module, the proxy starts one process, which forks the others after the import
(`fork_server`). With two verification workers this saves 30 MB.
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
"""Size of a pipe's buffer in bytes. Linux allows an unprivileged user no larger one (`/proc/sys/fs/pipe-max-size`)."""
BOOTSTRAP_FILE: Final = Path(__file__).with_name("bootstrap.py")
"""Default script that a child process runs first."""


class ChildProcess(Protocol):
    """Child process with pipes to its standard input and output."""

    @property
    def stdin(self) -> asyncio.StreamWriter:
        """Writer to the standard input of the process."""

    @property
    def stdout(self) -> asyncio.StreamReader:
        """Reader of the standard output of the process."""

    @property
    def has_exited(self) -> bool:
        """True if this object has noticed that the process ended."""

    async def pid(self) -> int:
        """Return the process id.

        Raises:
            EOFError: the process ended before it reported its id.
        """

    async def stop(self, grace_seconds: float) -> None:
        """Wait up to `grace_seconds` seconds for the end of the process; kill the process if it still runs."""


class SpawnedProcess:
    """Child process that the proxy started as a new Python interpreter."""

    def __init__(self, process: Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("expected a process with pipes to its standard input and output")
        self._process = process
        self.stdin = process.stdin
        self.stdout = process.stdout

    @property
    def has_exited(self) -> bool:
        """True if this object has noticed that the process ended."""
        return self._process.returncode is not None

    async def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    async def stop(self, grace_seconds: float) -> None:
        """Wait up to `grace_seconds` seconds for the end of the process; kill the process if it still runs."""
        # Only asyncio's child watcher may reap a process that is already dead: Popen.kill would race with it.
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._process.wait()
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


class ForkedProcess:
    """Process that a child process of the proxy forked (`fork_server`).

    The proxy is not the parent of this process, so the proxy cannot wait for it by `waitpid`. The process has ended if
    its standard output is at the end of file, or if its pidfd is readable.
    """

    def __init__(
        self, stdin: asyncio.StreamWriter, stdout: asyncio.StreamReader, read_transport: asyncio.ReadTransport
    ) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self._read_transport = read_transport
        self._pidfd: int | None = None
        """Process descriptor for signals; None until the process has sent its pid. A signal to the pid is not safe,
        because another process may have the same pid after this one has ended."""
        self._pid_task = asyncio.create_task(self._read_pid(), name="sibling")

    @classmethod
    async def from_pipes(cls, write_descriptor: int, read_descriptor: int) -> ForkedProcess:
        """Return an object for a forked process that is connected to the proxy by two pipes.

        The new object owns both file descriptors and closes them.

        Args:
            write_descriptor: write end of the pipe to the process's standard input.
            read_descriptor: read end of the pipe from the process's standard output.
        """
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
        except (EOFError, OSError):  # the process ended at once
            return 0
        return pid

    @property
    def has_exited(self) -> bool:
        """True if this object has noticed that the process ended."""
        return self.stdout.at_eof()

    async def pid(self) -> int:
        """Wait for the process id and return it.

        Raises:
            EOFError: the process ended before it sent its id.
        """
        if not (pid := await asyncio.shield(self._pid_task)):
            raise EOFError("the child process ended before it sent its process id")
        return pid

    async def stop(self, grace_seconds: float) -> None:
        """Wait up to `grace_seconds` seconds for the end of the process; kill the process if it still runs."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds):
                    await self._wait_for_exit()
            if self._pidfd is not None:
                with suppress(ProcessLookupError):  # the process has ended
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
    """Start a child process that runs the function `main` of a module, with pipes to its standard input and output.

    The child process exits soon after the process that started it.

    Args:
        module: name of the module.
        blocked_modules: modules whose import fails in the child process, to save memory. Libraries must work without
            them.
        sibling_pipes: pipes for the siblings that the child process forks. For each sibling: the file descriptors of
            its standard input and standard output.
        bootstrap: script that the interpreter runs.

    Raises:
        OSError: the process could not be started.
    """
    # -P keeps the working directory out of the import path; the child gets the import path of this process instead.
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
    """Start `count` child processes that run the function `main` of a module; `spawn_process` describes the arguments.

    The processes share the memory of the imported code, if the system supports pidfds.

    Raises:
        OSError: a process could not be started.
    """
    if count < 2 or not fork_server.has_pidfd():  # noqa: PLR2004 - a single process has no siblings
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
    """Enlarge the buffer of a pipe, so that one write can take a whole batch instead of 64 KiB."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        # OSError: the user's limit for all pipes is exceeded. ValueError: the process has already ended.
        with suppress(OSError, ValueError):
            fcntl.fcntl(writer.get_extra_info("pipe").fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BUFFER_BYTES)
