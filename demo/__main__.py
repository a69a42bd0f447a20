"""``python -m demo``, which is ``make demo``: start it, say what there is to see, end it at Ctrl-C without a trace."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

from assay import telemetry
from assay.errors import ConfigurationError
from demo.running import Demo, demonstrated
from demo.stories import STORIES

_PORTS = range(8080, 8100)


def free_port() -> int:
    """The first of the well-known ones that nobody listens on; 0, any, where all are taken."""
    for port in _PORTS:
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the proxy: what just ended is free
            with contextlib.suppress(OSError):
                tried.bind(("127.0.0.1", port))
                return port
    return 0


def welcome(demo: Demo) -> str:
    """What to click, what to paste, and what will be seen."""
    further = dict.fromkeys(story.project for story in STORIES if story.project != "acme-widgets")
    wide, wider = (max(map(len, column)) for column in zip(*((s.wanted, s.seen) for s in STORIES), strict=True))
    lines = [
        f"Assay is at {demo.origin}/ and everything of this demo is under {demo.directory}",
        "",
        "In a browser:",
        f"  {demo.origin}/                        what this is, and the last refusals",
        f"  {demo.origin}/project/acme-widgets    a stolen token, another publisher, two forgeries, in one picture",
        f"  {demo.origin}/policy                  the policy in words",
        f"  Further projects: {', '.join(further)}, sigstore",
        f"Edit {demo.directory}/policy.toml, which says what to try, and reload.",
        "",
        "In another terminal, first:",
        f"  . {demo.directory}/shell",
        "then any of these, or the same with `uv pip install` (in the middle, words that pip 26 prints):",
        *(f"  pip install {s.wanted:{wide}}   → {s.seen:{wider}}   {s.told}" for s in STORIES),
        "",
        "Ctrl-C ends it and removes everything. What the proxy refuses, finds forged, or reads anew shows below.",
        "",
    ]
    return "\n".join(lines)


def worth_a_line(record: logging.LogRecord) -> bool:
    """Whether it may scroll what stands above: warnings, and that the policy is another."""
    return record.levelno > logging.INFO or record.getMessage() == "policy-reloaded"


async def _run(directory: Path, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with demonstrated(directory, port=port) as demo:
        print(welcome(demo), flush=True)
        await stop.wait()


def main() -> int:
    """Run it until it is interrupted."""
    # Both indexes are on loopback, whatever proxy the machine's environment names.
    os.environ |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    telemetry.configure_logging(sys.stderr, as_json=False)
    logging.getLogger("assay").addFilter(worth_a_line)
    try:
        _in_directory(free_port())
    except ConfigurationError:
        _in_directory(0)  # somebody took the port since it was seen to be free
    return 0


def _in_directory(port: int) -> None:
    with tempfile.TemporaryDirectory(prefix="assay-demo-") as directory:
        asyncio.run(_run(Path(directory), port))


if __name__ == "__main__":
    sys.exit(main())
