"""Each view's policy is reloaded independently, and log, metrics and audit trail name the view."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from assay.assembly import View
from assay.policy.language.document import load_policy
from assay.policy_reload import PolicyWatch, watch_policies
from assay.telemetry import metrics
from assay.telemetry.audit_chain import read_trail, verify_trail
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy
from tests.world.proxy.serve_process import run_serve_process
from tests.world.proxy.views_world import CLOSED_POLICY, OPEN_POLICY, is_served, run_views_world

# Reload


def views_with_files(proxy: RunningProxy, directory: Path) -> list[View]:
    """Return the running views with settings that name policy files."""
    return [
        View(
            settings=each.settings.model_copy(update={"policy": directory / f"{each.gate.view}.toml"}),
            gate=each.gate,
        )
        for each in proxy.assembly.views
    ]


async def test_a_changed_policy_acts_on_its_view_alone_and_a_bad_one_leaves_the_others_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with run_views_world(tmp_path, strict=OPEN_POLICY, dev=OPEN_POLICY) as there:
        listed = there.index.add(wheel("widget", "1.0"))
        views = (there.proxy, there.strict, there.dev)
        assert [await is_served(view, listed) for view in views] == [True, True, True]
        files = {name: tmp_path / f"{name}.toml" for name in ("default", "strict", "dev")}
        watches = {
            name: PolicyWatch(path, there.proxy.get_gate(name), settle_seconds=0) for name, path in files.items()
        }
        for path in files.values():
            path.write_text(OPEN_POLICY)
        assert [await watch.reload_if_changed() for watch in watches.values()] == [False, False, False]
        files["strict"].write_text(CLOSED_POLICY)
        files["dev"].write_text("version = 2")
        caplog.clear()
        assert [await watch.reload_if_changed() for watch in watches.values()] == [False, True, False]
        assert [await is_served(view, listed) for view in views] == [True, False, True]
        told = {(each.getMessage(), getattr(each, "fields", {}).get("view")) for each in caplog.records}
        assert {("policy-invalid", "dev")} <= told
        assert watches["dev"].rejection is not None
        shown = (await there.proxy.get("/metrics")).body.decode()
        assert 'assay_policy_invalid{view="dev"} 1.0' in shown
        assert 'assay_policy_invalid{view="strict"} 0.0' in shown
        files["strict"].write_text(OPEN_POLICY)
        assert await watches["strict"].reload_if_changed()
        assert [await is_served(view, listed) for view in views] == [True, True, True]
        assert there.index.count(there.index.page_path("widget")) == 1, "a reload judges anew; it fetches nothing"


async def test_one_sighup_asks_for_every_views_policy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="assay")
    ended = (
        OPEN_POLICY
        + '[[waivers]]\nprojects = ["a"]\nversions = "==1"\nuploaded-before = 2020-01-01\nlifts = ["yanked"]\n'
    )
    ended += 'expires = 2020-01-02\nreason = "old"\n'
    async with run_views_world(tmp_path, strict=ended, dev=OPEN_POLICY) as there:
        views = views_with_files(there.proxy, tmp_path)
        for view, text in zip(views, (OPEN_POLICY, ended, OPEN_POLICY), strict=True):
            assert view.settings.policy is not None
            view.settings.policy.write_text(text)
        built_in = View(settings=there.proxy.assembly.views[0].settings, gate=views[0].gate)
        async with watch_policies([built_in, *views[1:]]):
            (tmp_path / "dev.toml").write_text(CLOSED_POLICY)
            os.kill(os.getpid(), signal.SIGHUP)

            def told() -> set[tuple[str, str | None]]:
                return {(each.getMessage(), getattr(each, "fields", {}).get("view")) for each in caplog.records}

            wanted = {
                ("policy-unchanged", None),
                ("policy-unchanged", "strict"),
                ("policy-reloaded", "dev"),
                ("waiver-expired", "strict"),
            }
            async with asyncio.timeout(20):
                while not wanted <= told():  # noqa: ASYNC110 - a log event cannot set an asyncio.Event
                    await asyncio.sleep(0.05)
        assert ("waiver-expired", None) not in told()
        assert there.proxy.get_gate("dev").policy == load_policy(CLOSED_POLICY, "dev")


# Names of views in metrics, log and audit trail


async def test_metrics_log_and_trail_name_the_view(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="assay")
    audit = {"path": str(tmp_path / "audit.jsonl")}
    waived = (
        CLOSED_POLICY + '[[waivers]]\nname = "w"\nprojects = ["a"]\nversions = "==1"\nuploaded-before = 2020-01-01\n'
    )
    waived += 'lifts = ["yanked"]\nexpires = 2099-01-01\nreason = "old"\n'
    async with run_views_world(tmp_path, strict=waived, dev=OPEN_POLICY, audit=audit) as there:
        listed = there.index.add(wheel("widget", "1.0"))
        refusals = metrics.REFUSALS.labels("strict", "file", "closed", "denied")
        before = refusals._value.get()
        for view, status in ((there.strict, 403), (there.dev, 200), (there.proxy, 200)):
            assert (await view.get(view.files_path(listed))).status == status
        assert refusals._value.get() == before + 1
        shown = (await there.proxy.get("/metrics")).body.decode()
        for name in ("default", "strict", "dev"):
            digest = there.proxy.get_gate(name).policy.digest[:12]
            assert f'assay_policy{{digest="{digest}",mode="enforce",view="{name}"}} 1' in shown
        assert 'assay_waiver_expires_timestamp_seconds{view="strict",waiver="w"}' in shown
        assert 'assay_files_listed{verdict="withheld",view="strict"} 1.0' in shown
        assert 'assay_files_listed{verdict="approved",view="dev"} 1.0' in shown
        requests = [each.__dict__["fields"] for each in caplog.records if each.getMessage() == "request"]
        assert [each.get("view") for each in requests] == ["strict", "dev", None, None]
        refused = [each.__dict__["fields"] for each in caplog.records if each.getMessage() == "file-refused"]
        assert [each["view"] for each in refused] == ["strict"]
        await there.dev.get(there.dev.files_path(listed))
    lines = await asyncio.to_thread(lambda: list(read_trail(tmp_path / "audit.jsonl")))
    assert verify_trail(lines).faults == ()
    assert [(line.fields["event"], line.fields.get("view")) for line in lines] == [
        ("refused", "strict"),
        ("served", "dev"),
        ("served", None),
        ("served", "dev"),
    ]


async def test_the_command_serves_every_view_and_says_where_each_is(tmp_path: Path) -> None:
    (tmp_path / "closed.toml").write_text(CLOSED_POLICY, "utf-8")
    more = '[[views]]\nname = "strict"\npath = "strict"\npolicy = "closed.toml"\n'
    async with Index() as index, aiohttp.ClientSession() as session:
        listed = index.add(wheel("widget", "1.0"))
        async with run_serve_process(index, tmp_path, policy=OPEN_POLICY, more=more) as proxy:

            async def status(prefix: str) -> int:
                async with session.get(f"{proxy.origin}{prefix}{RunningProxy.files_path(listed)}") as answer:
                    await answer.read()
                    return answer.status

            assert [await status(""), await status("/strict")] == [200, 403]
            [opened] = [each for each in proxy.log if each["event"] == "view-available"]
            assert (opened["view"], opened["index"]) == ("strict", f"{proxy.origin}/strict/simple/")
            assert opened["policy"] == str(tmp_path / "closed.toml")
            (tmp_path / "closed.toml").write_text(OPEN_POLICY, "utf-8")
            proxy.process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(20):
                while "policy-reloaded" not in {each["event"] for each in proxy.log}:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)
            assert [await status(""), await status("/strict")] == [200, 200]
            assert [each["view"] for each in proxy.log if each["event"] == "policy-reloaded"] == ["strict"]
