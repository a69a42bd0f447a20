"""Command of ``make demo`` (``python -m demo``): run the demo, and remove all its files at the end.

On a terminal, the command opens a shell in which pip and uv use the demo, and the end of this shell ends the demo. The
settings of the demo are gone with the shell. Elsewhere, the command runs until Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
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
_LOG = "demo.log"
"""File in the demo's directory with refusals, forgeries and policy reloads, while a shell has the terminal."""
_PIP_MAJOR = 26
"""Major version of the pip in ``demo/pip.lock``, whose words the stories promise."""


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


def welcome(demo: Demo, *, has_shell: bool) -> str:
    """Return the introduction to print: addresses to open, commands to run, and the expected results.

    Args:
        demo: the running demo.
        has_shell: True if a shell with the settings of the demo begins below the introduction.
    """
    further = dict.fromkeys(story.project for story in STORIES if story.project != "acme-widgets")
    wide, wider = (max(map(len, column)) for column in zip(*((s.wanted, s.seen) for s in STORIES), strict=True))
    setup = (
        ["In this shell, pip and uv use the demo."]
        if has_shell
        else ["In another terminal, set up the shell:", f"  . {demo.directory}/shell"]
    )
    end = (
        f"`exit` ends the demo and removes its files. The log is {demo.directory}/{_LOG}."
        if has_shell
        else "Ctrl-C stops the demo and removes its files. Refusals, forgeries and policy reloads are logged below."
    )
    lines = [
        f"Assay runs at {demo.origin}/ and keeps all files of this demo in {demo.directory}",
        "",
        "Open in a browser:",
        f"  {demo.origin}/                        settings, the policy in force and the last refusals",
        f"  {demo.origin}/project/acme-widgets    a project with a stolen token, a changed publisher and two forgeries",
        f"  {demo.origin}/overview                the provenance of all used projects, and refusals by rule and day",
        f"  {demo.origin}/policy                  the policy as text",
        f"  Other projects: {', '.join(further)}, sigstore",
        f"Edit {demo.directory}/policy.toml and reload the page; the file suggests some changes.",
        "",
        *setup,
        f"Run these commands, or the same with `uv pip install`. After the arrow: words that pip {_PIP_MAJOR} prints.",
        *(f"  pip install {s.wanted:{wide}}   → {s.seen:{wider}}   {s.told}" for s in STORIES),
        "",
        end,
        "",
    ]
    return "\n".join(lines)


def worth_a_line(record: logging.LogRecord) -> bool:
    """Return whether a log record is printed: warnings, errors and policy reloads, to keep the text visible."""
    return record.levelno > logging.INFO or record.getMessage() == "policy-reloaded"


async def _run(directory: Path, port: int, *, has_shell: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the terminal was closed
        loop.add_signal_handler(number, stop.set)
    # The shell gets Ctrl-C for the commands that run in it.
    loop.add_signal_handler(signal.SIGINT, (lambda: None) if has_shell else stop.set)
    async with demonstrated(directory, port=port) as demo:
        print(welcome(demo, has_shell=has_shell), flush=True)
        if has_shell:
            await _run_shell(demo.directory, stop)
        else:
            await stop.wait()
    if has_shell:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print("The demo has ended, and its files are removed.", flush=True)


async def _run_shell(directory: Path, stop: asyncio.Event) -> None:
    """Run an interactive shell until it ends or the demo is stopped. It reads only the settings of the demo."""
    bash = shutil.which("bash")
    prompt = r"(assay demo) \w \$ " if bash else "(assay demo) $ "
    start = directory / "start"
    await asyncio.to_thread(start.write_text, f". {directory}/shell\nPS1='{prompt}'\n", "utf-8")
    command = ["sh", "-i"] if bash is None else [bash, "--noprofile", "--rcfile", str(start), "-i"]
    process = await asyncio.create_subprocess_exec(*command, env=os.environ | {"ENV": str(start)})
    ended, stopped = asyncio.ensure_future(process.wait()), asyncio.ensure_future(stop.wait())
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not ended.done():
        process.send_signal(signal.SIGHUP)
        await ended


def main() -> int:
    """Run the demo until its shell ends or it is interrupted, and return 0."""
    # Both indexes are on loopback, so no HTTP proxy of the environment may be used.
    os.environ |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    logging.getLogger("assay").addFilter(worth_a_line)
    try:
        _in_directory(free_port())
    except ConfigurationError:
        _in_directory(0)  # Another process took the port after the check.
    return 0


def _in_directory(port: int) -> None:
    has_shell = sys.stdin.isatty() and sys.stdout.isatty()
    with tempfile.TemporaryDirectory(prefix="assay-demo-") as directory, contextlib.ExitStack() as opened:
        log = opened.enter_context((Path(directory) / _LOG).open("w", encoding="utf-8")) if has_shell else sys.stderr
        telemetry.configure_logging(log, as_json=False)
        asyncio.run(_run(Path(directory), port, has_shell=has_shell))


if __name__ == "__main__":
    sys.exit(main())
