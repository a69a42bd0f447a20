"""Options of `assay serve`: address, port and policy override the configuration, and the greeting on a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

import pytest

from assay.cli import run
from assay.cli.commands.serve import format_greeting
from assay.config import ServerSettings

TIMEOUT_SECONDS = 30
CONFIG = """
policy = "missing.toml"
[server]
host = "192.0.2.1"
port = 1
[storage]
directory = "store"
[trust]
refresh = false
[verification]
workers = 0
"""


async def serve(directory: Path, *arguments: str) -> tuple[str, str]:
    """Run the command until it listens, and return its standard output and error."""
    (directory / "proxy.toml").write_text(CONFIG)
    (directory / "policy.toml").write_text('version = 1\n[[rules]]\nname = "mine"\nprojects = ["*"]\n')
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "assay", "serve", "--config", str(directory / "proxy.toml"), "--host", "127.0.0.1", "--port", "0"),
        *("--policy", "policy.toml", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory)},
    )
    assert process.stderr is not None
    log = b""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while b"listening" not in log:
                line = await process.stderr.readline()
                assert line, log
                log += line
        process.terminate()
    finally:
        if b"listening" not in log:
            process.kill()
    output, rest = await process.communicate()
    assert process.returncode == 0
    return output.decode(), (log + rest).decode()


async def test_options_override_the_file_and_people_are_told_what_to_open(tmp_path: Path) -> None:
    output, log = await serve(tmp_path, "--log", "text")
    (listening,) = (line for line in log.splitlines() if "listening" in line)
    url = listening.partition("index=")[2].split()[0].strip('"')
    assert url.startswith("http://127.0.0.1:")
    assert "policy.toml" in listening
    assert output.splitlines() == [
        "",
        "Assay runs until you press Ctrl-C.",
        f"  Open in a browser:         {url.removesuffix('simple/')}",
        f"  Index URL for pip and uv:  {url}",
        "",
    ]


async def test_a_service_with_json_log_has_no_greeting(tmp_path: Path) -> None:
    output, log = await serve(tmp_path)
    assert output == ""
    assert all(json.loads(line) for line in log.splitlines())


@pytest.mark.parametrize(
    ("origin", "public", "url"),
    [
        ("http://0.0.0.0:8080", None, "http://127.0.0.1:8080/"),
        ("https://[::]:8080", None, "https://[::1]:8080/"),
        ("http://0.0.0.0:8080", "https://pypi.acme.example/", "https://pypi.acme.example/"),
    ],
)
def test_the_greeting_has_a_url_that_works_on_this_machine(origin: str, public: str | None, url: str) -> None:
    greeting = format_greeting(origin, ServerSettings.model_validate({"public-url": public}))
    assert [line.split()[-1] for line in greeting.splitlines() if "://" in line] == [url, f"{url}simple/"]


@pytest.mark.parametrize("port", ["-1", "65536", "x", "\u0661", "9" * 5000])
def test_another_port_is_an_error_of_usage(capsys: pytest.CaptureFixture[str], port: str) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["serve", f"--port={port}"])
    assert ended.value.code == 2
    assert "argument --port: expected a port from 0 to 65535" in capsys.readouterr().err


def test_an_invalid_option_is_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "proxy.toml").write_text("")
    config = str(tmp_path / "proxy.toml")
    assert run(["serve", "--config", config, "--policy", str(tmp_path / "none.toml")]) == 2
    assert run(["serve", "--config", config, "--host", ""]) == 2
    said = capsys.readouterr().err
    assert "none.toml: cannot be read" in said
    assert "proxy.toml and the options of the command line: server.host" in said


def test_a_port_in_use_is_an_error_that_names_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "proxy.toml").write_text(CONFIG.replace('policy = "missing.toml"', ""))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        config = ["--config", str(tmp_path / "proxy.toml")]
        assert run(["serve", "--host", "127.0.0.1", "--port", port, *config]) == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; another port: --port" in capsys.readouterr().err
