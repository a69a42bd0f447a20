"""Command of ``make demo`` (``python -m demo``): run the demo until Ctrl-C, and remove all its files at the end."""

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
    """Return the first free port of `_PORTS`; 0, which means any port, if all are in use."""
    for port in _PORTS:
        with socket.socket() as probe:
            # The proxy sets this option too: a port is free although connections of a former server are in TIME_WAIT.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    return 0


def welcome(demo: Demo) -> str:
    """Return the introduction to print: addresses to open, commands to paste, and the expected results."""
    further = dict.fromkeys(story.project for story in STORIES if story.project != "acme-widgets")
    wide, wider = (max(map(len, column)) for column in zip(*((s.wanted, s.seen) for s in STORIES), strict=True))
    lines = [
        f"Assay runs at {demo.origin}/ and keeps all files of this demo in {demo.directory}",
        "",
        "Open in a browser:",
        f"  {demo.origin}/                        overview and recent refusals",
        f"  {demo.origin}/project/acme-widgets    a project with a stolen token, a changed publisher and two forgeries",
        f"  {demo.origin}/policy                  the policy as text",
        f"  Other projects: {', '.join(further)}, sigstore",
        f"Edit {demo.directory}/policy.toml and reload the page; the file suggests some changes.",
        "",
        "In another terminal, set up the shell:",
        f"  . {demo.directory}/shell",
        "Then run any of these commands, or the same with `uv pip install`. After the arrow: words that pip 26 prints.",
        *(f"  pip install {s.wanted:{wide}}   → {s.seen:{wider}}   {s.told}" for s in STORIES),
        "",
        "Ctrl-C stops the demo and removes its files. Refusals, forgeries and policy reloads are logged below.",
        "",
    ]
    return "\n".join(lines)


def worth_a_line(record: logging.LogRecord) -> bool:
    """Return whether a log record is printed: warnings, errors and policy reloads, to keep the text visible."""
    return record.levelno > logging.INFO or record.getMessage() == "policy-reloaded"


async def _run(directory: Path, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with demonstrated(directory, port=port) as demo:
        print(welcome(demo), flush=True)
        await stop.wait()


def main() -> int:
    """Run the demo until it is interrupted, and return 0."""
    # Both indexes are on loopback, so no HTTP proxy of the environment may be used.
    os.environ |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    telemetry.configure_logging(sys.stderr, as_json=False)
    logging.getLogger("assay").addFilter(worth_a_line)
    try:
        _in_directory(free_port())
    except ConfigurationError:
        _in_directory(0)  # Another process took the port after the check.
    return 0


def _in_directory(port: int) -> None:
    with tempfile.TemporaryDirectory(prefix="assay-demo-") as directory:
        asyncio.run(_run(Path(directory), port))


if __name__ == "__main__":
    sys.exit(main())
