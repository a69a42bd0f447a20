"""Processes of storage engines on loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def get_free_port(*addresses: str) -> int:
    """Return a port that was free a moment ago, for servers that cannot report a port that they choose.

    Args:
        addresses: loopback addresses at each of which the port must be free; none for 127.0.0.1.
    """
    first, *others = addresses or ("127.0.0.1",)
    while True:
        with contextlib.ExitStack() as stack, suppress(OSError):
            taken = stack.enter_context(socket.socket())
            taken.bind((first, 0))
            port = int(taken.getsockname()[1])
            for address in others:
                stack.enter_context(socket.socket()).bind((address, port))
            return port


def accepts_connections(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


def _list_children(parent: int) -> list[int]:
    """Return the process ids of the children of a process."""
    return [int(pid) for task in Path(f"/proc/{parent}/task").glob("*/children") for pid in task.read_text().split()]


def _is_stopped(process: int) -> bool:
    """Return whether all threads of a process are stopped, or the process has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{process}/task").iterdir():
            if (task / "stat").read_text().rpartition(")")[2].split()[0] not in {"T", "t", "Z", "X"}:
                return False
    return True


class EngineProcess:
    """Process of an engine and its children.

    Args:
        command: program and arguments. It must stay in the foreground.
        log: file for its output.
        user: name of the user to run as; None for the current one.
    """

    def __init__(self, command: list[str], log: Path, *, user: str | None = None) -> None:
        self._command, self._log, self._user = command, log, user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the engine is not running"
        return self._process.pid

    def start(self, is_ready: Callable[[], bool], *, seconds: float = 60) -> None:
        """Start the process and wait until it is ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                cwd=self._log.parent,
            )
        deadline = time.monotonic() + seconds
        while not is_ready():
            ended = self._process.poll()
            if ended is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{self._command[0]} did not start ({ended}): {self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its children, which may be in other sessions."""
        for pid in [self.pid, *_list_children(self.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def pause(self) -> None:
        """Stop all processes, so that connections stay open and nothing answers."""
        self.signal(signal.SIGSTOP)
        for pid in [self.pid, *_list_children(self.pid)]:
            while not _is_stopped(pid):  # a signal acts a moment after kill(2) has returned
                time.sleep(0.001)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process and its children with SIGKILL, and wait. Idempotent."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
