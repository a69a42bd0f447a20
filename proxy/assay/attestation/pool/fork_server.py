"""What a process beside the proxy's does before its own work: heed its owner, load what it needs, divide into siblings.

Siblings share what was loaded before they were divided: 33 MB of memory of a verification worker, of which each writes
to a few by itself (a counter of references is in every object). Nothing may start a thread before.
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
"""The first bytes that a sibling sends: its process id, big-endian."""


def run_module(owner_pid: int, module: str, sibling_pipes: Sequence[tuple[int, int]] = ()) -> None:
    """`main` of a module, here and in a sibling for each of `sibling_pipes`.

    Args:
        owner_pid: the process that all of them end with.
        module: its name.
        sibling_pipes: descriptors of pipes, each sibling's standard input and output.
    """
    # The terminal sends SIGINT to the whole group; the owner says when this ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watched = _open_owner_pidfd(owner_pid)
    main = importlib.import_module(module).main
    gc.collect()
    # What was imported stays: nobody needs to look through it for garbage, over and over (8 % of the work), nor is it
    # to be copied for a sibling because somebody did.
    gc.freeze()
    _fork_siblings(sibling_pipes)
    threading.Thread(target=_exit_with_owner, args=(owner_pid, watched), daemon=True, name="watch").start()
    main()


def has_pidfd() -> bool:
    """Whether there are descriptors of processes: Linux has them, and a sandbox may forbid them."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def _fork_siblings(sibling_pipes: Sequence[tuple[int, int]]) -> None:
    if sibling_pipes:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody here waits for a sibling's end
    for number, (orders, answers) in enumerate(sibling_pipes):
        try:
            is_sibling = os.fork() == 0
        except OSError:
            is_sibling = False  # the owner sees its pipes end, and starts another process
        if is_sibling:
            os.dup2(orders, 0)
            os.dup2(answers, 1)
        # Whoever kept another's ends open would hide the other's death from the owner.
        close_pipes(sibling_pipes[number:] if is_sibling else [sibling_pipes[number]])
        if is_sibling:
            os.write(1, os.getpid().to_bytes(PID_BYTES, "big"))
            return


def close_pipes(pipes: Sequence[tuple[int, int]]) -> None:
    """Close both descriptors of each."""
    for descriptor in (each for pair in pipes for each in pair):
        os.close(descriptor)


def _open_owner_pidfd(owner_pid: int) -> int | None:
    """What tells when `owner_pid` ends; None where the system has nothing of the kind."""
    if not has_pidfd():
        return None
    try:
        watched = os.pidfd_open(owner_pid)
    except ProcessLookupError:
        os._exit(1)
    if os.getppid() != owner_pid:  # it has ended, and another may have its number
        os._exit(1)
    return watched


def _exit_with_owner(owner_pid: int, pidfd: int | None) -> None:
    """End with the owner, also in the middle of a batch: at once where Linux tells, else within a second."""
    if pidfd is not None:
        select.select([pidfd], [], [])
    while pidfd is None and os.getppid() == owner_pid:  # an orphan is given to another parent
        time.sleep(_PARENT_POLL_SECONDS)
    os._exit(1)
