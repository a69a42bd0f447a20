"""Command ``assay advisories``, with a feed in a file, and beside a running proxy."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from assay.advisory_feeds.requests import watch_requests
from assay.assembly import assemble
from assay.cli import run
from assay.config import load_configuration
from assay.policy.language.document import BUILT_IN_POLICY
from assay.telemetry.audit_trail import open_audit_trail
from tests.world.advisories.feeds import make_zip
from tests.world.advisories.records import RecordDict, make_affected, make_record
from tests.world.proxy.cli_sandbox import CliSandbox
from tests.world.proxy.running_proxy import ManualClock

NEWEST = make_record("GHSA-9", make_affected("zlib-ng", versions=["1"]), modified="2026-11-28T00:00:00Z")
NOTE = make_record("GHSA-1", make_affected("flask", versions=["1.0"]), summary="Flask leaks")
MALWARE = make_record("MAL-2026-1", make_affected("litellm", versions=["1.82.8"]))
LOCKFILE = "flask==1.0 --hash=sha256:{0}\nlitellm=={1} --hash=sha256:{0}\nacme-web==1.0 --hash=sha256:{0}\n"


@dataclass
class Sandbox:
    """Configuration with a feed in a file."""

    directory: Path
    capsys: pytest.CaptureFixture[str]

    def offer(self, *records: RecordDict) -> None:
        (self.directory / "all.zip").write_bytes(make_zip(*records))

    def assay(self, *arguments: object) -> tuple[int, str, str]:
        self.capsys.readouterr()
        status = run(["advisories", *map(str, arguments), "--config", str(self.directory / "proxy.toml")])
        printed = self.capsys.readouterr()
        return status, printed.out, printed.err

    def lock(self, litellm: str) -> Path:
        path = self.directory / "requirements.txt"
        path.write_text(LOCKFILE.format("0" * 64, litellm))
        return path


CONFIGURATION = """
policy = "policy.toml"
[storage]
directory = "storage"
[trust]
refresh = false
[verification]
workers = 0
[audit]
path = "audit.jsonl"
[[advisories]]
name = "osv"
url = "all.zip"
refresh-every = "1 day"
[[indexes]]
name = "internal"
url = "https://internal.example/simple/"
projects = ["acme-*"]
[[indexes]]
name = "pypi"
url = "https://pypi.org/simple/"
"""
POLICY = 'version = 1\n[[rules]]\nprojects = ["*"]\n'


@pytest.fixture
def feeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Sandbox:
    (tmp_path / "proxy.toml").write_text(CONFIGURATION)
    (tmp_path / "policy.toml").write_text(POLICY)
    return Sandbox(tmp_path, capsys)


def test_without_a_proxy_the_command_refreshes_shows_and_accepts_itself(feeds: Sandbox) -> None:
    feeds.offer(NEWEST, NOTE, MALWARE)
    status, out, err = feeds.assay("refresh")
    assert (status, err) == (0, "")
    assert out.splitlines()[1].split()[:5] == ["osv", "3", "1", "0", "0"]

    feeds.offer(NOTE, MALWARE)
    status, out, err = feeds.assay("refresh")
    assert status == 3
    assert "osv: a snapshot was refused: the snapshot has 2 records and the previous one had 3" in out
    assert "assay: osv: the snapshot has 2 records" in err
    (shown,) = json.loads(feeds.assay("show", "--json")[1])
    assert (shown["records"], shown["refused"]["records"]) == (3, 2)

    status, out, _ = feeds.assay("accept", "--reason", "compared by hand")
    assert (status, out.splitlines()[0]) == (0, "osv: accepted the refused snapshot")
    assert "advisories-accepted" in (feeds.directory / "audit.jsonl").read_text()
    assert feeds.assay("accept", "osv", "--reason", "again")[1].startswith("nothing to accept")
    (shown,) = json.loads(feeds.assay("show", "--json")[1])
    assert (shown["records"], shown["refused"], shown["problem"]) == (2, None, None)


def test_check_tells_malware_from_notes_and_leaves_other_indexes_alone(feeds: Sandbox) -> None:
    squat = make_record("MAL-2026-2", make_affected("acme-web"))
    feeds.offer(NEWEST, NOTE, MALWARE, squat)
    feeds.assay("refresh")
    status, out, _ = feeds.assay("check", feeds.lock("1.82.8"))
    assert status == 1
    assert [line.split()[:4] for line in out.splitlines()[1:]] == [
        ["flask", "1.0", "note", "GHSA-1"],
        ["litellm", "1.82.8", "malware", "MAL-2026-1"],
    ]
    assert feeds.assay("check", feeds.lock("1.82.9"))[0] == 0
    (found,) = json.loads(feeds.assay("check", feeds.lock("1.82.9"), "--json")[1])
    assert (found["id"], found["link"]) == ("GHSA-1", "https://osv.dev/vulnerability/GHSA-1")

    ignored = '[[ignored-advisories]]\nid = "MAL-2026-1"\nreason = "wrong"\nexpires = 2099-01-01\n'
    (feeds.directory / "policy.toml").write_text(POLICY + ignored)
    status, out, _ = feeds.assay("check", feeds.lock("1.82.8"))
    assert (status, out.splitlines()[2].split()[2]) == (0, "ignored")


def test_check_is_undecided_without_a_snapshot_or_with_unchecked_entries(feeds: Sandbox) -> None:
    status, _, err = feeds.assay("check", feeds.lock("1"))
    assert (status, err) == (3, "assay: osv: no snapshot has been loaded yet\n")
    feeds.offer(NEWEST)
    feeds.assay("refresh")
    path = feeds.lock("1")
    path.write_text(path.read_text() + "requests>=2\n")
    assert feeds.assay("check", path)[0] == 3
    assert feeds.assay("check", path, "--allow-unchecked")[0] == 0


def test_a_configuration_without_a_feed_is_an_error(feeds: Sandbox) -> None:
    text = CONFIGURATION[: CONFIGURATION.index("[[advisories]]")]
    (feeds.directory / "proxy.toml").write_text(text)
    status, _, err = feeds.assay("show")
    assert (status, err) == (2, "assay: advisories: expected at least one [[advisories]] table, found none\n")


def test_an_unknown_feed_is_an_error(feeds: Sandbox) -> None:
    status, _, err = feeds.assay("accept", "ovs", "--reason", "x")
    assert (status, err) == (2, "assay: expected the name of a feed (osv), found 'ovs'\n")


async def test_beside_a_running_proxy_the_proxy_refreshes_and_accepts(feeds: Sandbox) -> None:
    feeds.offer(NEWEST, NOTE, MALWARE)
    configuration = await asyncio.to_thread(load_configuration, feeds.directory / "proxy.toml", {})
    async with (
        open_audit_trail(configuration.audit, ManualClock()) as trail,
        assemble(configuration, {"default": BUILT_IN_POLICY}, environ={}) as assembly,
        watch_requests(assembly.feeds, trail, poll_interval_seconds=0.05),
    ):
        await assembly.feeds.refresh()
        feeds.offer(NOTE, MALWARE)
        status, _, err = await asyncio.to_thread(feeds.assay, "refresh")
        assert (status, "the snapshot has 2 records" in err) == (3, True)
        assert len(assembly.advisories.current()) == 3
        status, out, _ = await asyncio.to_thread(feeds.assay, "accept", "--reason", "compared by hand")
        assert (status, out.splitlines()[0]) == (0, "osv: accepted the refused snapshot")
        assert len(assembly.advisories.current()) == 2
        assert not (assembly.feeds.directory / "request.json").exists()
    assert "compared by hand" in (feeds.directory / "audit.jsonl").read_text()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"action": "x"}', b'{"action": "accept"}'])
async def test_a_malformed_request_is_removed_and_logged(feeds: Sandbox, content: bytes) -> None:
    configuration = await asyncio.to_thread(load_configuration, feeds.directory / "proxy.toml", {})
    feeds.offer(NEWEST)
    async with assemble(configuration, {"default": BUILT_IN_POLICY}, environ={}) as assembly:
        path = assembly.feeds.directory / "request.json"
        path.write_bytes(content)
        async with watch_requests(assembly.feeds, None, poll_interval_seconds=0.01), asyncio.timeout(10):
            while path.exists():  # noqa: ASYNC110 - a test of a file
                await asyncio.sleep(0.01)


def test_explain_judges_by_the_stored_snapshot(sandbox: CliSandbox) -> None:
    config = sandbox.directory / "proxy.toml"
    config.write_text(f'{config.read_text()}ecosystem = "PyPI"\n[[advisories]]\nname = "own"\nurl = "records.zip"\n')
    records = [make_record("MAL-2026-1", make_affected("plain", versions=["1.0"]))]
    (sandbox.directory / "records.zip").write_bytes(make_zip(*records))
    assert sandbox.run_assay("explain", "plain")[0] == 0
    assert sandbox.run_assay("advisories", "refresh")[0] == 0
    status, out = sandbox.run_assay("explain", "plain")
    assert (status, "MAL-2026-1" in out) == (1, True)
    assert sandbox.run_assay("explain", "widget")[0] == 0
