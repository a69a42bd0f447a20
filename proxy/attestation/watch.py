"""What a worker process does before anything else, its imports included: heed its owner, not the terminal.

Light on purpose: importing sigstore takes a second, and an owner may be killed in that second.
"""

from __future__ import annotations

import os
import signal
import threading
import time

_SECONDS = 0.5


def begin(owner: int) -> None:
    """Ignore SIGINT, which the terminal sends to the whole group, and end within a second of the process `owner`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(owner,), daemon=True, name="watch").start()


def _watch(owner: int) -> None:
    """An orphan is given to another parent; it ends even in the middle of a batch."""
    while os.getppid() == owner:
        time.sleep(_SECONDS)
    os._exit(1)
