"""One reason, the same words wherever somebody meets it: phrase, problem document, browser, `_withheld`, yank, log."""

from __future__ import annotations

import html
import logging
from pathlib import Path

import pytest

from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import run_test_proxy

POLICY = """
version = 1
withheld = "explain"
[defaults]
min-age = "3 days"
[[rules]]
name = "cool <b>down</b>"
projects = ["*"]
"""
MESSAGE = "it is 24 hours old, the rule asks for 3 days: allowed from 2026-07-03 12:00 UTC"


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
        assert page["versions"] == [], "a tombstone is no version that can be had"
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
        assert page["versions"] == ["1.0"]
        for entry in page["_withheld"]:
            assert entry["reasons"]
        answers = [await proxy.get(f"{proxy.files_path(buried)}{tail}") for tail in ("", ".metadata")]
        assert [answer.status for answer in answers] == [403, 403], "listed as a tombstone, and never served"
        assert (await proxy.get(proxy.files_path(old))).status == 200


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
    told = [getattr(record, "fields", {}) for record in caplog.records if record.getMessage() == "file-excepted"]
    assert [entry["rule"] for entry in told] == ["a pin", "by waiver", "by audit"] * 2
    assert [entry["despite"] for entry in told[:3]] == [[], ["too-young"], ["too-young"]]
    assert any("needed today" in note for note in told[1]["notes"])
