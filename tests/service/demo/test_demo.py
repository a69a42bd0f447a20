"""Demo: every promised verdict, reloads of the edited policy, and no files left at the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from assay.errors import ConfigurationError
from demo.__main__ import free_port, main, welcome, worth_a_line
from demo.running import Demo, demonstrated
from demo.stories import STORIES, Story
from tests.paths import ROOT
from tests.world.proxy.running_proxy import SIMPLE_JSON

SECONDS = 60


@asynccontextmanager
async def shown(tmp_path: Path) -> AsyncIterator[tuple[Demo, aiohttp.ClientSession]]:
    async with demonstrated(tmp_path) as demo, aiohttp.ClientSession(headers={"Accept": SIMPLE_JSON}) as session:
        yield demo, session


async def page_of(session: aiohttp.ClientSession, demo: Demo, project: str) -> Any:
    async with session.get(f"{demo.origin}/simple/{project}/") as answer:
        assert answer.status == 200
        return json.loads(await answer.read())


def served_versions(page: dict[str, Any]) -> set[str]:
    """Return the versions with a file that is served; the page lists the others at separate URLs."""
    return {entry["filename"].split("-")[1] for entry in page["files"] if not entry["url"].endswith("?withheld")}


def of_version(entries: list[dict[str, Any]], version: str) -> list[dict[str, Any]]:
    """Return the entries of files of the version; the entry of a reserved name has no file."""
    stem = re.compile(rf"[a-z0-9_]+-{re.escape(version)}(-py3-none-any\.whl|\.tar\.gz)")
    return [entry for entry in entries if stem.fullmatch(entry.get("filename", ""))]


async def told(session: aiohttp.ClientSession, demo: Demo, story: Story) -> None:
    """Check the index page, the download and the HTML page of one story."""
    page = await page_of(session, demo, story.project)
    listed = of_version(page["files"], story.version)
    withheld = of_version(page.get("_withheld", []), story.version)
    assert bool(listed) == story.listed, "with reasons where withheld: the policy explains"
    for entry in withheld:
        assert tuple(reason["code"] for reason in entry["reasons"]) == story.codes
    assert bool(withheld) == bool(story.codes)
    assert (story.version in page["versions"]) == story.listed
    base = URL(f"{demo.origin}/simple/{story.project}/")
    for entry in listed:
        if not story.whole:
            await _never_whole(session, base.join(URL(entry["url"], encoded=True)))
            continue
        async with session.get(base.join(URL(entry["url"], encoded=True))) as answer:
            assert answer.status == (403 if story.codes else 200)
            assert len(await answer.read()) == entry["size"] or story.codes
    async with session.get(f"{demo.origin}/project/{story.project}", headers={"Accept": "text/html"}) as answer:
        words = await answer.text()
    for code in story.codes:
        assert f"<strong>{code}</strong>" in words


async def _never_whole(session: aiohttp.ClientSession, address: URL) -> None:
    """Check that the download breaks off, or is refused completely if the file is small."""
    with contextlib.suppress(aiohttp.ClientPayloadError):
        async with session.get(address) as answer:
            await answer.read()
            assert answer.status == 424, "it must not complete"


async def test_every_story_is_as_it_is_told(tmp_path: Path) -> None:
    async with shown(tmp_path) as (demo, session):
        for story in STORIES:
            await told(session, demo, story)
        said = welcome(demo, has_shell=False)
    assert all(story.wanted in said and story.told in said for story in STORIES)
    codes = {code for story in STORIES for code in story.codes}
    assert codes >= {"forged", "provenance-lost", "publisher-changed", "revoked", "too-young", "unattested", "denied"}


async def test_what_is_approved_despite_a_reason_says_so(tmp_path: Path) -> None:
    async with shown(tmp_path) as (demo, session):
        for project, words in (
            ("acme-hotfix", "waived: security fix before the end of its cool-down"),
            ("acme-legacy", "pinned: the policy approves exactly this file"),
        ):
            async with session.get(f"{demo.origin}/project/{project}") as answer:
                assert words in await answer.text()


@pytest.mark.parametrize(
    ("before", "after", "freed"),
    [
        ('min-age = "3 days"', 'min-age = "1 hour"', {"1.9"}),
        ('min-age = "3 days"', 'min-age = "3 days"\nratchet = "warn"', {"1.4", "1.5"}),
        ("version = 1", 'version = 1\nmode = "audit"', {"1.4", "1.5", "1.9"}),
    ],
)
async def test_the_policy_is_obeyed_as_it_is_edited(tmp_path: Path, before: str, after: str, freed: set[str]) -> None:
    async with shown(tmp_path) as (demo, session):
        first = served_versions(await page_of(session, demo, "acme-widgets"))
        path = demo.directory / "policy.toml"
        path.write_text(path.read_text("utf-8").replace(before, after, 1), "utf-8")
        async with asyncio.timeout(SECONDS):
            while (now := served_versions(await page_of(session, demo, "acme-widgets"))) == first:  # noqa: ASYNC110 - a client can only poll the page
                await asyncio.sleep(0.1)
        assert now - first == freed
        assert not now & {"1.6", "1.7"}, "what is forged stays forged"


def under(tmp_path: Path) -> set[str] | None:
    """Return the visible files in the demo's directory; None if it does not exist."""
    for directory in tmp_path.glob("assay-demo-*"):
        return {path.name for path in directory.iterdir() if path.is_file() and path.suffix != ".lock"}
    return None


async def test_the_command_says_where_to_look_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "demo",
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "TMPDIR": str(tmp_path),
            "HTTP_PROXY": "http://[::1]:9",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SECONDS):
            first = (await process.stdout.readline()).decode()
            origin = first.split()[3].rstrip("/")
            assert under(tmp_path) == {"acme-trusted-root.json", "audit.jsonl", "policy.toml", "proxy.toml", "shell"}
            async with aiohttp.ClientSession() as session, session.get(f"{origin}/project/acme-widgets") as answer:
                assert answer.status == 200, "through no proxy of the environment, on the way to its indexes too"
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert under(tmp_path) is None


def test_a_port_that_somebody_listens_on_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr("demo.__main__._PORTS", (port,))
        assert free_port() == 0, "any other"
    assert free_port() == port


def test_a_port_that_is_taken_after_all_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def run(port: int) -> None:
        asked.append(port)
        if port:
            raise ConfigurationError("server.host, server.port: cannot listen on 127.0.0.1:8080")

    monkeypatch.setattr("demo.__main__._in_directory", run)
    monkeypatch.setattr("demo.__main__.free_port", lambda: 8080)
    monkeypatch.setattr("demo.__main__.telemetry.configure_logging", lambda *_, **__: None)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    logger = logging.getLogger("assay")
    try:
        assert main() == 0
    finally:
        logger.removeFilter(worth_a_line)
    assert asked == [8080, 0]
