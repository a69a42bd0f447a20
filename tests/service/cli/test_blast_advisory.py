"""Command ``assay blast --advisory``: files, clients and times from the audit trail."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from assay.cli import run
from assay.telemetry.audit_chain import list_parts
from tests.world.advisories.feeds import make_zip
from tests.world.advisories.records import make_affected, make_range, make_record
from tests.world.advisories.snapshots import malware
from tests.world.index.distributions import sdist, wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import NOW, ManualClock, make_configuration, run_test_proxy

OPEN = 'version = 1\n[[rules]]\nname = "open"\nprojects = ["*"]\n'
RECORDS = (
    malware("foo", "1.1", "2.0"),
    make_record("GHSA-1", make_affected("foo", ranges=[make_range(("introduced", "0"), ("fixed", "1.1"))])),
    malware("acme-tool", record="MAL-2026-2"),
    malware("foo", record="MAL-2026-3", withdrawn="2026-06-01T00:00:00Z"),
    malware("unused", record="MAL-2026-4"),
)


@pytest.fixture
async def sandbox(tmp_path: Path) -> Path:
    """Return a directory with a configuration, a stored snapshot and an audit trail.

    A client downloaded foo 1.0, foo 1.1 (twice, a day apart), the sdist of foo 1.1 and acme-tool 1.0, which is from
    an own index.
    """
    (tmp_path / "all.zip").write_bytes(make_zip(*RECORDS))
    async with Index() as index:
        indexes = f"""
[[indexes]]
name = "own"
url = "{index.url}"
projects = ["acme-*"]
[[indexes]]
name = "test"
url = "{index.url}"
ecosystem = "PyPI"
"""
        (tmp_path / "proxy.toml").write_text(
            f'[audit]\npath = "audit.jsonl"\n[storage]\ndirectory = "store"\n[[advisories]]\nname = "osv"\n'
            f'url = "all.zip"\n{indexes}'
        )
        configuration = make_configuration(
            index,
            tmp_path / "store",
            audit={"path": str(tmp_path / "audit.jsonl")},
            indexes=[
                {"name": "own", "url": index.url, "projects": ["acme-*"]},
                {"name": "test", "url": index.url, "ecosystem": "PyPI"},
            ],
        )
        clock = ManualClock()
        async with run_test_proxy(index, tmp_path, policy=OPEN, configuration=configuration, clock=clock) as proxy:
            named = [wheel("foo", "1.0"), wheel("foo", "1.1"), sdist("foo", "1.1"), wheel("acme-tool", "1.0")]
            for listed in [index.add(each) for each in named]:
                assert (await proxy.get(proxy.files_path(listed))).status == 200
                if listed.built is named[1]:
                    clock.now = NOW + timedelta(days=1)
                    assert (await proxy.get(proxy.files_path(listed))).status == 200
                    await proxy.get(f"{proxy.files_path(listed)}.metadata")
    return tmp_path


async def blast(directory: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    command = ["blast", *arguments, "--config", str(directory / "proxy.toml")]
    status = await asyncio.to_thread(run, command)
    printed = capsys.readouterr()
    return status, printed.out, printed.err


@pytest.fixture
async def refreshed(sandbox: Path) -> Path:
    assert await asyncio.to_thread(run, ["advisories", "refresh", "--config", str(sandbox / "proxy.toml")]) == 0
    return sandbox


async def test_it_names_the_files_the_clients_and_the_times(
    refreshed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = await blast(refreshed, capsys, "--advisory", "MAL-2026-1", "--json")
    found: list[dict[str, Any]] = json.loads(out)
    assert status == 1
    assert [(each["filename"], each["client"], each["version"], each["times"]) for each in found] == [
        ("foo-1.1-py3-none-any.whl", "127.0.0.1", "1.1", 2),
        ("foo-1.1.tar.gz", "127.0.0.1", "1.1", 1),
    ]
    assert [found[0][key][:10] for key in ("first", "last")] == ["2026-07-01", "2026-07-02"]
    status, out, _ = await blast(refreshed, capsys, "--advisory", "GHSA-1")
    assert (status, "foo-1.0-py3-none-any.whl" in out, "foo-1.1" in out) == (1, True, False)
    assert "1 files that the advisory GHSA-1 covers were served to 1 clients" in out


@pytest.mark.parametrize(
    "record",
    ["MAL-2026-2", "MAL-2026-3", "MAL-2026-4"],
    ids=["a project of an own index", "a withdrawn record", "an unused project"],
)
async def test_other_files_are_not_named(refreshed: Path, capsys: pytest.CaptureFixture[str], record: str) -> None:
    assert (await blast(refreshed, capsys, "--advisory", record, "--json"))[:2] == (0, "[]\n")


async def test_a_trail_that_was_changed_is_no_all_clear(refreshed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def cut() -> None:
        (only,) = list_parts(refreshed / "audit.jsonl")
        lines = only.read_bytes().splitlines(keepends=True)
        only.write_bytes(b"".join(line for line in lines if b"foo" not in line))

    await asyncio.to_thread(cut)
    status, out, err = await blast(refreshed, capsys, "--advisory", "MAL-2026-1", "--json")
    assert (status, out) == (3, "[]\n")
    assert "audit.jsonl" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "either PUBLISHER or --advisory"),
        (("GitHub:a/b", "--advisory", "MAL-2026-1"), "either PUBLISHER or --advisory"),
        (("GitHub:a/b",), "--since: expected a date"),
        (("--advisory", "MAL-2026-1", "--since", "2026-01-01"), "expected PUBLISHER"),
        (("--advisory", "MAL-1999-1"), "has no advisory MAL-1999-1"),
    ],
)
async def test_arguments_that_contradict_each_other_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    feed = '[[advisories]]\nname = "osv"\nurl = "all.zip"\n'
    (tmp_path / "proxy.toml").write_text(f'[audit]\npath = "audit.jsonl"\n[storage]\ndirectory = "store"\n{feed}')
    status, _, err = await blast(tmp_path, capsys, *arguments)
    assert (status, said in err) == (2, True), err
