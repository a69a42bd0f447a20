"""Python processes of our own beside the proxy's: how one is started, and what it does before anything else.

What verification and renewal need (sigstore, TUF and all they import) takes 20 MB and half a second. It is loaded in
processes that need it and never in the one that answers requests.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from typing import Final

_BOOT: Final = """
import sys
sys.path[:] = sys.argv[3:]
from proxy.attestation.watch import begin
begin(int(sys.argv[1]))
import importlib
importlib.import_module(sys.argv[2]).main()
"""


async def started(module: str) -> Process:
    """A process that runs `main` of a module, with pipes; it ends soon after this one does.

    Raises:
        OSError: none can be started.
    """
    # -P: the working directory is no place to import from; the same path as ours is.
    path = [entry for entry in sys.path if entry]
    command = [sys.executable, "-P", "-c", _BOOT, str(os.getpid()), module, *path]
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
