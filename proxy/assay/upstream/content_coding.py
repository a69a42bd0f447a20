"""Decoder of the content codings of an index's responses (RFC 9110, 8.4.1): gzip, deflate, and x-gzip as gzip.

A body is decoded in small steps. A compression bomb therefore uses little memory and never blocks the event loop for
long. If a compressed body is cut off, this decoder raises an error, unlike aiohttp's decoder. The last files of a page
could be missing in such a body.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

import aiohttp

from assay.errors import InvalidResponseError
from assay.upstream.addresses import redact_url

_CODINGS: Final = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
""""A recipient SHOULD consider "x-gzip" to be equivalent to "gzip"" (RFC 9110, 8.4.1.3)."""
ACCEPT_ENCODING: Final = "deflate, gzip"
"""Content codings that are requested. A body in any other coding is refused, because it cannot be decoded."""
_STEP_BYTES: Final = 256 * 1024
"""Maximum bytes that one step of decoding yields."""
_MAX_MEMBERS: Final = 1000
"""Maximum number of gzip members of one body (RFC 1952, 2.2). Empty members would cost time and yield no bytes."""
_GZIP_WINDOW_BITS: Final = 16 + zlib.MAX_WBITS
_ZLIB_METHOD: Final = 8
"""Low four bits of the first byte of zlib data (RFC 1950). Some servers send deflate data without this header."""


def find_coding(response: aiohttp.ClientResponse, url: str) -> str | None:
    """Return the coding of a response's body, ``gzip`` or ``deflate``; None if it is not encoded.

    Raises:
        InvalidResponseError: any other coding, or several.
    """
    stated = ", ".join(response.headers.getall("Content-Encoding", ())).strip().lower()
    if stated in {"", "identity"}:
        return None
    if stated not in _CODINGS:
        raise InvalidResponseError(f"{redact_url(url)}: the body has a content coding that was not requested")
    return _CODINGS[stated]


class ContentDecoder:
    """Decoder of one body.

    Args:
        coding: ``gzip`` or ``deflate``.
        url: requested URL, for error messages.
    """

    def __init__(self, coding: str, url: str) -> None:
        self._coding = coding
        self._where = redact_url(url)
        self._inflater: zlib._Decompress | None = None
        self._members = 0

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded bytes of the next chunk, at most `_STEP_BYTES` at a time.

        Raises:
            InvalidResponseError: the data is not in the coding.
        """
        while data := self._skip_padding(data):
            inflater = self._inflater = self._inflater or self._begin_member(data)
            piece = self._decompress(inflater, data)
            if piece:
                yield piece
            data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            if inflater.eof:
                self._inflater = None

    def finish(self) -> Iterator[bytes]:
        """Yield the decoded bytes that are left at the end of the body.

        Raises:
            InvalidResponseError: the body ends inside the compressed data.
        """
        while (inflater := self._inflater) is not None:
            piece = self._decompress(inflater, b"")
            if inflater.eof:
                self._inflater = None
            elif not piece:
                raise InvalidResponseError(f"{self._where}: the {self._coding} data of the body is cut off")
            if piece:
                yield piece

    def _decompress(self, inflater: zlib._Decompress, data: bytes) -> bytes:
        try:
            return inflater.decompress(data, _STEP_BYTES)
        except zlib.error as error:
            raise InvalidResponseError(f"{self._where}: the body is not valid {self._coding} data") from error

    def _skip_padding(self, data: bytes) -> bytes:
        """Remove the zeros between and after gzip members, which gzip itself ignores too."""
        return data.lstrip(b"\0") if self._members and self._inflater is None else data

    def _begin_member(self, data: bytes) -> zlib._Decompress:
        """Return the decompressor of the member that `data` begins with.

        Raises:
            InvalidResponseError: there are too many members.
        """
        self._members += 1
        if self._members > _MAX_MEMBERS or (self._members > 1 and self._coding != "gzip"):
            raise InvalidResponseError(f"{self._where}: data follows the end of the {self._coding} data of the body")
        if self._coding == "gzip":
            return zlib.decompressobj(_GZIP_WINDOW_BITS)
        return zlib.decompressobj(zlib.MAX_WBITS if data[0] & 0x0F == _ZLIB_METHOD else -zlib.MAX_WBITS)
