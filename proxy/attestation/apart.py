"""Python processes of our own beside the proxy's: how one is started, and what it does before anything else.

What verification and renewal need (sigstore, TUF and all they import) takes 20 MB and half a second. It is loaded in
processes that need it and never in the one that answers requests.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

_PIPE: Final = 2**20
"""Bytes: what Linux lets anybody have (`/proc/sys/fs/pipe-max-size`)."""
_BOOT: Final = """
import sys
owner, module, without, *sys.path[:] = sys.argv[1:]
if without:
    import warnings
    sys.modules.update(dict.fromkeys(without.split(",")))
    warnings.filterwarnings("ignore", "Unable to find acceptable character detection")
from proxy.attestation.watch import begin
begin(int(owner))
import importlib
importlib.import_module(module).main()
"""


async def started(module: str, without: Sequence[str] = ()) -> Process:
    """A process that runs `main` of a module, with pipes; it ends soon after this one does.

    Args:
        module: its name.
        without: modules that libraries import where they can, and do without where they cannot.

    Raises:
        OSError: none can be started.
    """
    # -P: the working directory is no place to import from; the same path as ours is.
    path = [entry for entry in sys.path if entry]
    command = [sys.executable, "-P", "-c", _BOOT, str(os.getpid()), module, ",".join(without), *path]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    if process.stdin is not None:
        _widen(process.stdin)
    return process


def _widen(to: asyncio.StreamWriter) -> None:
    """Let what is written be there at once, and not as this process finds the time for each 64 KiB more."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        with suppress(OSError):  # more than this user may have, in all pipes together
            fcntl.fcntl(to.get_extra_info("pipe").fileno(), fcntl.F_SETPIPE_SZ, _PIPE)
