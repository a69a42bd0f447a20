"""Main module of the process that reads a feed.

The process reads one request (JSON) from standard input and writes one response (JSON) to standard output. Its memory
is limited, and the kernel ends it before the proxy if the machine has too little memory.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from assay.advisories.archive import ArchiveError
from assay.advisories.record import BrokenRecordError
from assay.advisory_feeds.reader import ReaderLimits, read_feed
from assay.errors import AssayError

MAX_MEMORY_BYTES: Final = 2 << 30
"""Maximum address space of the process."""


def handle_request(request: dict[str, Any]) -> dict[str, Any]:
    """Return the response to a request of `feed`: the fields of a `ReadResult`, or an ``error``."""
    previous = request["previous"]
    try:
        result = read_feed(
            Path(request["source"]),
            None if previous is None else Path(previous),
            Path(request["output"]),
            datetime.fromisoformat(request["now"]),
            ReaderLimits(**request.get("limits", {})),
        )
    except (AssayError, ArchiveError, BrokenRecordError) as error:
        return {"error": str(error)}
    except OSError as error:
        return {"error": f"{error.filename or 'the feed'}: {error.strerror or error}"}
    except (MemoryError, RecursionError):
        return {"error": "reading the feed needs too much memory"}
    return asdict(result)


def main() -> None:
    """Read one request from standard input and write its response to standard output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # standard output is only for the response
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    os.nice(10)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    json.dump(handle_request(json.load(sys.stdin)), answers)
    answers.close()
