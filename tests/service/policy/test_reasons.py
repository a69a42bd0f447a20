"""One reason has the same text everywhere: reason phrase, problem document, browser, `_withheld`, yank text, log."""

from __future__ import annotations

import html
import logging
from datetime import timedelta
from pathlib import Path
from urllib.parse import urljoin

import pytest

from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import SIMPLE_JSON, run_test_proxy

POLICY = """
version = 1
withheld = "explain"
[defaults]
min-age = "3 days"
[[rules]]
name = "cool <b>down</b>"
projects = ["*"]
"""
MESSAGE = "the file is 24 hours old, but the rule requires 3 days; allowed from 2026-07-03 12:00 UTC"


async def test_the_same_sentence_reaches_every_reader(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY) as proxy:
        listed = index.add(wheel("foo", "1.0"), upload_time="2026-06-30T12:00:00Z")
        path = proxy.files_path(listed)
        problem = await proxy.get(path)
        assert problem.reason == f"withheld, too-young: {MESSAGE} (rule: cool <b>down</b>)"
        document = problem.json()
        assert document["detail"] == MESSAGE
        assert document["reasons"] == [
            {
                "code": "too-young",
                "rule": "cool <b>down</b>",
                "message": MESSAGE,
                "expected": "at least 3 days old",
                "found": "24 hours old",
                "until": "2026-07-03T12:00:00Z",
            }
        ]
        page = await proxy.fetch_page("foo")
        assert page["_withheld"] == [
            {"filename": listed.built.filename, "sha256": listed.built.sha256, "reasons": document["reasons"]}
        ]
        (tombstone,) = page["files"]
        assert tombstone["yanked"] == problem.reason
        assert page["versions"] == ["1.0"]
        browser = (await proxy.get(path, {"Accept": "text/html,*/*;q=0.8"})).body.decode()
        assert MESSAGE in browser
        assert html.escape("cool <b>down</b>") in browser
        assert "<b>" not in browser
        refused = [record for record in caplog.records if record.getMessage() == "file-refused"]
        assert refused
        assert all(record.levelno >= logging.WARNING for record in refused)
        assert MESSAGE in str(getattr(refused[0], "fields", None))


async def test_a_version_with_an_approved_file_has_no_tombstone(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY) as proxy:
        old = index.add(wheel("foo", "1.0"), upload_time="2026-05-30T12:00:00Z")
        index.add(wheel("foo", "1.0", tag="cp311-cp311-any"), upload_time="2026-06-30T12:00:00Z")
        buried = index.add(wheel("foo", "1.1"), upload_time="2026-06-30T12:00:00Z")
        page = await proxy.fetch_page("foo")
        yanked = {entry["filename"]: bool(entry.get("yanked")) for entry in page["files"]}
        assert yanked == {old.built.filename: False, buried.built.filename: True}
        assert page["versions"] == ["1.0", "1.1"], "each version with a listed file (PEP 700)"
        for entry in page["_withheld"]:
            assert entry["reasons"]
        answers = [await proxy.get(f"{proxy.files_path(buried)}{tail}") for tail in ("", ".metadata")]
        assert [answer.status for answer in answers] == [403, 403], "listed as a tombstone, and never served"
        assert (await proxy.get(proxy.files_path(old))).status == 200


async def test_with_stop_a_withheld_version_without_a_lower_approved_one_is_available_and_never_served(
    tmp_path: Path,
) -> None:
    policy = POLICY.replace("explain", "stop")
    async with Index() as index, run_test_proxy(index, tmp_path, policy=policy) as proxy:
        young = "2026-06-30T12:00:00Z"
        lower, upper = (
            index.add(wheel("foo", "1.0"), upload_time=young),
            index.add(wheel("foo", "1.2"), upload_time=young),
        )
        gone = index.add(wheel("foo", "0.9"), upload_time=young, yanked="broken build")
        approved = index.add(wheel("foo", "1.1"), upload_time="2026-05-30T12:00:00Z")
        page = await proxy.fetch_page("foo")
        yanked = {entry["filename"]: entry["yanked"] for entry in page["files"]}
        assert yanked.pop(upper.built.filename).startswith("withheld, too-young: ")
        assert yanked == {
            approved.built.filename: False,
            lower.built.filename: False,
            gone.built.filename: "broken build",
        }
        assert page["versions"] == ["1.0", "1.2", "0.9", "1.1"]
        for entry in page["files"]:
            is_approved = entry["filename"] == approved.built.filename
            path = entry["url"].removeprefix("../..")
            answers = [await proxy.get(path), await proxy.head(path), await proxy.get(path, {"Range": "bytes=0-9"})]
            assert [answer.status for answer in answers] == ([200, 200, 206] if is_approved else [403, 403, 403])
            assert path.endswith("?withheld") == (not is_approved)
            if not is_approved:
                assert answers[0].headers["Content-Type"] == "application/problem+json"
                assert answers[0].reason.startswith("withheld, too-young: ")
        etag = (await proxy.get("/simple/foo/", {"Accept": SIMPLE_JSON})).headers["ETag"]
        again = await proxy.get("/simple/foo/", {"Accept": SIMPLE_JSON, "If-None-Match": etag})
        assert again.status == 304


async def test_a_tombstone_of_a_file_that_is_approved_now_leads_to_the_file_s_own_url(tmp_path: Path) -> None:
    """A client that cached the file under the tombstone's URL would install it without a request if it is revoked."""
    async with Index() as index, run_test_proxy(index, tmp_path, policy=POLICY) as proxy:
        listed = index.add(wheel("foo", "1.0+local"), upload_time="2026-06-30T12:00:00Z")
        (entry,) = (await proxy.fetch_page("foo"))["files"]
        path = entry["url"].removeprefix("../..")
        assert (await proxy.get(path)).status == 403
        proxy.clock.now += timedelta(days=3)
        for answer in (await proxy.get(path), await proxy.head(path), await proxy.get(path, {"Range": "bytes=0-9"})):
            assert (answer.status, answer.headers["Cache-Control"], answer.body) == (307, "no-store", b"")
            assert urljoin(path, answer.headers["Location"]) == path.removesuffix("?withheld")
        served = await proxy.get(path.removesuffix("?withheld"))
        assert (served.status, served.body) == (200, listed.built.content)
        assert "immutable" in served.headers["Cache-Control"]


async def test_every_use_of_an_exception_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "assay")
    async with Index() as index:
        names = ("pinned", "waived", "audited", "plain")
        files = {name: index.add(wheel(name, "1.0"), upload_time="2026-06-30T12:00:00Z") for name in names}
        policy = f"""
            version = 1
            [[rules]]
            name = "a pin"
            projects = ["pinned"]
            pins = ["{files["pinned"].built.sha256}"]
            [[rules]]
            name = "by audit"
            projects = ["audited"]
            min-age = "3 days"
            mode = "audit"
            [[rules]]
            name = "by waiver"
            projects = ["waived"]
            min-age = "3 days"
            [[rules]]
            name = "nothing special"
            projects = ["*"]
            [[waivers]]
            projects = ["waived"]
            sha256 = ["{files["waived"].built.sha256}"]
            lifts = ["min-age"]
            expires = 2026-12-31
            reason = "needed today"
            """
        async with run_test_proxy(index, tmp_path, policy=policy) as proxy:
            for _ in range(2):
                for listed in files.values():
                    assert (await proxy.get(proxy.files_path(listed))).status == 200
    told = [getattr(record, "fields", {}) for record in caplog.records if record.getMessage() == "file-exempted"]
    assert [entry["rule"] for entry in told] == ["a pin", "by waiver", "by audit"] * 2
    assert [entry["despite"] for entry in told[:3]] == [[], ["too-young"], ["too-young"]]
    assert any("needed today" in note for note in told[1]["notes"])
