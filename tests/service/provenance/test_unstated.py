"""Indexes whose pages do not say which files have provenance: nothing is said or served about attestations."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.world.index.distributions import wheel
from tests.world.index.fake_index import ABSENT, Index
from tests.world.proxy.running_proxy import ATTESTED_ONLY_POLICY, NOW, ManualClock, make_configuration, run_test_proxy
from tests.world.sigstore.private_sigstore import SIGNING_TIME, GitHub, PrivateSigstore

PROBLEM = "index test carries no provenance; set `provenance-from`"
LENIENT = 'version = 1\n[[rules]]\nname = "all"\nprojects = ["*"]\n'
WIDGET = wheel("widget", "1.0")
UNSTATED: dict[str, Any] = {"entry": {"provenance": ABSENT}}
HTML = {"Accept": "text/html"}


@pytest.mark.parametrize(("more", "key"), [(UNSTATED, False), ({}, True)], ids=["unstated", "twin"])
async def test_a_page_says_nothing_about_provenance_that_its_index_does_not_say(
    tmp_path: Path, more: dict[str, Any], key: bool
) -> None:
    async with Index(api_version="1.1") as index, run_test_proxy(index, tmp_path, policy=LENIENT) as proxy:
        index.add(WIDGET, **more)
        page = await proxy.fetch_page("widget")
        assert ("provenance" in page["files"][0], page["files"][0].get("provenance")) == (key, None)
        assert page["meta"]["api-version"] == ("1.4" if key else "1.2")
        shown = (await proxy.get("/simple/widget/", HTML)).body.decode()
        assert f'repository-version" content="{page["meta"]["api-version"]}"' in shown


@pytest.mark.parametrize("version", ["1.0", "1.4"])
async def test_an_html_page_says_it_from_api_1_3_on(tmp_path: Path, version: str) -> None:
    index = Index(content="html", api_version=version)
    async with index, run_test_proxy(index, tmp_path, policy=LENIENT) as proxy:
        index.add(WIDGET)
        (entry,) = (await proxy.fetch_page("widget"))["files"]
        assert ("provenance" in entry) == (version == "1.4")


@pytest.mark.parametrize(("more", "is_unstated"), [(UNSTATED, True), ({}, False)], ids=["unstated", "twin"])
async def test_a_refusal_names_the_index_and_the_remedy(
    tmp_path: Path, more: dict[str, Any], is_unstated: bool
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=ATTESTED_ONLY_POLICY) as proxy:
        listed = index.add(WIDGET, upload_time=SIGNING_TIME, **more)
        (entry,) = (await proxy.fetch_page("widget"))["_withheld"]
        (reason,) = entry["reasons"]
        assert reason["code"] == "unattested"
        assert (PROBLEM in reason["message"], reason["found"] == "unknown") == (is_unstated, is_unstated)
        assert ("has no attestation" in reason["message"]) == (not is_unstated)
        answer = await proxy.get(proxy.files_path(listed))
        assert (answer.status, PROBLEM in answer.reason) == (403, is_unstated)


async def test_an_established_project_is_withheld_and_the_refusal_says_that_the_index_says_nothing(
    tmp_path: Path,
) -> None:
    sigstore, first, second = PrivateSigstore(seed=1), wheel("widget", "1.0"), wheel("widget", "2.0")
    clock = ManualClock(NOW)
    settings: dict[str, Any] = {"policy": LENIENT, "sigstore": sigstore, "clock": clock}
    async with Index() as index, run_test_proxy(index, tmp_path, **settings) as proxy:
        document = sigstore.provenance(first.filename, first.sha256, GitHub(), SIGNING_TIME)
        listed = index.add(first, upload_time=SIGNING_TIME, provenance=document)
        assert await proxy.fetch_listed("widget") == {first.filename}
        index.remove(listed)
        index.add(second, **UNSTATED)
        clock.now += timedelta(hours=1)
        (entry,) = (await proxy.fetch_page("widget"))["_withheld"]
        (reason,) = entry["reasons"]
        assert reason["code"] == "provenance-lost"
        assert PROBLEM in reason["message"]
        assert "has no attestation" not in reason["message"]


@pytest.mark.parametrize(("more", "count"), [(UNSTATED, 1), ({}, 0)], ids=["unstated", "twin"])
async def test_the_log_says_it_once_for_each_index(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, more: dict[str, Any], count: int
) -> None:
    caplog.set_level(logging.WARNING, "assay")
    async with Index() as index, run_test_proxy(index, tmp_path, policy=LENIENT) as proxy:
        for name in ("widget", "gadget"):
            index.add(wheel(name, "1.0"), **more)
            assert await proxy.fetch_listed(name)
    found = [record for record in caplog.records if record.getMessage().startswith("provenance-unstated")]
    assert len(found) == count


@pytest.mark.parametrize("policy", [LENIENT, ATTESTED_ONLY_POLICY], ids=["approved", "withheld"])
@pytest.mark.parametrize(("more", "is_unstated"), [(UNSTATED, True), ({}, False)], ids=["unstated", "twin"])
async def test_the_project_page_says_it(tmp_path: Path, policy: str, more: dict[str, Any], is_unstated: bool) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=policy) as proxy:
        index.add(WIDGET, upload_time=SIGNING_TIME, **more)
        shown = (await proxy.get("/project/widget", HTML)).body.decode()
        assert (f"{PROBLEM}.</p>" in shown) == is_unstated
        assert ("No file has an attestation" in shown) == (not is_unstated)


@pytest.mark.parametrize(("more", "is_unstated"), [(UNSTATED, True), ({}, False)], ids=["unstated", "twin"])
async def test_a_request_for_provenance_gets_the_reason(
    tmp_path: Path, more: dict[str, Any], is_unstated: bool
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=LENIENT) as proxy:
        listed = index.add(WIDGET, **more)
        answer = await proxy.get(proxy.provenance_path(listed))
        assert answer.status == 404
        assert (PROBLEM in json.loads(answer.body)["detail"]) == is_unstated


@pytest.mark.parametrize("is_signed", [True, False])
async def test_provenance_from_answers_for_the_index(tmp_path: Path, is_signed: bool) -> None:
    sigstore = PrivateSigstore(seed=1)
    async with Index() as index, Index() as other:
        index.add(WIDGET, upload_time=SIGNING_TIME, **UNSTATED)
        document = sigstore.provenance(WIDGET.filename, WIDGET.sha256, GitHub(), SIGNING_TIME)
        other.add(WIDGET, provenance=document if is_signed else None)
        entry = {"name": "test", "url": index.url, "provenance-from": other.origin}
        configuration = make_configuration(index, tmp_path / "assay", sigstore, indexes=[entry])
        proxied = run_test_proxy(index, tmp_path, policy=ATTESTED_ONLY_POLICY, configuration=configuration)
        async with proxied as proxy:
            page = await proxy.fetch_page("widget")
            assert await proxy.fetch_listed("widget") == ({WIDGET.filename} if is_signed else set())
            messages = [reason["message"] for each in page["_withheld"] for reason in each["reasons"]]
            assert [message.startswith("the file has no attestation") for message in messages] == [True] * (
                not is_signed
            )
