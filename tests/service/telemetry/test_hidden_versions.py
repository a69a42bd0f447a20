"""Hidden versions: event, metric and home page, for each value of `withheld`; each judged page is reported once."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from assay.policy.language.document import load_policy
from assay.telemetry import metrics
from tests.world.clients.html_reader import read_harmless_page
from tests.world.index.distributions import sdist, wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import SIMPLE_JSON, make_configuration, run_test_proxy

LONG_AGO, YESTERDAY = "2026-05-30T12:00:00Z", "2026-06-30T12:00:00Z"
POLICY = 'version = 1\nwithheld = "{}"\n[[rules]]\nname = "cool down"\nprojects = ["*"]\nmin-age = "3 days"\n'
MESSAGE = "the file is 24 hours old, but the rule requires 3 days; allowed from 2026-07-03 12:00 UTC"
EVERY = pytest.mark.parametrize("withheld", ["stop", "explain", "hide"])


def hidden_events(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    found = [record for record in caplog.records if record.getMessage() == "hidden"]
    assert all(record.levelno == logging.INFO for record in found)
    return [getattr(record, "fields", {}) for record in found]


def count(view: str, hiding: str) -> float:
    return float(metrics.HIDDEN_PAGES.labels(view, hiding, "cool down", "too-young")._value.get())


def add_halved(index: Index) -> None:
    """Add a project whose newest version has an old sdist and a wheel that was uploaded yesterday."""
    index.add(sdist("halved", "1.0"), upload_time=LONG_AGO)
    index.add(wheel("halved", "1.0"), upload_time=YESTERDAY)


@EVERY
async def test_each_request_is_counted_and_each_judged_page_is_logged_once(
    tmp_path: Path, withheld: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "assay")
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY.format(withheld)) as proxy:
        index.add(wheel("widget", "1.0"), upload_time=LONG_AGO)
        index.add(wheel("widget", "2.0"), upload_time=YESTERDAY)
        add_halved(index)
        before = count("default", "newest"), count("default", "sdist-only")
        answer = await proxy.get("/simple/widget/", {"Accept": SIMPLE_JSON})
        again = {"Accept": SIMPLE_JSON, "If-None-Match": answer.headers["ETag"]}
        assert (await proxy.get("/simple/widget/", again)).status == 304
        await proxy.get("/simple/widget/", {"Accept": "text/html"})
        await proxy.fetch_page("halved")
        assert (count("default", "newest"), count("default", "sdist-only")) == (before[0] + 3, before[1] + 1)
        newest, halved = hidden_events(caplog)
        reason = {"rule": "cool down", "reason": "too-young"}
        assert {key: newest[key] for key in newest if key != "request"} == {
            "project": "widget", "newest": "2.0", "message": f"{MESSAGE}", **reason
        }  # fmt: skip
        assert {key: halved[key] for key in ("project", "sdist_only", "rule", "reason")} == {
            "project": "halved", "sdist_only": "1.0", **reason
        }  # fmt: skip
        # The index confirms the page: the judged page is the same.
        proxy.clock.now += timedelta(minutes=11)
        await proxy.fetch_page("widget")
        assert len(hidden_events(caplog)) == 2
        # Another policy judges the page again.
        proxy.assembly.gate.policy = load_policy(POLICY.format(withheld).replace("3 days", "4 days"), "policy.toml")
        await proxy.fetch_page("widget")
        assert len(hidden_events(caplog)) == 3


@EVERY
async def test_a_page_that_hides_nothing_newer_is_not_reported(
    tmp_path: Path, withheld: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "assay")
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY.format(withheld)) as proxy:
        index.add(wheel("widget", "1.0"), upload_time=YESTERDAY)
        index.add(wheel("widget", "2.0"), upload_time=LONG_AGO)
        before = count("default", "newest")
        await proxy.fetch_page("widget")
        assert (count("default", "newest"), hidden_events(caplog)) == (before, [])
        found = read_harmless_page((await proxy.get("/")).body)
        assert "No recorded refusals." in found.text
        assert "hidden versions0" in found.text


@EVERY
async def test_the_home_page_shows_hidden_versions_and_what_installers_do(tmp_path: Path, withheld: str) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY.format(withheld)) as proxy:
        index.add(wheel("widget", "2.0"), upload_time=YESTERDAY)
        add_halved(index)
        for _ in range(2):
            await proxy.fetch_page("widget")
            await proxy.fetch_page("halved")
        home, policy = [read_harmless_page((await proxy.get(path)).body).text for path in ("/", "/policy")]
        assert home.count("newest version 2.0 withheld") == 1
        assert home.count("wheels of 1.0 withheld, only an sdist is left") == 1
        assert f"too-young: {MESSAGE}" in home
        assert "hidden versions2" in home
        assert "refused requests0" in home
        sentence = {
            "stop": "Without one, they stop and print the reason",
            "explain": "print the reason of a version that is pinned",
            "hide": "no version exists, without the reason",
        }
        for other, words in sentence.items():
            assert (words in home, words in policy) == (other == withheld, other == withheld)
        index_file = next(each for each in (await proxy.fetch_page("widget"))["_withheld"])
        assert index_file["filename"] in home


async def test_a_view_reports_its_own_pages(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "assay")
    async with Index() as index:
        index.add(wheel("widget", "2.0"), upload_time=YESTERDAY)
        configuration = make_configuration(index, tmp_path / "assay", views=[{"name": "strict", "path": "/strict/"}])
        policies = {"default": 'version = 1\n[[rules]]\nprojects = ["*"]\n', "strict": POLICY.format("stop")}
        async with run_test_proxy(index, tmp_path, policies=policies, configuration=configuration) as proxy:
            before = count("strict", "newest")
            await proxy.fetch_page("widget")
            assert hidden_events(caplog) == []
            await proxy.at_path("/strict/").fetch_page("widget")
            (event,) = hidden_events(caplog)
            assert (event["view"], event["newest"], count("strict", "newest")) == ("strict", "2.0", before + 1)
            assert "newest version 2.0" not in read_harmless_page((await proxy.get("/")).body).text
            strict = read_harmless_page((await proxy.get("/strict/")).body)
            assert "newest version 2.0 withheld" in strict.text
