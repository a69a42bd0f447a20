"""Policy reload in a running proxy: a valid file applies at once, an invalid one is refused and logged."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from assay.policy.language.document import load_policy
from assay.policy.language.values import KnownNames
from assay.policy_reload import POLLS_PER_REMINDER, PolicyWatch, warn_of_expiring_waivers
from assay.provenance.documents import document_key, hash_document
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy, run_test_proxy
from tests.world.sigstore.private_sigstore import SIGNING_TIME, PrivateSigstore

OPEN = 'version = 1\n[[rules]]\nname = "open"\nprojects = ["*"]\n'
CLOSED = 'version = 1\n[[rules]]\nname = "closed"\nprojects = ["*"]\ndeny = "nothing today"\n'
KNOWN = KnownNames(indexes=frozenset({"test"}), trust_roots=frozenset({"default"}))


def watched(proxy: RunningProxy, path: Path) -> PolicyWatch:
    return PolicyWatch(path, proxy.assembly.gate, known=KNOWN, settle_seconds=0)


def told(caplog: pytest.LogCaptureFixture, name: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.getMessage() == name]


async def test_the_next_request_after_a_good_policy_obeys_it_cached_copies_included(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(OPEN)
    async with Index() as index, run_test_proxy(index, tmp_path, policy=OPEN) as proxy:
        listed = index.add(wheel("foo", "1.0"))
        watch = watched(proxy, policy)
        assert not await watch.reload_if_changed(), "the policy it began with is no news"
        assert (await proxy.get(proxy.files_path(listed))).status == 200
        policy.write_text(CLOSED)
        assert await watch.reload_if_changed()
        assert (await proxy.get(proxy.files_path(listed))).status == 403
        assert await proxy.fetch_listed("foo") == set()
        policy.write_text(OPEN)
        assert await watch.reload_if_changed()
        assert await proxy.fetch_listed("foo") == {listed.built.filename}
        assert index.count(index.page_path("foo")) == 1, "a reload judges anew; it fetches nothing"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_text("version = 1\n[[rules]]\nprojcts = []\n"), "projects"),
        (lambda path: path.write_text('version = 1\n[[rules]\nname = "x'), "expected valid TOML"),
        (
            lambda path: path.write_text(OPEN + 'min-age = "3000000 days"\n'),
            "policy.toml:5: rules[0].min-age: expected a",
        ),
        (
            lambda path: path.write_text(OPEN + 'ratchet-settle = "999999999 weeks"\n'),
            "rules[0].ratchet-settle: expected",
        ),
        (
            lambda path: path.write_text(OPEN + "uploaded-before = 9999-12-31T23:59:59-05:00\n"),
            "rules[0].uploaded-before",
        ),
        (lambda path: path.write_text(OPEN + 'indexes = ["internal"]\n'), "indexes[0]: expected one of 'test', as in"),
        (lambda path: path.write_text(OPEN + 'trust = ["acme"]\n'), "trust[0]: expected one of"),
        (lambda path: path.write_text(OPEN.replace("= 1", "= true")), "version: expected 1, found true"),
        (lambda path: path.write_text(""), "version"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "not UTF-8"),
        (lambda path: path.write_bytes(b"#" * (16 * 2**20 + 1)), "larger"),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
    ],
    ids=[
        *("wrong key", "no TOML", "long", "longer", "late", "unknown index", "unknown root", "true", "empty"),
        "no text",
        "huge",
        "gone",
        "a directory",
    ],
)
async def test_a_bad_policy_is_refused_loudly_and_the_old_one_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], object], said: str
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(CLOSED)
    async with Index() as index, run_test_proxy(index, tmp_path, policy=CLOSED) as proxy:
        index.add(wheel("foo", "1.0"))
        watch = watched(proxy, policy)
        before = proxy.assembly.gate.policy
        spoil(policy)
        assert not await watch.reload_if_changed()
        assert proxy.assembly.gate.policy is before
        assert watch.rejection is not None
        assert said in watch.rejection
        assert len(told(caplog, "policy-invalid")) == 1
        for _ in range(POLLS_PER_REMINDER - 1):
            await watch.reload_if_changed()
        assert len(told(caplog, "policy-invalid")) == 1
        await watch.reload_if_changed()
        assert len(told(caplog, "policy-invalid")) == 2, "as long as it stands there, it is told again"
        assert await proxy.fetch_withheld("foo") == {"foo-1.0-py3-none-any.whl": ["denied"]}
        if policy.is_dir():
            policy.rmdir()
        policy.write_text(OPEN)
        assert await watch.reload_if_changed()
        assert watch.rejection is None


async def test_a_policy_that_comes_back_as_it_was_is_no_longer_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(CLOSED)
    async with Index() as index, run_test_proxy(index, tmp_path, policy=CLOSED) as proxy:
        watch = watched(proxy, policy)
        assert not await watch.reload_if_changed()
        policy.unlink()
        assert not await watch.reload_if_changed()
        assert watch.rejection is not None
        policy.write_text(CLOSED)
        assert not await watch.reload_if_changed(), "it is in force already"
        assert watch.rejection is None
        for _ in range(POLLS_PER_REMINDER + 1):
            await watch.reload_if_changed()
        assert len(told(caplog, "policy-invalid")) == 1


async def test_the_swap_of_a_config_map_is_seen(tmp_path: Path) -> None:
    """Update a ConfigMap as Kubernetes does: rename a link to the new directory over ``..data``."""
    mount = tmp_path / "mount"
    for name, text in (("..2026_1", OPEN), ("..2026_2", CLOSED)):
        (mount / name).mkdir(parents=True)
        (mount / name / "policy.toml").write_text(text)
    (mount / "..data").symlink_to("..2026_1")
    (mount / "policy.toml").symlink_to("..data/policy.toml")
    async with Index() as index, run_test_proxy(index, tmp_path, policy=OPEN) as proxy:
        index.add(wheel("foo", "1.0"))
        watch = watched(proxy, mount / "policy.toml")
        assert not await watch.reload_if_changed()
        (mount / "..data_tmp").symlink_to("..2026_2")
        (mount / "..data_tmp").rename(mount / "..data")
        assert await watch.reload_if_changed()
        assert await proxy.fetch_listed("foo") == set()


async def test_a_file_that_is_still_being_written_is_not_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A truncated policy can be valid TOML: here the part without its revocation."""
    policy = tmp_path / "policy.toml"
    whole = OPEN + '[[revocations]]\nprojects = ["foo"]\nreason = "stolen"\n'
    policy.write_text(OPEN)
    reads = iter([OPEN + "\n", whole, whole, whole])
    async with Index() as index, run_test_proxy(index, tmp_path, policy=CLOSED) as proxy:
        watch = watched(proxy, policy)
        monkeypatch.setattr("assay.file_watch.read_file", lambda _path: next(reads).encode())
        assert not await watch.reload_if_changed()
        assert proxy.assembly.gate.policy == load_policy(CLOSED, "closed")
        assert await watch.reload_if_changed()
        assert proxy.assembly.gate.policy == load_policy(whole, "whole")


async def test_who_asks_after_a_reload_is_not_answered_by_a_page_begun_before_it(tmp_path: Path) -> None:
    sigstore = PrivateSigstore()
    async with Index() as index, run_test_proxy(index, tmp_path, policy=OPEN, sigstore=sigstore) as proxy:
        built = wheel("foo", "1.0")
        listed = index.add(built, provenance=sigstore.provenance(built.filename, built.sha256))
        stall = index.stall(listed.provenance_path)
        early = asyncio.create_task(proxy.fetch_listed("foo"))
        await stall.reached.wait()
        proxy.assembly.gate.policy = load_policy(CLOSED, "closed")
        late = asyncio.create_task(proxy.fetch_listed("foo"))
        stall.release.set()
        assert await late == set()
        assert await early == set(), "it had no answer yet when the policy changed"


@pytest.mark.parametrize("what", ["metadata", "provenance"])
async def test_what_is_fetched_while_a_reload_withholds_its_file_is_not_served(tmp_path: Path, what: str) -> None:
    sigstore = PrivateSigstore()
    async with Index() as index, run_test_proxy(index, tmp_path, policy=OPEN, sigstore=sigstore) as proxy:
        answers, stalls = [], []
        for name in ("gone", "kept"):
            built = wheel(name, "1.0")
            document = sigstore.provenance(built.filename, built.sha256, when=SIGNING_TIME)
            listed = index.add(built, upload_time=SIGNING_TIME, provenance=document)
            assert await proxy.fetch_listed(name) == {built.filename}
            path = {"metadata": f"{proxy.files_path(listed)}.metadata", "provenance": listed.provenance_path}[what]
            # Simulate eviction from the records.
            await proxy.assembly.store.records.delete(document_key(hash_document(document)))
            stalls.append(index.stall({"metadata": listed.metadata_path, "provenance": listed.provenance_path}[what]))
            answers.append(asyncio.create_task(proxy.get(path)))
            await stalls[-1].reached.wait()
        proxy.assembly.gate.policy = load_policy(OPEN.replace('["*"]', '["kept"]'), "kept only")
        for stall in stalls:
            stall.release.set()
        assert [(await answer).status for answer in answers] == [403, 200]


async def test_a_download_under_way_ends_without_its_tail_when_a_reload_withholds_it(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=OPEN) as proxy:
        cut, kept = (index.add(wheel(name, "1.0", padding=300_000)) for name in ("cut", "kept"))
        stalls = [index.stall(listed.path, after=200_000) for listed in (cut, kept)]
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{proxy.origin}{proxy.files_path(cut)}") as first,
            session.get(f"{proxy.origin}{proxy.files_path(kept)}") as second,
        ):
            # Both responses have begun; earlier, a change of the policy would lead to 403 with the reason.
            begun = [await each.content.readany() for each in (first, second)]
            assert all(begun)
            assert (first.status, second.status) == (200, 200)
            proxy.assembly.gate.policy = load_policy(OPEN.replace('["*"]', '["kept"]'), "kept only")
            for stall in stalls:
                stall.release.set()
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await first.read()
            assert begun[1] + await second.read() == kept.built.content


def test_waivers_that_end_are_told_before_a_build_fails(caplog: pytest.LogCaptureFixture) -> None:
    waiver = """
        [[waivers]]
        projects = ["foo"]
        uploaded-before = 2020-01-01
        lifts = ["yanked"]
        expires = {0}
        reason = "until {0}"
        """
    ends = ("2026-06-30", "2026-07-05", "2026-12-31")
    ignored = '[[ignored-advisories]]\nid = "MAL-1"\nreason = "wrong"\nexpires = {0}\n'
    more = "".join((*map(waiver.format, ends), ignored.format("2026-07-01"), ignored.format("2026-12-31")))
    policy = load_policy(OPEN + more, "policy.toml")
    warn_of_expiring_waivers(policy, datetime(2026, 7, 1, 12, tzinfo=UTC))
    assert [(record.getMessage(), getattr(record, "fields", {})["waiver"]) for record in caplog.records] == [
        (
            "waiver-expired",
            "waivers[0]: until 2026-06-30: expired on 2026-07-01 00:00 UTC and has no effect; remove it",
        ),
        ("waiver-ends-soon", "ignored-advisories[0]: MAL-1: expires on 2026-07-02 00:00 UTC"),
        ("waiver-ends-soon", "waivers[1]: until 2026-07-05: expires on 2026-07-06 00:00 UTC"),
    ]


async def test_the_command_obeys_a_changed_file_and_survives_a_bad_one_and_sighup(tmp_path: Path) -> None:
    policy, configuration = tmp_path / "policy.toml", tmp_path / "proxy.toml"
    policy.write_text(OPEN)
    async with Index() as index, aiohttp.ClientSession() as session:
        listed = index.add(wheel("foo", "1.0"))
        configuration.write_text(
            f'policy = "policy.toml"\n[server]\nport = 0\n[storage]\ndirectory = "store"\n[trust]\nrefresh = false\n'
            f'[verification]\nworkers = 0\n[[indexes]]\nname = "test"\nurl = "{index.url}"\n'
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "assay", "serve", "--config", str(configuration), "--log", "json",
            stderr=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert process.stderr is not None
        try:
            address = json.loads(await _event(process.stderr, "listening"))["index"].removesuffix("/simple/")

            async def status() -> int:
                async with session.get(address + RunningProxy.files_path(listed)) as response:
                    await response.read()
                    return response.status

            assert await status() == 200
            policy.write_text(f'{OPEN}[[revocations]]\nprojects = ["foo"]\nreason = "INC-1234"\n')
            assert b'"before"' in await _event(process.stderr, "policy-reloaded")
            assert await status() == 403, "the cached copy too"
            policy.write_text("version = 2")
            assert b"version" in await _event(process.stderr, "policy-invalid")
            assert await status() == 403
            process.send_signal(signal.SIGHUP)
            await _event(process.stderr, "policy-invalid")
            policy.write_text(OPEN)
            process.send_signal(signal.SIGHUP)
            await _event(process.stderr, "policy-reloaded")
            assert await status() == 200
            process.send_signal(signal.SIGHUP)
            await _event(process.stderr, "policy-unchanged")
        finally:
            process.terminate()
            await process.communicate()
        assert process.returncode == 0


async def _event(log: asyncio.StreamReader, name: str) -> bytes:
    while line := await log.readline():
        if f'"event": "{name}"'.encode() in line:
            return line
    raise AssertionError(f"the proxy ended without saying {name}")
