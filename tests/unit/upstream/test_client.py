"""Requests to an index, and the handling of its responses."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import pytest

from assay.errors import (
    ConfigurationError,
    DisallowedHostError,
    InvalidResponseError,
    UpstreamAccessDeniedError,
    UpstreamError,
    UpstreamGoneError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from assay.indexes import IndexSettings
from assay.ports import FetchedDocument, NoBody, Validators
from assay.simple.model import NormalizedName
from assay.upstream.client import UpstreamClient
from assay.upstream.credentials import IndexAuthorizations
from tests.unit.upstream.limited_client import SMALL_LIMITS, settings, upstream
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import (
    CannedResponse,
    ChangeHeaders,
    Drip,
    Fault,
    Gzip,
    Hang,
    NoRange,
    Redirect,
    Refuse,
    Reply,
    Reset,
    Truncate,
    WrongLength,
)

FOO = NormalizedName("foo")
PATH = "/simple/foo/"
SMALL_DOCUMENT: dict[str, Any] = {"accept": "*/*", "max_bytes": 1000, "max_seconds": 1.0}


async def page(index: Index, **more: object) -> FetchedDocument | NoBody:
    chosen = settings(index, **more)
    async with upstream(chosen) as client:
        return await client.fetch_page(chosen, FOO, Validators())


async def whole(client: UpstreamClient, index: IndexSettings, url: str, start: int = 0) -> bytes:
    async with client.open_file(index, url, start=start) as contents:
        return b"".join([chunk async for chunk in contents.chunks])


async def test_a_page_is_asked_for_as_json_first_and_renewed_by_its_validators() -> None:
    async with Index() as index:
        index.add(wheel("foo"))
        chosen = settings(index)
        async with upstream(chosen) as client:
            fetched = await client.fetch_page(chosen, FOO, Validators())
            assert isinstance(fetched, FetchedDocument)
            assert fetched.serial is not None
            assert index.requests[0].headers["accept"].startswith("application/vnd.pypi.simple.v1+json")
            assert await client.fetch_page(chosen, FOO, fetched.validators) is NoBody.NOT_MODIFIED
            assert await client.fetch_page(chosen, NormalizedName("bar"), Validators()) is NoBody.ABSENT


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Refuse(), UpstreamUnavailableError),
        (Reset(10), UpstreamUnavailableError),
        (Truncate(10), UpstreamUnavailableError),
        (WrongLength(10**6), UpstreamUnavailableError),
        (Hang(), UpstreamTimeoutError),
        (Reply(500), UpstreamUnavailableError),
        (Reply(503), UpstreamUnavailableError),
        (Reply(429), UpstreamUnavailableError),
        (Reply(408), UpstreamUnavailableError),
        (Reply(403), UpstreamAccessDeniedError),
        (Reply(401), UpstreamAccessDeniedError),
        (Reply(451), UpstreamAccessDeniedError),
        (Reply(400), InvalidResponseError),
        (Reply(204), InvalidResponseError),
        (Reply(206, b"{}"), InvalidResponseError),
        (Reply(304), InvalidResponseError),
        (Reply(302), InvalidResponseError),
        (ChangeHeaders({"Content-Encoding": "gzip"}), UpstreamError),
        (ChangeHeaders({"Content-Encoding": "br"}), UpstreamError),
        (ChangeHeaders({"X-Padding": "x" * 100_000}), UpstreamError),
        (Redirect("https://elsewhere.example/"), DisallowedHostError),
        (Redirect("http://169.254.169.254/latest/meta-data/"), DisallowedHostError),
        (Redirect("http://127.0.0.1:1/"), DisallowedHostError),
        (Redirect("file:///etc/passwd"), DisallowedHostError),
        (Redirect("http://user:secret@127.0.0.1/"), DisallowedHostError),
        (Redirect("http://[::1"), InvalidResponseError),
        (Redirect(PATH), InvalidResponseError),
    ],
    ids=repr,
)
async def test_every_fault_is_a_typed_error_and_the_twin_is_fetched(fault: Fault, expected: type[Exception]) -> None:
    async with Index() as index:
        index.add(wheel("foo"))
        index.inject_fault(PATH, fault)
        with pytest.raises(expected):
            await page(index)
        index.clear_faults()
        assert isinstance(await page(index), FetchedDocument)


async def test_what_passes_is_tried_again() -> None:
    async with Index() as index:
        index.add(wheel("foo"))
        index.inject_fault(PATH, Reply(503), times=1)
        index.inject_fault(PATH, Refuse(), times=1)
        assert isinstance(await page(index), FetchedDocument)
        assert index.count(PATH) == 3


@pytest.mark.parametrize("fault", [Hang(), Drip(1, 0.01)], ids=repr)
async def test_a_silent_or_slow_page_is_requested_once(fault: Fault) -> None:
    async with Index() as index:
        index.add(wheel("foo"))
        index.inject_fault(PATH, fault)
        with pytest.raises(UpstreamTimeoutError):
            await page(index)
        assert index.count(PATH) == 1


@pytest.mark.parametrize("levels", [1, 2])
async def test_bombs_are_cut_at_the_limit_after_decompression(levels: int) -> None:
    body = b"\0" * 200_000_000
    coding = []
    for _ in range(levels):
        body = gzip.compress(body, 1)
        coding.append("gzip")
    async with Index() as index:
        answer = CannedResponse(body=body, headers={"Content-Type": "text/html", "Content-Encoding": ", ".join(coding)})
        index.serve_fixed(PATH, answer)
        with pytest.raises(UpstreamError):
            await page(index)


async def test_an_honest_coding_is_decoded_and_the_limit_is_inclusive() -> None:
    async with Index() as index:
        index.serve_fixed(
            PATH, CannedResponse(body=zlib.compress(b"x" * 100_000), headers={"Content-Encoding": "deflate"})
        )
        assert isinstance(fetched := await page(index), FetchedDocument)
        assert len(fetched.body) == 100_000
        index.serve_fixed(PATH, CannedResponse(body=b"x" * 100_001))
        with pytest.raises(InvalidResponseError, match="larger than 100000"):
            await page(index)


async def test_redirects_within_the_hosts_of_the_index_are_followed_a_few_times() -> None:
    async with Index(separate_files=True) as index:
        index.add(wheel("foo"))
        index.serve_fixed("/one", CannedResponse(status=301, headers={"Location": f"{index.files_origin}/two"}))
        index.serve_fixed("/two", CannedResponse(status=308, headers={"Location": f"{index.origin}/simple/foo/"}))
        index.inject_fault(PATH, Redirect("/one"), times=1)
        fetched = await page(index)
        assert isinstance(fetched, FetchedDocument)
        assert fetched.url == f"{index.url}foo/", "the base of relative addresses is where it was found"


async def test_a_redirect_from_https_to_http_is_refused() -> None:
    from yarl import URL  # noqa: PLC0415 - used only here

    from assay.upstream.addresses import resolve_redirect  # noqa: PLC0415 - as above

    index = IndexSettings.model_validate({"name": "a", "url": "http://a.example/", "insecure": True})

    class Moved:
        status = 302

        def __init__(self, to: str) -> None:
            self.headers = {"Location": to}

    with pytest.raises(DisallowedHostError, match="from https to http"):
        resolve_redirect(index, URL("https://a.example/x"), Moved("http://a.example/x"))  # type: ignore[arg-type]  # only the attributes that are read
    assert str(resolve_redirect(index, URL("https://a.example/x"), Moved("/y"))) == "https://a.example/y"  # type: ignore[arg-type]  # as above


async def test_credentials_go_to_the_host_of_the_url_and_nowhere_else() -> None:
    async with Index(separate_files=True) as index:
        listed = index.add(wheel("foo"))
        chosen = settings(index, credentials={"username": "me", "password-env": "PASSWORD"})
        async with upstream(chosen, environ={"PASSWORD": "geheim"}) as client:
            await client.fetch_page(chosen, FOO, Validators())
            assert index.requests[0].headers["authorization"].startswith("Basic ")
            assert await whole(client, chosen, listed.url) == listed.built.content
            assert "authorization" not in index.requests[1].headers
            index.inject_fault(PATH, Redirect(f"{index.files_origin}/simple/foo/"), times=1)
            index.reset_log()
            await client.fetch_page(chosen, FOO, Validators())
            by_port = {request.port: request.headers for request in index.requests}
            assert "authorization" in by_port[index._main.port]
            assert "authorization" not in by_port[index._files.port]


@pytest.mark.parametrize("secret", ["", "line\r\nX-Evil: 1", "tab\tbed"])
def test_a_secret_that_no_header_can_carry_is_a_configuration_error(secret: str) -> None:
    index = IndexSettings.model_validate(
        {"name": "a", "url": "https://a.example/", "credentials": {"token-env": "TOKEN"}}
    )
    with pytest.raises(ConfigurationError) as refused:
        IndexAuthorizations([index], {"TOKEN": secret})
    assert "Evil" not in str(refused.value)
    IndexAuthorizations([index], {"TOKEN": "good"})


async def test_a_proxy_of_the_environment_is_used_unless_no_proxy_names_the_host() -> None:
    async with Index() as index, Index() as other:
        index.add(wheel("foo"))
        chosen = settings(index)
        async with upstream(chosen, proxies={"http": other.origin}) as client:
            # This index serves as the HTTP proxy: it receives the absolute URL as a path, for which it has no page.
            assert await client.fetch_page(chosen, FOO, Validators()) is NoBody.ABSENT
            assert [request.path for request in other.requests] == [f"{index.url}foo/"]
        for bypass in ("127.0.0.1", index.files_host, "*"):
            async with upstream(chosen, proxies={"http": other.origin, "no": bypass}) as client:
                assert isinstance(await client.fetch_page(chosen, FOO, Validators()), FetchedDocument)
        assert len(other.requests) == 1


async def test_a_proxy_that_refuses_is_an_index_that_is_not_reached() -> None:
    async with Index() as other:
        other.inject_fault("*", Reply(502))
        index = IndexSettings.model_validate({"name": "a", "url": "https://a.example/simple/", "limits": SMALL_LIMITS})
        async with upstream(index, proxies={"https": other.origin}) as client:
            with pytest.raises(UpstreamUnavailableError, match="proxy"):
                await client.fetch_page(index, FOO, Validators())


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Reply(404), UpstreamGoneError),
        (Reply(410), UpstreamGoneError),
        (Reply(304), InvalidResponseError),
        (Reply(206, b"x", {"Content-Range": "bytes 0-0/1"}), InvalidResponseError),
        (Reply(429, headers={"Retry-After": "7"}), UpstreamUnavailableError),
        (Redirect("http://elsewhere.example/x"), DisallowedHostError),
    ],
    ids=repr,
)
async def test_contents_that_are_no_file(fault: Fault, expected: type[UpstreamError]) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo"))
        chosen = settings(index)
        index.inject_fault(listed.path, fault, times=1)
        async with upstream(chosen) as client:
            with pytest.raises(expected) as refused:
                await whole(client, chosen, listed.url)
            if isinstance(refused.value, UpstreamUnavailableError):
                assert refused.value.retry_after == 7
            assert await whole(client, chosen, listed.url) == listed.built.content


async def test_contents_are_taken_as_they_are_on_the_wire() -> None:
    async with Index() as index:
        listed = index.add(wheel("foo"))
        chosen = settings(index)
        index.inject_fault(listed.path, Gzip(), times=1)
        async with upstream(chosen) as client:
            assert gzip.decompress(await whole(client, chosen, listed.url)) == listed.built.content
            assert index.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 0-99/{size}",
        "bytes 100-200/{size}",
        "bytes 100-{last}/*",
        "bytes 99-{last}/{size}",
        "items 100-{last}/{size}",
        "",
        "bytes 100-{last}/\u0661",
    ],
)
async def test_a_part_must_be_the_part_that_was_asked_for(content_range: str) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo"))
        chosen, size = settings(index), listed.built.size
        async with upstream(chosen) as client:
            assert await whole(client, chosen, listed.url, 100) == listed.built.content[100:]
            assert index.requests[0].headers["range"] == "bytes=100-"
            index.inject_fault(listed.path, NoRange(), times=1)
            async with client.open_file(chosen, listed.url, start=100) as contents:
                assert (contents.start, contents.length) == (0, size)
            value = content_range.format(size=size, last=size - 1).encode().decode("latin-1")
            index.inject_fault(listed.path, Reply(206, b"x", {"Content-Range": value}), times=1)
            with pytest.raises(InvalidResponseError):
                await whole(client, chosen, listed.url, 100)


async def test_a_date_in_retry_after_is_too_long_to_wait_for_and_rubbish_is_none() -> None:
    async with Index() as index:
        listed = index.add(wheel("foo"))
        chosen = settings(index)
        async with upstream(chosen) as client:
            for value, expected in [("Wed, 21 Oct 2099 07:28:00 GMT", float("inf")), ("soon", None), ("-1", None)]:
                index.inject_fault(listed.path, Reply(503, headers={"Retry-After": value}), times=1)
                with pytest.raises(UpstreamUnavailableError) as refused:
                    await whole(client, chosen, listed.url)
                assert refused.value.retry_after == expected


async def test_a_document_has_a_limit_of_its_own() -> None:
    async with Index() as index:
        chosen = settings(index)
        index.serve_fixed("/doc", CannedResponse(body=b"x" * 1001))
        index.serve_fixed("/fits", CannedResponse(body=b"x" * 1000))
        async with upstream(chosen) as client:
            with pytest.raises(InvalidResponseError):
                await client.fetch_document(chosen, f"{index.origin}/doc", **SMALL_DOCUMENT)
            fetched = await client.fetch_document(chosen, f"{index.origin}/fits", **SMALL_DOCUMENT)
            assert isinstance(fetched, FetchedDocument)
            assert await client.fetch_document(chosen, f"{index.origin}/none", **SMALL_DOCUMENT) is NoBody.ABSENT


async def test_a_slow_document_fails_before_a_slow_page() -> None:
    patient = {"connect": "30 seconds", "read": "30 seconds", "total": "60 seconds"}
    async with Index() as index:
        chosen = settings(index, limits={**SMALL_LIMITS, "timeouts": patient})
        index.serve_fixed("/doc", CannedResponse(body=b"x" * 15))
        index.add(wheel("foo"))
        for path in ("/doc", PATH):
            index.inject_fault(path, Drip(1 if path == "/doc" else 40, 0.1))
        async with upstream(chosen) as client:
            with pytest.raises(UpstreamTimeoutError, match="no complete response within 1 s"):
                await client.fetch_document(chosen, f"{index.origin}/doc", **SMALL_DOCUMENT)
            assert isinstance(await client.fetch_page(chosen, FOO, Validators()), FetchedDocument)
