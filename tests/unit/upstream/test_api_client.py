"""Requests to an API that is not an index."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from assay.errors import DisallowedHostError, InvalidResponseError, UpstreamTimeoutError, UpstreamUnavailableError
from assay.ports import ApiResponse
from assay.upstream.api_client import UpstreamApiClient
from tests.unit.upstream.limited_client import settings, upstream
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import CannedResponse, Hang, Redirect, Refuse, Reply, Reset

LIMITS: dict[str, Any] = {"headers": {"X-Version": "1"}, "max_bytes": 1000, "max_seconds": 1.0}


@asynccontextmanager
async def api(index: Index, **keys: object) -> AsyncIterator[UpstreamApiClient]:
    chosen = settings(index, **keys)
    async with upstream(chosen, environ={"TOKEN": "secret"}) as client:
        yield UpstreamApiClient(client, chosen)


async def test_the_response_has_status_fields_and_body() -> None:
    async with Index() as index, api(index) as client:
        index.serve_fixed("/a", CannedResponse(body=b"{}", headers={"X-RateLimit-Remaining": "7"}))
        response = await client.request(f"{index.origin}/a", **LIMITS)
        assert (response.status, response.body, response.headers["x-ratelimit-remaining"]) == (200, b"{}", "7")
        assert index.requests[0].headers["x-version"] == "1"
        assert index.requests[0].method == "GET"


async def test_a_body_is_posted() -> None:
    async with Index() as index, api(index) as client:
        index.serve_fixed("/a", CannedResponse(body=b"{}"))
        await client.request(f"{index.origin}/a", body=json.dumps({"a": 1}).encode(), **LIMITS)
        assert (index.requests[0].method, index.requests[0].body) == ("POST", b'{"a": 1}')


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_an_error_status_is_returned_without_its_body_and_not_repeated(status: int) -> None:
    async with Index() as index, api(index) as client:
        index.inject_fault("/a", Reply(status, body=b"x" * 5000, headers={"Retry-After": "9"}), times=None)
        expected = ApiResponse(status=status, headers={"retry-after": "9", "content-length": "5000"}, body=b"")
        response = await client.request(f"{index.origin}/a", **LIMITS)
        assert (response.status, response.body, response.headers["retry-after"]) == (status, expected.body, "9")
        assert len(index.requests) == 1


async def test_a_response_above_the_limit_is_refused() -> None:
    async with Index() as index, api(index) as client:
        packed = CannedResponse(body=gzip.compress(b"a" * 1001), headers={"Content-Encoding": "gzip"})
        index.serve_fixed("/large", packed)
        index.serve_fixed("/fits", CannedResponse(body=b"a" * 1000))
        with pytest.raises(InvalidResponseError, match="larger than 1000 bytes"):
            await client.request(f"{index.origin}/large", **LIMITS)
        assert len((await client.request(f"{index.origin}/fits", **LIMITS)).body) == 1000


@pytest.mark.parametrize(
    ("fault", "expected"),
    [(Refuse(), UpstreamUnavailableError), (Reset(5), UpstreamUnavailableError), (Hang(), UpstreamTimeoutError)],
)
async def test_a_broken_connection_is_a_temporary_failure(fault: Any, expected: type[Exception]) -> None:
    async with Index() as index, api(index) as client:
        index.serve_fixed("/a", CannedResponse(body=b"{}" * 10))
        index.inject_fault("/a", fault, times=None)
        with pytest.raises(expected):
            await client.request(f"{index.origin}/a", headers={}, max_bytes=1000, max_seconds=0.2)


async def test_only_permitted_hosts_are_contacted_and_only_the_api_gets_the_token() -> None:
    async with (
        Index(separate_files=True) as index,
        api(index, credentials={"token-env": "TOKEN"}) as client,
    ):
        index.serve_fixed("/a", CannedResponse(body=b"{}"))
        with pytest.raises(DisallowedHostError):
            await client.request("https://evil.example/a", **LIMITS)
        await client.request(f"{index.origin}/a", **LIMITS)
        await client.request(f"{index.files_origin}/a", **LIMITS)
        index.inject_fault("/away", Redirect(f"{index.files_origin}/a"), times=None)
        await client.request(f"{index.origin}/away", **LIMITS)
        index.inject_fault("/evil", Redirect("https://evil.example/a"), times=None)
        with pytest.raises(DisallowedHostError):
            await client.request(f"{index.origin}/evil", **LIMITS)
        port = int(index.origin.rpartition(":")[2])
        assert {each.headers.get("authorization") for each in index.requests if each.port == port} == {"Bearer secret"}
        others = [each.headers.get("authorization") for each in index.requests if each.port != port]
        assert others == [None, None]


async def test_a_post_is_never_redirected_and_a_get_not_without_end() -> None:
    async with Index() as index, api(index) as client:
        index.inject_fault("/a", Redirect(f"{index.origin}/a"), times=None)
        with pytest.raises(InvalidResponseError, match="redirects a POST"):
            await client.request(f"{index.origin}/a", body=b"{}", **LIMITS)
        with pytest.raises(InvalidResponseError, match="more than 5 times"):
            await client.request(f"{index.origin}/a", **LIMITS)
        assert len(index.requests) == 7
