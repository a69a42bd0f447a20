"""Encoder of Snappy blocks for test servers: repeated parts become copies, the rest literals."""

from __future__ import annotations

_MIN_COPY, _MAX_COPY, _MAX_OFFSET = 4, 64, 65_535


def encode_snappy(data: bytes) -> bytes:
    """Return `data` as a Snappy block with literals, and copies of earlier bytes."""
    out = bytearray(_encode_size(len(data)))
    seen: dict[bytes, int] = {}
    literal = bytearray()
    position = 0
    while position < len(data):
        key = data[position : position + _MIN_COPY]
        start = seen.get(key) if len(key) == _MIN_COPY else None
        seen[key] = position
        if start is None or position - start > _MAX_OFFSET:
            literal.append(data[position])
            position += 1
            continue
        length = _MIN_COPY
        while length < _MAX_COPY and position + length < len(data) and data[start + length] == data[position + length]:
            length += 1
        out += _encode_literal(bytes(literal))
        literal.clear()
        out.append((length - 1) << 2 | 2)
        out += (position - start).to_bytes(2, "little")
        position += length
    return bytes(out + _encode_literal(bytes(literal)))


def _encode_size(size: int) -> bytes:
    out = bytearray()
    while size >= 0x80:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out)


def _encode_literal(literal: bytes) -> bytes:
    if not literal:
        return b""
    if len(literal) <= 60:
        return bytes([(len(literal) - 1) << 2]) + literal
    width = ((len(literal) - 1).bit_length() + 7) // 8
    return bytes([(59 + width) << 2]) + (len(literal) - 1).to_bytes(width, "little") + literal
