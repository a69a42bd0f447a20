"""Tests of the process that renews or verifies a trust root: its responses, and the root in force after a failure."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer

from assay.attestation.pool import processes
from assay.attestation.renewal.tuf_client import SubprocessRefresher, create_subprocess_refreshers
from assay.attestation.trust_roots import TrustRoot
from tests.world.sigstore.private_sigstore import PrivateSigstore
from tests.world.sigstore.tuf_repository import TufRepository


@asynccontextmanager
async def published(repository: TufRepository) -> AsyncIterator[str]:
    """TUF repository that is served over HTTP on the loopback interface."""

    async def answer(request: web.BaseRequest) -> web.Response:
        content = repository.files.get(f"{repository.URL}{request.path}")
        return web.Response(status=404) if content is None or repository.down else web.Response(body=content)

    async with RawTestServer(answer) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.fixture(scope="module")
def content() -> bytes:
    return PrivateSigstore(seed=1).trusted_root()


def told(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records]


async def test_a_root_is_renewed_and_proven_again_without_the_network(tmp_path: Path, content: bytes) -> None:
    repository = TufRepository(content)
    root = TrustRoot(name="sigstore", content=b"{}", issuers=frozenset({"https://issuer.example"}))
    async with published(repository) as url:
        renewer = SubprocessRefresher(name="sigstore", directory=tmp_path / "tuf", url=url, anchor=repository.anchor)
        assert await renewer.load_last_good() is None
        renewed = await renewer.refresh(root)
    assert renewed is not None
    assert (renewed.content, renewed.issuers, renewed.source) == (content, root.issuers, url)
    assert datetime.now(UTC) - renewed.obtained < timedelta(minutes=1)
    proven = await renewer.load_last_good()
    assert proven is not None
    assert (proven.name, proven.content) == ("sigstore", content)
    assert abs(proven.obtained - renewed.obtained) < timedelta(minutes=1)


async def test_a_repository_that_is_down_or_forged_renews_nothing(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    repository, stranger = TufRepository(content), TufRepository(content)
    root = TrustRoot(name="sigstore", content=b"{}")
    async with published(repository) as url:
        renewer = SubprocessRefresher(name="sigstore", directory=tmp_path / "tuf", url=url, anchor=stranger.anchor)
        assert await renewer.refresh(root) is None
        repository.down = True
        renewer = SubprocessRefresher(name="sigstore", directory=tmp_path / "tuf", url=url, anchor=repository.anchor)
        assert await renewer.refresh(root) is None
    assert told(caplog).count("trust-root-renewal-failed") == 2


async def test_a_stored_root_that_was_edited_is_not_taken(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    repository = TufRepository(content)
    async with published(repository) as url:
        renewer = SubprocessRefresher(name="sigstore", directory=tmp_path / "tuf", url=url, anchor=repository.anchor)
        assert await renewer.refresh(TrustRoot(name="sigstore", content=b"{}")) is not None
    stored = tmp_path / "tuf" / "trusted_root.json"
    stored.write_bytes(stored.read_bytes().replace(b"2", b"3", 1))
    assert await renewer.load_last_good() is None
    assert "trust-root-unverified" in told(caplog)


@pytest.mark.parametrize("boot", ["raise SystemExit(3)", "print('no json')", "import os; os.kill(os.getpid(), 9)"])
async def test_a_process_that_gives_no_answer_is_a_failure_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, boot: str
) -> None:
    bootstrap = tmp_path / "bootstrap.py"
    bootstrap.write_text(boot)
    renewer = SubprocessRefresher(name="sigstore", directory=tmp_path, url="http://127.0.0.1:9", bootstrap=bootstrap)
    assert await renewer.refresh(TrustRoot(name="sigstore", content=b"{}")) is None
    assert await renewer.load_last_good() is None
    assert told(caplog) == ["trust-root-renewal-failed", "trust-root-unverified"]


async def test_where_nothing_was_renewed_no_process_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(_module: str) -> None:
        raise AssertionError("a process for nothing")

    monkeypatch.setattr(processes, "spawn_process", refused)
    (renewer,) = create_subprocess_refreshers(["sigstore", "default"], tmp_path)
    assert (renewer.name, renewer.directory) == ("sigstore", tmp_path / "trust" / "sigstore")
    assert await renewer.load_last_good() is None
