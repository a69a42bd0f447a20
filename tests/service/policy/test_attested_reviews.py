"""Reviews that `assay attest` writes, in a running proxy whose policy requires them, from the key to the approval."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from assay.cli import run
from tests.service.provenance.test_files import FAST, reviews, seen
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.loggers import preserve_loggers
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy
from tests.world.sigstore.private_sigstore import SIGNING_TIME, PrivateSigstore
from tests.world.sigstore.review_keys import SUPPORTED_KINDS, write_key

__all__ = ["reviews"]

REVIEW = "https://acme.example/review/v1"
WIDGET = wheel("widget", "1.0")
POLICY = f"""
version = 1
[defaults]
min-age = "0 days"
[[rules]]
name = "reviewed"
projects = ["*"]
countersigned = [{{ key = "security", predicate = "{REVIEW}", where = {{ verdict = "ok" }} }}]
"""


async def attest(directory: Path, key: Path, verdict: str = "ok", kind: str = REVIEW) -> None:
    """Attest the wheel, which is written to the directory first."""
    (directory / WIDGET.filename).write_bytes(WIDGET.content)
    (directory / "predicate.json").write_text(f'{{"verdict": "{verdict}"}}')
    command = ["attest", str(directory / WIDGET.filename), "--predicate-type", kind, "--key", str(key)]
    command += ["--predicate", str(directory / "predicate.json"), "-o", str(directory / "reviews")]
    with preserve_loggers():
        assert await asyncio.to_thread(run, command) == 0


@asynccontextmanager
async def reviewed(reviews: Path) -> AsyncIterator[tuple[RunningProxy, ListedFile]]:
    """Yield a proxy that trusts ``security.pub``, and the file of its only project."""
    directory = reviews.parent
    async with Index() as index:
        listed = index.add(WIDGET, upload_time=SIGNING_TIME)
        (directory / "root.json").write_bytes(PrivateSigstore(seed=1).trusted_root())
        configuration = make_configuration(
            index,
            directory / "assay",
            evidence=[{"name": "reviews", "kind": "files", "path": str(reviews)}],
            trust={
                "root": str(directory / "root.json"),
                "refresh": False,
                "keys": {"security": {"path": str(directory / "security.pub")}},
            },
        )
        async with run_test_proxy(index, directory, policy=POLICY, configuration=configuration, tuning=FAST) as proxy:
            yield proxy, listed


@pytest.mark.parametrize("kind", SUPPORTED_KINDS)
async def test_a_file_is_withheld_until_it_is_attested_and_again_after_another_verdict(
    reviews: Path, kind: str
) -> None:
    key = write_key(reviews.parent, "security", kind)
    async with reviewed(reviews) as (proxy, listed):
        assert await proxy.fetch_withheld("widget") == {WIDGET.filename: ["countersigned"]}
        async with seen(proxy, reviews):
            await attest(reviews.parent, key)
        assert await proxy.fetch_listed("widget") == {WIDGET.filename}
        assert (await proxy.get(proxy.files_path(listed))).status == 200
        async with seen(proxy, reviews):
            await attest(reviews.parent, key, verdict="bad")
        assert await proxy.fetch_withheld("widget") == {WIDGET.filename: ["countersigned"]}


async def test_statements_by_another_key_or_of_another_type_do_not_approve(reviews: Path) -> None:
    key, other = write_key(reviews.parent, "security"), write_key(reviews.parent, "other")
    async with reviewed(reviews) as (proxy, _):
        async with seen(proxy, reviews):
            await attest(reviews.parent, other)
        assert await proxy.fetch_withheld("widget") == {WIDGET.filename: ["countersigned"]}
        async with seen(proxy, reviews):
            await attest(reviews.parent, key, kind="https://acme.example/scan/v1")
        assert await proxy.fetch_withheld("widget") == {WIDGET.filename: ["countersigned"]}
        async with seen(proxy, reviews):
            await attest(reviews.parent, key)
        assert await proxy.fetch_listed("widget") == {WIDGET.filename}
