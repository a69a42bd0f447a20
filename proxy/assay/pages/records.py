"""A page as records: a header and a compressed body, believed only where both agree.

Owns their form and keys. What is read back is hostile: a header that is none, or a body that is not the one described,
is no record.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import Any

from assay.ports import FetchedDocument, ProjectKey

SCHEMA_VERSION = 1


def compute_content_digest(fetched: FetchedDocument) -> str:
    """Digest of the index's bytes and of the address they came from."""
    digest = hashlib.sha256(fetched.body)
    digest.update(f"\n{fetched.url}\n{fetched.content_type}\n{fetched.serial}".encode())
    return digest.hexdigest()


def decompress_body(body: bytes, max_bytes: int) -> bytes:
    """A compressed body.

    Raises:
        ValueError: it is cut, or has more than `max_bytes` bytes.
        zlib.error: it is no compressed body.
    """
    inflater = zlib.decompressobj()
    found = inflater.decompress(body, max_bytes + 1)
    if len(found) > max_bytes or not inflater.eof:
        raise ValueError("the compressed body is cut or larger than a page may be")
    return found


def decode_header(record: bytes | None) -> dict[str, Any] | None:
    """A header of this schema, else None."""
    if record is None:
        return None
    try:
        header = json.loads(record)
    except ValueError:
        return None
    return header if isinstance(header, dict) and header.get("schema") == SCHEMA_VERSION else None


def get_string(header: dict[str, Any], key: str) -> str | None:
    """A value that is a string, else None."""
    value = header.get(key)
    return value if isinstance(value, str) else None


def header_key(key: ProjectKey) -> str:
    """Where a page's header is."""
    return f"page:{key[0]}:{key[1]}"


def body_key(key: ProjectKey) -> str:
    """Where its body is."""
    return f"page-body:{key[0]}:{key[1]}"
