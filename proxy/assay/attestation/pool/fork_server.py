"""Start of a child process: watches its owner, imports a module, and forks siblings.

The owner is the proxy process. Siblings are copies of the child process that run the same module. They are forked after
the import, so they share the memory of the imported code. A verification worker imports 33 MB. Most of this memory
stays shared: a sibling copies a memory page only when it changes a reference count of an object there. No thread may
run before the fork.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import threading
import time
from collections.abc import Sequence

_PARENT_POLL_SECONDS = 0.5
PID_BYTES = 4
"""Length in bytes of the process id (big-endian), which each sibling sends first."""


def run_module(owner_pid: int, module: str, sibling_pipes: Sequence[tuple[int, int]] = ()) -> None:
    """Run the function `main` of a module, in this process and in one forked sibling for each pair of pipes.

    If the module has a function `prepare`, it runs once, before the fork.

    Args:
        owner_pid: process id of the owner. When the owner ends, this process and its siblings exit.
        module: name of the module.
        sibling_pipes: for each sibling, the file descriptors that become its standard input and standard output.
    """
    # A terminal sends SIGINT to the whole process group, but only the owner decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watched = _open_owner_pidfd(owner_pid)
    loaded = importlib.import_module(module)
    if hasattr(loaded, "prepare"):
        loaded.prepare()
    gc.collect()
    # Imported objects live until the process ends. Frozen, they are not scanned by each garbage collection (8 % of the
    # work), and a collection does not write to memory that is shared with siblings, which would copy it.
    gc.freeze()
    _fork_siblings(sibling_pipes)
    threading.Thread(target=_exit_with_owner, args=(owner_pid, watched), daemon=True, name="watch").start()
    loaded.main()


def has_pidfd() -> bool:
    """Return True if the system supports process descriptors (pidfd). Linux does, unless a sandbox forbids them."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def _fork_siblings(sibling_pipes: Sequence[tuple[int, int]]) -> None:
    if sibling_pipes:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps siblings; this process never waits for them
    for number, (orders, answers) in enumerate(sibling_pipes):
        try:
            is_sibling = os.fork() == 0
        except OSError:
            is_sibling = False  # the owner sees its pipes end, and starts another process
        if is_sibling:
            os.dup2(orders, 0)
            os.dup2(answers, 1)
        # A process that kept pipe ends of a sibling open would hide the death of the sibling from the owner.
        close_pipes(sibling_pipes[number:] if is_sibling else [sibling_pipes[number]])
        if is_sibling:
            os.write(1, os.getpid().to_bytes(PID_BYTES, "big"))
            return


def close_pipes(pipes: Sequence[tuple[int, int]]) -> None:
    """Close both file descriptors of each pair."""
    for descriptor in (each for pair in pipes for each in pair):
        os.close(descriptor)


def _open_owner_pidfd(owner_pid: int) -> int | None:
    """Return a pidfd of the owner; None if the system has no pidfds.

    If the owner has already ended, exit this process.
    """
    if not has_pidfd():
        return None
    try:
        watched = os.pidfd_open(owner_pid)
    except ProcessLookupError:
        os._exit(1)
    if os.getppid() != owner_pid:  # the owner has ended, and its pid may be reused
        os._exit(1)
    return watched


def _exit_with_owner(owner_pid: int, pidfd: int | None) -> None:
    """Wait until the owner ends, then exit this process, even during a verification.

    With a pidfd, this process exits at once. Without one, it checks every 0.5 seconds if its parent is still the owner.
    """
    if pidfd is not None:
        select.select([pidfd], [], [])
    while pidfd is None and os.getppid() == owner_pid:  # an orphan gets another parent
        time.sleep(_PARENT_POLL_SECONDS)
    os._exit(1)
