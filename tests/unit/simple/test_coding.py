"""Content codings: decoding restores the page, and encoding is deterministic."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.simple.coding import CONTENT_CODINGS, encode_content

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DECODERS: dict[str, Callable[[bytes], bytes]] = {"zstd": zstd.decompress, "gzip": gzip.decompress, "identity": bytes}


@given(st.binary(max_size=5000))
def test_what_is_encoded_is_decoded_and_encoded_alike(body: bytes) -> None:
    for coding, decoded in DECODERS.items():
        once = encode_content(body, coding)
        assert decoded(once) == body
        assert encode_content(body, coding) == once
    assert {*CONTENT_CODINGS, "identity"} == DECODERS.keys()


def test_a_coding_that_there_isnt_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected one of zstd, gzip or identity, found br"):
        encode_content(b"", "br")
