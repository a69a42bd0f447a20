"""Pages in each content coding: the decoded body is the page, and each coding has its own ETag."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import SIMPLE_JSON, ReadResponse, RunningProxy, run_test_proxy

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DECODERS: dict[str, Callable[[bytes], bytes]] = {"zstd": zstd.decompress, "gzip": gzip.decompress, "identity": bytes}
UV = "gzip, deflate, zstd"
PIP = "gzip, deflate"


async def asked(proxy: RunningProxy, accept: str, **headers: str) -> ReadResponse:
    return await proxy.get("/simple/foo/", {"Accept": accept, **{k.replace("_", "-"): v for k, v in headers.items()}})


@pytest.mark.parametrize("form", [SIMPLE_JSON, "text/html"])
@pytest.mark.parametrize(
    ("accepted", "coding"), [(UV, "zstd"), (PIP, "gzip"), ("*", "gzip"), ("zstd;q=0, *;q=0", "identity")]
)
async def test_each_client_gets_the_page_in_what_it_reads_best(
    tmp_path: Path, form: str, accepted: str, coding: str
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        for number in range(30):
            index.add(wheel("foo", f"1.{number}"))
        plain = await asked(proxy, form)
        assert "Content-Encoding" not in plain.headers
        coded = await asked(proxy, form, Accept_Encoding=accepted)
        assert coded.headers.get("Content-Encoding", "identity") == coding
        assert DECODERS[coding](coded.body) == plain.body
        assert "Accept-Encoding" in coded.headers["Vary"]
        assert coding == "identity" or len(coded.body) < len(plain.body) / 2


async def test_a_validator_holds_for_its_own_form_alone(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("foo"))
        tags = {}
        for coding in DECODERS:
            answer = await asked(proxy, SIMPLE_JSON, Accept_Encoding=coding)
            tags[coding] = answer.headers["ETag"]
        assert len(set(tags.values())) == len(DECODERS)
        for coding in DECODERS:
            for other, tag in tags.items():
                answer = await asked(proxy, SIMPLE_JSON, Accept_Encoding=coding, If_None_Match=tag)
                assert answer.status == (304 if other == coding else 200), (coding, other)
