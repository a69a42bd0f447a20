"""Content codings of responses: what is decoded, what is refused, and within which limits."""

from __future__ import annotations

import gzip
import time
import zlib
from functools import partial

import pytest

from assay.errors import InvalidResponseError
from assay.ports import FetchedDocument, NoBody, Validators
from assay.simple.model import NormalizedName
from assay.upstream.content_coding import ContentDecoder
from tests.unit.upstream.limited_client import settings, upstream
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import CannedResponse

FOO = NormalizedName("foo")
PATH = "/simple/foo/"
URL = "https://index.example/simple/foo/?token=secret"
WHERE = "https://index.example/simple/foo/"
BODY = b"<a href=foo-1.0.tar.gz>foo</a>" * 3000
pack = partial(gzip.compress, mtime=0)
"""Compress without the current time, so that the ids of tests are the same in each process."""
RAW_DEFLATE = zlib.compressobj(wbits=-zlib.MAX_WBITS)
DEFLATED = RAW_DEFLATE.compress(BODY) + RAW_DEFLATE.flush()


async def fetch(index: Index, body: bytes, coding: str) -> bytes:
    index.serve_fixed(
        PATH, CannedResponse(body=body, headers={"Content-Type": "text/html", "Content-Encoding": coding})
    )
    chosen = settings(index)
    async with upstream(chosen) as client:
        fetched = await client.fetch_page(chosen, FOO, Validators())
    assert isinstance(fetched, FetchedDocument)
    return fetched.body


def decode(coding: str, *chunks: bytes) -> bytes:
    decoder = ContentDecoder(coding, URL)
    return b"".join([piece for chunk in chunks for piece in decoder.decode(chunk)] + list(decoder.finish()))


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", pack(BODY)),
        ("x-gzip", pack(BODY)),
        ("X-GZip", pack(BODY)),
        (" gzip ", pack(BODY)),
        ("gzip", pack(BODY[:1000]) + pack(BODY[1000:])),
        ("gzip", pack(BODY) + b"\0" * 512),
        ("deflate", zlib.compress(BODY)),
        ("deflate", DEFLATED),
        ("identity", BODY),
        ("", BODY),
    ],
)
async def test_a_body_in_a_requested_coding_is_decoded(coding: str, body: bytes) -> None:
    async with Index() as index:
        assert await fetch(index, body, coding) == BODY
        assert index.requests[0].headers["accept-encoding"] == "deflate, gzip"


@pytest.mark.parametrize(
    ("coding", "body", "message"),
    [
        ("gzip", BODY, "the body is not valid gzip data"),
        ("x-gzip", zlib.compress(BODY), "the body is not valid gzip data"),
        ("deflate", pack(BODY), "the body is not valid deflate data"),
        ("gzip", pack(BODY)[:-9], "the gzip data of the body is cut off"),
        ("gzip", pack(BODY)[:5], "the gzip data of the body is cut off"),
        ("gzip", pack(BODY) + pack(BODY)[:20], "the gzip data of the body is cut off"),
        ("gzip", pack(BODY)[:-5] + b"xxxxx", "the body is not valid gzip data"),
        ("gzip", pack(BODY) + b"more", "the body is not valid gzip data"),
        ("deflate", zlib.compress(BODY)[:-1], "the deflate data of the body is cut off"),
        ("deflate", zlib.compress(BODY) * 2, "data follows the end of the deflate data of the body"),
        ("gzip", pack(b"") * 1001, "data follows the end of the gzip data of the body"),
        ("br", BODY, "the body has a content coding that was not requested"),
        ("zstd", BODY, "the body has a content coding that was not requested"),
        ("compress", BODY, "the body has a content coding that was not requested"),
        ("gzip, gzip", pack(pack(BODY)), "the body has a content coding that was not requested"),
    ],
)
async def test_any_other_body_is_an_error_in_one_sentence(coding: str, body: bytes, message: str) -> None:
    async with Index() as index:
        with pytest.raises(InvalidResponseError) as refused:
            await fetch(index, body, coding)
        assert str(refused.value) == f"{index.url}foo/: {message}"


async def test_an_absent_project_is_absent_in_any_coding() -> None:
    async with Index() as index:
        index.serve_fixed(PATH, CannedResponse(status=404, body=b"gone", headers={"Content-Encoding": "br"}))
        chosen = settings(index)
        async with upstream(chosen) as client:
            assert await client.fetch_page(chosen, FOO, Validators()) is NoBody.ABSENT


@pytest.mark.parametrize("size", [1, 2, 7, 1000, 10**6])
def test_the_chunks_of_a_body_may_begin_and_end_anywhere(size: int) -> None:
    for coding, body in [
        ("gzip", pack(BODY[:5]) + pack(BODY[5:]) + b"\0\0"),
        ("deflate", zlib.compress(BODY)),
        ("deflate", DEFLATED),
    ]:
        assert decode(coding, *(body[at : at + size] for at in range(0, len(body), size))) == BODY


def test_a_bomb_is_decoded_in_small_steps() -> None:
    bomb = pack(b"\0" * 50_000_000)
    pieces = ContentDecoder("gzip", URL).decode(bomb)
    assert len(next(pieces)) <= 256 * 1024
    assert decode("gzip", bomb) == b"\0" * 50_000_000
    assert decode("gzip", bomb[:1000], bomb[1000:]) == b"\0" * 50_000_000


async def test_a_body_that_expands_to_nothing_is_limited_too() -> None:
    nothing = b"\x00\x00\x00\xff\xff"  # an empty stored block of deflate data (RFC 1951, 3.2.4)
    began = time.monotonic()
    async with Index() as index:
        with pytest.raises(InvalidResponseError, match="is larger than 100000 bytes"):
            await fetch(index, nothing * 30_000, "deflate")
        assert await fetch(index, nothing * 1000 + DEFLATED, "deflate") == BODY
    assert time.monotonic() - began < 10
