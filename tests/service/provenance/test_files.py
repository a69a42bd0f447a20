"""Tests of a running proxy whose evidence comes from a directory of Sigstore bundles."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from assay.assembly import Tuning
from assay.errors import ConfigurationError
from assay.provenance.sources.files import FilesSource
from assay.provenance.sources.settings import FilesSourceSettings
from tests.world.index.distributions import BuiltDistribution, wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy
from tests.world.sigstore.bundles import make_bundle
from tests.world.sigstore.private_sigstore import SIGNING_TIME, GitHub, PrivateSigstore

SIGSTORE = PrivateSigstore(seed=1)
ACME = GitHub(repository="acme/widget")
POLICY = """
version = 1
[defaults]
min-age = "0 days"
[[rules]]
name = "signed by acme"
projects = ["*"]
publishers = [{ kind = "GitHub", repository = "acme/*" }]
"""
FAST = Tuning(evidence_poll_seconds=0.02)


def bundle(built: BuiltDistribution, signer: GitHub = ACME, **changes: Any) -> str:
    return json.dumps(make_bundle(SIGSTORE.attestation(built.filename, built.sha256, signer, **changes)))


@asynccontextmanager
async def run_proxy(index: Index, reviews: Path, policy: str = POLICY) -> AsyncIterator[RunningProxy]:
    evidence = [{"name": "reviews", "kind": "files", "path": str(reviews)}]
    configuration = make_configuration(index, reviews.parent / "assay", SIGSTORE, evidence=evidence)
    async with run_test_proxy(index, reviews.parent, policy=policy, configuration=configuration, tuning=FAST) as proxy:
        yield proxy


@asynccontextmanager
async def seen(proxy: RunningProxy, reviews: Path) -> AsyncIterator[None]:
    """Wait at the end until the proxy has seen all changes that were made in the context."""
    resolver = proxy.assembly.gate.resources.provenance.resolver
    before = resolver.local_version
    yield
    expected = FilesSource(FilesSourceSettings(name="reviews", kind="files", path=reviews))
    await expected.refresh()
    assert expected.version != before
    async with asyncio.timeout(10):
        while resolver.local_version != expected.version:  # noqa: ASYNC110 - the source reports no event
            await asyncio.sleep(0.005)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}")
    partial.write_text(text)
    partial.replace(path)


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    directory = tmp_path / "reviews"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("form", ["{}.jsonl", "{}/ours.json"])
async def test_a_bundle_approves_its_file_while_it_is_in_the_directory(reviews: Path, form: str) -> None:
    first, second = wheel("widget", "1.0"), wheel("widget", "2.0")
    place = reviews / form.format(first.sha256)
    async with Index() as index:
        listed = [index.add(each, upload_time=SIGNING_TIME) for each in (first, second)]
        write(place, bundle(first))
        async with run_proxy(index, reviews) as proxy:
            assert await proxy.fetch_listed("widget") == {first.filename}
            assert await proxy.fetch_withheld("widget") == {second.filename: ["unattested"]}
            page = await proxy.fetch_page("widget")
            assert "reviews" in page["_withheld"][0]["reasons"][0]["message"]
            async with seen(proxy, reviews):
                place.unlink()
                write(reviews / form.format(second.sha256), bundle(second))
            assert await proxy.fetch_listed("widget") == {second.filename}
            assert (await proxy.get(proxy.files_path(listed[0]))).status == 403
            assert (await proxy.get(proxy.files_path(listed[1]))).status == 200


async def test_a_line_that_does_not_count_does_not_affect_the_others(
    reviews: Path, caplog: pytest.LogCaptureFixture
) -> None:
    built = wheel("widget", "1.0")
    other = bundle(wheel("widget", "9.9"))
    async with Index() as index:
        index.add(built, upload_time=SIGNING_TIME)
        write(reviews / f"{built.sha256}.jsonl", f"{{broken\n\n{other}\n{bundle(built)}\n[]\n")
        (reviews / "README").write_text("ours")
        async with run_proxy(index, reviews) as proxy:
            assert await proxy.fetch_listed("widget") == {built.filename}
            events = [record.getMessage() for record in caplog.records]
            assert events.count("evidence-file-invalid") == 1
            assert events.count("bundle-rejected") == 2, "another digest, and no bundle at all"
            async with seen(proxy, reviews):
                write(reviews / f"{built.sha256}.jsonl", f"{{broken\n\n{other}\n[]\n")
            assert await proxy.fetch_withheld("widget") == {built.filename: ["unattested"]}


async def test_a_file_without_publisher_proof_in_the_directory_is_withheld(reviews: Path) -> None:
    built = wheel("widget", "1.0")
    async with Index() as index:
        index.add(built, upload_time=SIGNING_TIME)
        write(reviews / f"{built.sha256}.jsonl", bundle(built, GitHub(repository="evil/widget")))
        async with run_proxy(index, reviews) as proxy:
            assert await proxy.fetch_withheld("widget") == {built.filename: ["publisher"]}
            async with seen(proxy, reviews):
                write(reviews / f"{built.sha256}" / "good.json", bundle(built))
            assert await proxy.fetch_listed("widget") == {built.filename}


async def test_a_directory_that_cannot_be_read_affects_only_the_files_that_need_it(reviews: Path) -> None:
    own, foreign = wheel("widget", "1.0"), wheel("widget", "2.0")
    async with Index() as index:
        listed = index.add(
            own, upload_time=SIGNING_TIME, provenance=SIGSTORE.provenance(own.filename, own.sha256, ACME)
        )
        needing = index.add(foreign, upload_time=SIGNING_TIME)
        write(reviews / f"{foreign.sha256}.jsonl", bundle(foreign))
        async with run_proxy(index, reviews) as proxy:
            async with seen(proxy, reviews):
                os.rename(reviews, reviews.parent / "away")  # noqa: PTH104 - atomic, like an unmount
            assert (await proxy.get(proxy.files_path(listed))).status == 200
            answer = await proxy.get(proxy.files_path(needing))
            assert (answer.status, b"reviews" in answer.body) == (424, True)
            async with seen(proxy, reviews):
                os.rename(reviews.parent / "away", reviews)  # noqa: PTH104
            assert (await proxy.get(proxy.files_path(needing))).status == 200


@pytest.mark.parametrize("fault", ["broken link", "FIFO", "directory", "broken link in a directory", "endless link"])
async def test_what_cannot_be_read_about_one_file_affects_that_file_alone(reviews: Path, fault: str) -> None:
    good, bad = wheel("widget", "1.0"), wheel("widget", "2.0")
    async with Index() as index:
        listed = [index.add(each, upload_time=SIGNING_TIME) for each in (good, bad)]
        write(reviews / f"{good.sha256}.jsonl", bundle(good))
        write(reviews / bad.sha256 / "good.json", bundle(bad))
        place = reviews / f"{bad.sha256}.jsonl"
        match fault:
            case "broken link":
                place.symlink_to("missing")
            case "FIFO":
                os.mkfifo(place)
            case "directory":
                place.mkdir()
            case "endless link":
                place.symlink_to(place.name)  # a loop; permissions do not stop root
            case _:
                place = reviews / bad.sha256 / "more.json"
                place.symlink_to("missing")
        async with run_proxy(index, reviews) as proxy:
            statuses = [(await proxy.get(proxy.files_path(each))).status for each in listed]
            assert statuses == [200, 424], "the unreadable bundle could say otherwise"
            async with seen(proxy, reviews):
                place.rmdir() if fault == "directory" else place.unlink()
            assert (await proxy.get(proxy.files_path(listed[1]))).status == 200


@pytest.mark.parametrize(
    "line",
    ['{"a": NaN}', '{"a": 1e999}', '{"a": 1, "a": 2}', "[" * 40 + "]" * 40, "{}, {}", '"\\ud800"'],
    ids=lambda line: line[:9],
)
async def test_a_line_that_verification_cannot_read_leaves_the_others(
    reviews: Path, caplog: pytest.LogCaptureFixture, line: str
) -> None:
    built = wheel("widget", "1.0")
    async with Index() as index:
        index.add(built, upload_time=SIGNING_TIME)
        write(reviews / f"{built.sha256}.jsonl", f"{bundle(built)}\n{line}\n")
        async with run_proxy(index, reviews) as proxy:
            assert await proxy.fetch_listed("widget") == {built.filename}
    assert [record.getMessage() for record in caplog.records].count("evidence-file-invalid") == 1


@pytest.mark.parametrize(("encoding", "counts"), [("utf-8", True), ("utf-8-sig", True), ("utf-16", False)])
async def test_a_bundle_in_another_encoding_leaves_the_others(reviews: Path, encoding: str, counts: bool) -> None:
    first, second = wheel("widget", "1.0"), wheel("widget", "2.0")
    async with Index() as index:
        for each in (first, second):
            index.add(each, upload_time=SIGNING_TIME)
            (reviews / each.sha256).mkdir()
        write(reviews / first.sha256 / "good.json", bundle(first))
        (reviews / first.sha256 / "other.json").write_bytes(bundle(first).encode(encoding))
        (reviews / second.sha256 / "other.json").write_bytes(bundle(second).encode(encoding))
        async with run_proxy(index, reviews) as proxy:
            expected = {first.filename, second.filename} if counts else {first.filename}
            assert await proxy.fetch_listed("widget") == expected


async def test_a_missing_directory_is_an_error_at_start(tmp_path: Path) -> None:
    async with Index() as index:
        with pytest.raises(ConfigurationError, match=r"evidence reviews: .*missing: cannot be read"):
            async with run_proxy(index, tmp_path / "missing"):
                pass


async def test_a_rule_for_other_sources_does_not_use_the_directory(reviews: Path) -> None:
    built = wheel("widget", "1.0")
    async with Index() as index:
        index.add(built, upload_time=SIGNING_TIME)
        write(reviews / f"{built.sha256}.jsonl", bundle(built))
        async with run_proxy(index, reviews, f'{POLICY}evidence = ["index"]\n') as proxy:
            assert await proxy.fetch_withheld("widget") == {built.filename: ["unattested"]}
