"""Decoder of Snappy's block format, in which GitHub stores bundles. Pure.

Source: https://github.com/google/snappy/blob/main/format_description.txt. A block is the length of the decoded data (a
varint of at most 32 bits), followed by elements. An element is a literal or a copy of earlier decoded bytes. The two
lowest bits of its first byte are its type.
"""

from __future__ import annotations

from typing import Final

_LITERAL: Final = 0
_MAX_LENGTH_BYTES: Final = 5
_MAX_SHORT_LITERAL: Final = 60
"""Highest length of a literal that the first byte states. A higher value of its field is the size of the length."""


class SnappyError(ValueError):
    """Error for data that is not a complete Snappy block, or whose decoded size exceeds the limit."""


def decode_snappy(block: bytes, max_bytes: int) -> bytes:
    """Return the decoded data of a Snappy block.

    Args:
        block: the block; untrusted.
        max_bytes: limit on the decoded size. The decoder checks the stated size before it decodes anything, and never
            holds more than the stated size.

    Raises:
        SnappyError: the block is malformed, truncated, or larger than `max_bytes`.
    """
    size, position = _read_size(block)
    if size > max_bytes:
        raise SnappyError(f"states a decoded size of {size} bytes, more than {max_bytes}")
    decoded = bytearray()
    end = len(block)
    while position < end:
        tag = block[position]
        position += 1
        if tag & 3 == _LITERAL:
            length, position = _read_literal_length(block, position, tag)
            if position + length > end:
                raise SnappyError("is truncated")
            _require_room(decoded, length, size)
            decoded += block[position : position + length]
            position += length
        else:
            length, offset, position = _read_copy(block, position, tag)
            _require_room(decoded, length, size)
            _copy(decoded, offset, length)
    if len(decoded) != size:
        raise SnappyError(f"has {len(decoded)} decoded bytes but states {size}")
    return bytes(decoded)


def _read_size(block: bytes) -> tuple[int, int]:
    """Return the stated decoded size, and the position after it."""
    size = 0
    for position, byte in enumerate(block[:_MAX_LENGTH_BYTES]):
        size |= (byte & 0x7F) << 7 * position
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that another byte follows
            return size, position + 1
    raise SnappyError("does not begin with the decoded size")


def _read_literal_length(block: bytes, position: int, tag: int) -> tuple[int, int]:
    length = (tag >> 2) + 1
    if length <= _MAX_SHORT_LITERAL:
        return length, position
    width = length - _MAX_SHORT_LITERAL
    return _read_number(block, position, width) + 1, position + width


def _read_copy(block: bytes, position: int, tag: int) -> tuple[int, int, int]:
    """Return length and offset of a copy, and the position after it."""
    match tag & 3:
        case 1:
            offset = (tag >> 5) << 8 | _read_number(block, position, 1)
            return (tag >> 2 & 7) + 4, offset, position + 1
        case 2:
            return (tag >> 2) + 1, _read_number(block, position, 2), position + 2
        case _:
            return (tag >> 2) + 1, _read_number(block, position, 4), position + 4


def _read_number(block: bytes, position: int, width: int) -> int:
    if position + width > len(block):
        raise SnappyError("is truncated")
    return int.from_bytes(block[position : position + width], "little")


def _require_room(decoded: bytearray, length: int, size: int) -> None:
    if len(decoded) + length > size:
        raise SnappyError(f"has more decoded bytes than the {size} that it states")


def _copy(decoded: bytearray, offset: int, length: int) -> None:
    """Append `length` bytes from `offset` bytes before the end. The copy may overlap the bytes that it appends."""
    start = len(decoded) - offset
    if offset == 0 or start < 0:
        raise SnappyError("copies bytes from before its beginning")
    pattern = bytes(decoded[start : start + length])
    repeated = pattern * (length // len(pattern) + 1) if len(pattern) < length else pattern
    decoded += repeated[:length]
