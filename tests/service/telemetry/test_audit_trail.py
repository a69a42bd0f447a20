"""Every served or refused file has an entry before its first byte is sent, and `assay audit-log` detects changes."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from assay.cli import run
from assay.config import Configuration
from assay.policy_reload import PolicyWatch
from assay.telemetry.audit_chain import read_trail, verify_trail
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import Reply
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy
from tests.world.proxy.serve_process import run_serve_process
from tests.world.sigstore.private_sigstore import PrivateSigstore

UPLOADED = datetime(2026, 6, 1, 12, 1, tzinfo=UTC)
"""One minute after the entry in the log of the private Sigstore."""
POLICY = """
version = 1
[[rules]]
name = "not this one"
projects = ["denied"]
deny = "we use another library"
[[rules]]
name = "everything else"
projects = ["*"]
ratchet = "off"
"""


def with_trail(index: Index, directory: Path, **audit: Any) -> Configuration:
    return make_configuration(index, directory / "assay", audit={"path": str(directory / "audit.jsonl"), **audit})


async def entries(directory: Path) -> list[dict[str, Any]]:
    """Check that the trail is valid, and return the fields of all entries."""
    found = await asyncio.to_thread(lambda: list(read_trail(directory / "audit.jsonl")))
    assert verify_trail(found).faults == ()
    return [dict(entry.fields) for entry in found]


async def test_a_served_file_is_recorded_with_who_what_and_why(tmp_path: Path) -> None:
    sigstore = PrivateSigstore()
    built = wheel("foo", "1.0")
    async with Index() as index:
        listed = index.add(built, provenance=sigstore.provenance(built.filename, built.sha256), upload_time=UPLOADED)
        chosen = make_configuration(index, tmp_path / "assay", sigstore, audit={"path": str(tmp_path / "audit.jsonl")})
        async with run_test_proxy(index, tmp_path, policy=POLICY, configuration=chosen) as proxy:
            answer = await proxy.get(proxy.files_path(listed))
            assert answer.status == 200
            (entry,) = await entries(tmp_path)
            policy = proxy.assembly.gate.policy.digest
    assert entry["event"] == "served"
    assert (entry["client"], entry["method"], entry["route"]) == ("127.0.0.1", "GET", "file")
    assert (entry["project"], entry["filename"], entry["sha256"]) == ("foo", built.filename, built.sha256)
    assert (entry["rule"], entry["despite"], entry["policy"]) == ("everything else", [], policy)
    assert entry["request"] == answer.headers["X-Request-Id"]
    assert entry["kind"] == "attested"
    assert len(entry["evidence"]) == 64
    assert entry["attestations"][0]["publisher"].startswith("GitHub ")
    assert len(entry["attestations"][0]["certificate"]) == 64


@pytest.mark.parametrize("route", ["file", "metadata", "provenance", "attestations"])
async def test_a_refusal_is_recorded_on_every_route_and_so_is_what_the_same_route_serves(
    tmp_path: Path, route: str
) -> None:
    sigstore = PrivateSigstore()
    async with Index() as index:
        chosen = make_configuration(index, tmp_path / "assay", sigstore, audit={"path": str(tmp_path / "audit.jsonl")})
        async with run_test_proxy(index, tmp_path, policy=POLICY, configuration=chosen) as proxy:
            for project, status in (("denied", 403), ("foo", 200)):
                built = wheel(project, "1.0")
                listed = index.add(
                    built, provenance=sigstore.provenance(built.filename, built.sha256), upload_time=UPLOADED
                )
                path = {
                    "file": proxy.files_path(listed),
                    "metadata": f"{proxy.files_path(listed)}.metadata",
                    "provenance": proxy.provenance_path(listed),
                    "attestations": f"/attestations/{built.sha256}?project={project}",
                }[route]
                assert (await proxy.get(path)).status == status
            found = await entries(tmp_path)
    assert [(entry["event"], entry["route"], entry["project"]) for entry in found] == [
        ("refused", route, "denied"),
        ("served", route, "foo"),
    ]
    assert found[0]["reasons"] == ["denied"]
    assert found[0]["rule"] == "not this one"


async def test_pages_and_what_is_on_no_page_leave_no_entry(tmp_path: Path) -> None:
    async with Index() as index:
        index.add(wheel("foo", "1.0"))
        async with run_test_proxy(index, tmp_path, configuration=with_trail(index, tmp_path)) as proxy:
            await proxy.fetch_page("foo")
            assert (await proxy.get(f"/files/{index.files_host}/foo-9.0-py3-none-any.whl")).status == 404
            assert (await asyncio.to_thread((tmp_path / "audit.jsonl").read_bytes)) == b""


async def test_a_file_that_was_let_go_and_then_failed_is_said_to_be_unfinished(tmp_path: Path) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo", "1.0"))
        index.inject_fault(listed.path, Reply(404))
        async with run_test_proxy(index, tmp_path, configuration=with_trail(index, tmp_path)) as proxy:
            answer = await proxy.get(proxy.files_path(listed))
            assert answer.status == 424
        served, unfinished = await entries(tmp_path)
    assert (served["event"], unfinished["event"]) == ("served", "unfinished")
    assert served["request"] == unfinished["request"] == answer.headers["X-Request-Id"]


async def test_a_client_that_leaves_in_the_middle_is_said_to_have_got_no_whole_file(tmp_path: Path) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo", "1.0", padding=300_000))
        async with run_test_proxy(index, tmp_path, configuration=with_trail(index, tmp_path)) as proxy:
            stall = index.stall(listed.path, after=200_000)
            async with proxy.open("GET", proxy.files_path(listed)) as response:
                await response.content.readany()
                await stall.reached.wait()
                response.close()
        stall.release.set()
        found = await entries(tmp_path)
    assert [entry["event"] for entry in found] == ["served", "unfinished"]
    assert found[0]["request"] == found[1]["request"]


def stop_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all writes to the audit trail fail, as if only its disk were full."""

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("assay.telemetry.audit_file.TrailFile._write", full)


async def test_refuse_serves_nothing_that_is_not_recorded_and_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo", "1.0"))
        async with run_test_proxy(index, tmp_path, configuration=with_trail(index, tmp_path)) as proxy:
            path = proxy.files_path(listed)
            assert (await proxy.get(path)).status == 200
            with monkeypatch.context() as patched:
                stop_writing(patched)
                refused = await proxy.get(path)
                assert refused.status == 503
                assert "audit" in refused.reason
                assert (await proxy.get("/readyz")).status == 503
                assert (await proxy.get("/simple/foo/")).status == 200, "a page serves no file"
            assert (await proxy.get("/readyz")).status == 200
            assert (await proxy.get(path)).status == 200
        assert [entry["event"] for entry in await entries(tmp_path)] == ["served", "resumed", "served"]


async def test_alarm_serves_on_and_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo", "1.0"))
        chosen = with_trail(index, tmp_path, **{"on-failure": "alarm"})
        async with run_test_proxy(index, tmp_path, configuration=chosen) as proxy:
            path = proxy.files_path(listed)
            with monkeypatch.context() as patched:
                stop_writing(patched)
                assert (await proxy.get(path)).status == 200
                assert (await proxy.get("/readyz")).status == 200
                metrics = (await proxy.get("/metrics")).body.decode()
            assert 'assay_security_events_total{event="audit-write-failed"}' in metrics
            assert (await proxy.get(path)).status == 200
        assert [entry["event"] for entry in await entries(tmp_path)] == ["lost", "served"]


async def test_a_client_is_who_asked_the_proxy_in_front_and_never_who_it_says_it_is(tmp_path: Path) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo", "1.0"))
        headers = {"X-Forwarded-For": "6.6.6.6, 192.0.2.7"}
        for name, trusted, client in (("a", [], "127.0.0.1"), ("b", ["127.0.0.0/8"], "192.0.2.7")):
            (tmp_path / name).mkdir()
            chosen = with_trail(index, tmp_path / name).model_copy(
                update={
                    "server": Configuration.model_validate({"server": {"port": 0, "trusted-proxies": trusted}}).server
                }
            )
            async with run_test_proxy(index, tmp_path / name, configuration=chosen) as proxy:
                assert (await proxy.get(proxy.files_path(listed), headers)).status == 200
            assert [entry["client"] for entry in await entries(tmp_path / name)] == [client]


def command(*arguments: object) -> int:
    return run(["audit-log", *map(str, arguments)])


async def test_the_commands_verify_a_trail_and_detect_what_was_done_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trail = tmp_path / "audit.jsonl"
    async with Index() as index:
        listed = index.add(wheel("foo", "1.0"))
        async with run_test_proxy(index, tmp_path, configuration=with_trail(index, tmp_path)) as proxy:
            for _ in range(4):
                await proxy.get(proxy.files_path(listed))
            metrics = (await proxy.get("/metrics")).body.decode()
    published = next(line for line in metrics.splitlines() if line.startswith("assay_audit_head "))

    def judge() -> None:
        assert command("verify", "--trail", trail) == 0
        assert command("head", "--trail", trail) == 0
        head = capsys.readouterr().out.split()[-1]
        assert f"{int(float(published.split()[1])):012x}" == head[:12], "the metric says the same head"
        assert command("verify", "--trail", trail, "--head", head) == 0
        assert command("verify", "--trail", trail, "--head", head[:12]) == 0
        assert command("verify", "--trail", trail, "--head", "no hash") == 2
        lines = trail.read_bytes().splitlines(keepends=True)
        for tampered, with_head in (
            ([*lines[:1], lines[1].replace(b"127.0.0.1", b"127.0.0.2"), *lines[2:]], False),
            ([*lines[:1], *lines[2:]], False),
            ([lines[0], lines[2], lines[1], lines[3]], False),
            (lines[:-1], True),
        ):
            trail.write_bytes(b"".join(tampered))
            assert command("verify", "--trail", trail, *(["--head", head] if with_head else [])) == 1
        capsys.readouterr()
        trail.write_bytes(b"".join(lines))
        assert command("verify", "--trail", trail, "--json") == 0
        assert json.loads(capsys.readouterr().out)["entries"] == 4
        assert command("verify", "--trail", tmp_path / "none.jsonl") == 3

    await asyncio.to_thread(judge)


@pytest.mark.parametrize(
    ("on_failure", "how"),
    [("alarm", signal.SIGTERM), ("refuse", signal.SIGTERM), ("refuse", signal.SIGKILL)],
    ids=["nobody waits, told to end", "told to end", "killed"],
)
async def test_however_the_command_ends_what_was_served_is_in_the_trail(
    tmp_path: Path, on_failure: str, how: signal.Signals
) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo", "1.0"))
        audit = f'[audit]\npath = "audit.jsonl"\non-failure = "{on_failure}"'
        async with run_serve_process(index, tmp_path, more=audit) as proxy, aiohttp.ClientSession() as session:

            async def ask() -> int:
                async with session.get(f"{proxy.origin}{RunningProxy.files_path(listed)}") as response:
                    await response.read()
                    return response.status

            assert set(await asyncio.gather(*(ask() for _ in range(40)))) == {200}
            proxy.process.send_signal(how)
            assert await proxy.process.wait() == (0 if how is signal.SIGTERM else -signal.SIGKILL)
    found = await entries(tmp_path)
    assert len(found) == 40
    assert len({entry["request"] for entry in found}) == 40
    assert {line["request"] for line in proxy.log if line["event"] == "request"} <= {
        entry["request"] for entry in found
    }


async def test_the_entries_of_one_file_state_the_method_and_the_policy_of_each_request(tmp_path: Path) -> None:
    renamed = POLICY.replace("everything else", "all others")
    (tmp_path / "policy.toml").write_text(POLICY)
    async with Index() as index:
        chosen = with_trail(index, tmp_path)
        async with run_test_proxy(index, tmp_path, policy=POLICY, configuration=chosen) as proxy:
            listed = index.add(wheel("foo", "1.0"))
            path, gate = proxy.files_path(listed), proxy.assembly.gate
            watch = PolicyWatch(tmp_path / "policy.toml", gate, settle_seconds=0)
            digests = [gate.policy.digest]
            for method in ("GET", "HEAD", "GET", "GET"):
                assert (await proxy.request(method, path)).status == 200
            (tmp_path / "policy.toml").write_text(renamed)
            assert await watch.reload_if_changed()
            digests.append(gate.policy.digest)
            assert (await proxy.get(path)).status == 200
            assert (await proxy.get(f"{path}.metadata")).status == 200
    found = [(entry["method"], entry["route"], entry["rule"], entry["policy"]) for entry in await entries(tmp_path)]
    before, after = digests
    assert before != after
    assert found == [
        *((method, "file", "everything else", before) for method in ("GET", "HEAD", "GET", "GET")),
        ("GET", "file", "all others", after),
        ("GET", "metadata", "all others", after),
    ]
