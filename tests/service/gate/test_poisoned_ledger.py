"""The runbook "A poisoned ledger" of docs/operations.md, followed command by command on a poisoned store.

The commands are read from the document. Each section uses another project, whose name is in the commands.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from assay.cli import run
from assay.telemetry.audit_chain import read_trail, verify_trail
from tests.paths import DOCS
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.loggers import preserve_loggers
from tests.world.proxy.running_proxy import ManualClock, RunningProxy, make_configuration, run_test_proxy
from tests.world.proxy.told import Told

FRESH = timedelta(minutes=11)
NOW = datetime.now(UTC)
START = NOW - 2 * FRESH
LONG_AGO = NOW - timedelta(days=700)
UPLOADED = NOW - timedelta(days=300)
POLICY = """
version = 1
[defaults]
min-age = "3 days"
[[rules]]
name = "everything"
projects = ["*"]
"""
LOGIN_PAGE = b'{"attestation_bundles": "please sign in"}'
PROJECTS = ("colossal", "frozen", "hijacked", "ahead", "early", "portal", "moved", "swapped")
STEPS = (
    "A serial that is far too high",
    "Publishers that were established by mistake",
    "A clock that was ten years ahead",
    "Forged evidence from a login page",
    "An index that moved to a mirror with lower serials",
    "A wrong first digest",
    "Afterwards",
)


@pytest.fixture(autouse=True)
def restore_loggers_afterwards() -> Iterator[None]:
    """Restore the root logger, which the commands configure."""
    with preserve_loggers():
        yield


def read_runbook() -> dict[str, list[str]]:
    """Return the commands of the runbook by the title of their section."""
    page = (DOCS / "operations.md").read_text("utf-8")
    text = page.partition("## A poisoned ledger\n")[2].partition("\n## ")[0]
    sections = re.split(r"^### ", text, flags=re.MULTILINE)
    found = {"": sections[0], **{one.partition("\n")[0]: one for one in sections[1:]}}
    blocks = {title: re.findall(r"^```sh\n(.*?)^```$", one, re.MULTILINE | re.DOTALL) for title, one in found.items()}
    return {title: [line for block in each for line in block.splitlines()] for title, each in blocks.items()}


RUNBOOK = read_runbook()


def test_the_runbook_has_the_sections_and_commands_that_the_test_follows() -> None:
    assert list(RUNBOOK) == ["", *STEPS]
    assert {title: len(lines) for title, lines in RUNBOOK.items()} == dict(
        zip(RUNBOOK, (2, 1, 1, 1, 1, 3, 1, 2), strict=True)
    )
    text = "\n".join(line for lines in RUNBOOK.values() for line in lines)
    for kind in ("--serial", "--publishers", "--first-seen", "--evidence", "--digest", "--replace"):
        assert kind in text


class Operator:
    """Person who types the commands of the runbook in a directory.

    Attributes:
        session: the commands and their output.
    """

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.session: list[str] = []
        self._directory = directory
        self._capsys = capsys

    async def follow(self, title: str) -> None:
        """Run the commands of a section; each must succeed."""
        self.session.append(f"### {title}")
        for line in RUNBOOK[title]:
            self.session.append(f"$ {line}")
            program, *arguments = shlex.split(line)
            if program == "assay":
                await self._run_assay(arguments)
            else:
                await self._run_other(program, line)

    async def _run_assay(self, arguments: list[str]) -> None:
        self._capsys.readouterr()
        status = await asyncio.to_thread(run, [*arguments, "--config", str(self._directory / "proxy.toml")])
        said = self._capsys.readouterr()
        assert status == 0, said.err
        self.session += said.out.splitlines()

    async def _run_other(self, program: str, line: str) -> None:
        assert program in {"date", "diff", "sed"}
        process = await asyncio.create_subprocess_shell(
            line, cwd=self._directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
        assert process.returncode == (1 if program == "diff" else 0), said
        self.session += said.decode().splitlines()


def publish(index: Index) -> dict[str, ListedFile]:
    """List a good file of each project."""
    listed = {}
    for project in PROJECTS:
        listed[project] = index.add(wheel(project, "1.0"), upload_time=UPLOADED)
        index.set_serial(project, 7)
    return listed


def poison(listed: dict[str, ListedFile]) -> str:
    """Return the text of a ledger with a wrong fact about each project except ``portal``."""
    lines: list[dict[str, Any]] = []

    def add(kind: str, project: str, **facts: Any) -> None:
        lines.append({"kind": kind, "index": "pypi", "project": project, **facts})

    serials = {"colossal": 10**17, "frozen": 9 * 10**12, "moved": 8 * 10**12}
    seen = {"ahead": (True, {}), "early": (True, {"corrected": True})}
    for project, one in listed.items():
        add("project", project, serial=serials.get(project, 3))
        is_late, more = seen.get(project, (False, {}))
        first_seen = NOW + timedelta(days=3650) if is_late else UPLOADED
        digest = hashlib.sha256(b"wrong").hexdigest() if project == "swapped" else one.built.sha256
        times = {"first-seen": first_seen.isoformat()}
        add("file", project, filename=one.built.filename, sha256=digest, **times, late=is_late, **more)
    where = {"trust-root": "sigstore", "issuer": "https://token.example", "subject": "repository-id:666"}
    times = {"logged": LONG_AGO.isoformat(), "existed": LONG_AGO.isoformat()}
    add("publisher", "hijacked", **where, **times)
    lines.sort(key=lambda line: str(line["project"]))  # an import needs the lines of a project one after the other
    return "\n".join(['{"assay-ledger": 3}', *(json.dumps(line) for line in lines)]) + "\n"


async def withheld(proxy: RunningProxy, project: str) -> list[str]:
    """Return the reasons for which the file of a project is withheld; empty if it is served."""
    return next(iter((await proxy.fetch_withheld(project)).values()), [])


async def status(proxy: RunningProxy, project: str) -> int:
    return (await proxy.get(f"/simple/{project}/")).status


async def test_the_runbook_repairs_a_poisoned_ledger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clock, operator = ManualClock(START), Operator(tmp_path, capsys)
    async with Index() as index:
        listed = publish(index)
        index.remove(listed["portal"])
        forged = index.add(listed["portal"].built, upload_time=UPLOADED, provenance=LOGIN_PAGE)
        configuration = make_configuration(
            index,
            tmp_path / "assay",
            audit={"path": str(tmp_path / "audit.jsonl")},
            indexes=[{"name": "pypi", "url": index.url, "file-hosts": [index.files_host]}],
        )
        (tmp_path / "proxy.toml").write_text(
            f'[storage]\ndirectory = "{tmp_path / "assay"}"\n[audit]\npath = "{tmp_path / "audit.jsonl"}"\n'
        )
        (tmp_path / "poison.txt").write_text(poison(listed))
        command = ["ledger", "import", "poison.txt", "--config", "proxy.toml"]
        assert await asyncio.to_thread(run, command) == 0
        told, corrected = Told("facts-forgotten"), Told("clock-went-back")
        async with run_test_proxy(index, tmp_path, policy=POLICY, clock=clock, configuration=configuration) as proxy:
            # The poison acts, except where the ledger corrects it without an operator.
            assert [await status(proxy, each) for each in ("frozen", "moved")] == [503, 503]
            assert await withheld(proxy, "hijacked") == ["provenance-lost"]
            assert await withheld(proxy, "early") == ["too-young"]
            assert await withheld(proxy, "portal") == ["forged"]
            assert await withheld(proxy, "swapped") == ["digest-changed"]
            assert await withheld(proxy, "colossal") == []
            assert await withheld(proxy, "ahead") == ["too-young"]
            assert [each["project"] for each in corrected.events] == ["ahead"]
            index.remove(forged)
            listed["portal"] = index.add(forged.built, upload_time=UPLOADED)
            clock.now += FRESH
            assert await withheld(proxy, "portal") == ["forged"], "the recorded document counts although it is gone"

            await operator.follow("")
            for count, title in enumerate(STEPS[:4], start=1):
                await operator.follow(title)
                await told.wait(count)
            await operator.follow("A wrong first digest")
            await told.wait(5)
            assert [each["what"] for each in told.events] == [
                *("serial", "publishers", "first-seen", "evidence", "digest"),
            ]
            clock.now = datetime.now(UTC)
            for project in ("frozen", "hijacked", "early", "portal", "colossal"):
                assert await withheld(proxy, project) == []
                assert (await proxy.get(proxy.files_path(listed[project]))).body == listed[project].built.content
            assert await withheld(proxy, "swapped") == ["too-young"], "it is first seen now"
            assert await status(proxy, "moved") == 503
        await operator.follow("An index that moved to a mirror with lower serials")
        async with run_test_proxy(index, tmp_path, policy=POLICY, clock=clock, configuration=configuration) as proxy:
            assert await status(proxy, "moved") == 200
            clock.now += timedelta(days=4)
            for project in PROJECTS:
                assert await withheld(proxy, project) == [], project
            history = await proxy.assembly.store.ledger.get_history("pypi", canonicalize_name("moved"))
            assert history.serial == 7, "the serial of the mirror counts from now on"
            # Facts that were forgotten do not come back with an older state of the index.
            index.replace(listed["swapped"], wheel("swapped", "1.0", padding=100))
            clock.now += FRESH
            assert await withheld(proxy, "swapped") == ["digest-changed"]
        await operator.follow("Afterwards")
        told.unsubscribe()
        corrected.unsubscribe()
    entries = await asyncio.to_thread(lambda: list(read_trail(tmp_path / "audit.jsonl")))
    assert verify_trail(entries).faults == ()
    forgot = [dict(entry.fields) for entry in entries if entry.fields["event"] == "forgot"]
    assert [entry["reason"].partition(":")[0] for entry in forgot[:5]] == ["INC-1", "INC-2", "INC-3", "INC-4", "INC-6"]
    assert {entry["reason"] for entry in forgot[5:]} == {"INC-5: the index is a mirror now"}
    assert len(told.events) == len(forgot)
    difference = operator.session[operator.session.index("$ diff before.txt after.txt") :]
    assert sum('"kind": "forgotten"' in line and line.startswith("> ") for line in difference) > 0
    if (path := os.environ.get("ASSAY_TEST_SESSION")) is not None:
        await asyncio.to_thread(Path(path).write_text, "\n".join(operator.session) + "\n")
