"""Upstream client of one index, with small limits and without delays between attempts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from assay.indexes import IndexSettings
from assay.upstream.client import UpstreamClient
from assay.upstream.credentials import IndexAuthorizations
from tests.world.index.fake_index import Index

SMALL_LIMITS = {
    "page": 100_000,
    "provenance": 1000,
    "timeouts": {"connect": "1 second", "read": "1 second", "total": "2 seconds"},
}


def settings(index: Index, **more: object) -> IndexSettings:
    table: dict[str, Any] = {"name": "test", "url": index.url, "file-hosts": [index.files_host], "limits": SMALL_LIMITS}
    return IndexSettings.model_validate({**table, **more})


@asynccontextmanager
async def upstream(
    index: IndexSettings, *, environ: Mapping[str, str] | None = None, proxies: Mapping[str, str] | None = None
) -> AsyncIterator[UpstreamClient]:
    async def no_pause(_seconds: float) -> None:
        pass

    client = UpstreamClient(
        limits=index.limits,
        authorizations=IndexAuthorizations([index], environ or {}),
        proxies=proxies or {},
        sleep=no_pause,
    )
    await client.start()
    try:
        yield client
    finally:
        await client.close()
