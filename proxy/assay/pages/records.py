"""Records of a page: a header, and a compressed body that is used only if it matches the digest in the header.

This module defines the format and the keys of both records. An invalid header, or a body that does not match, counts as
a cache miss.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from datetime import UTC, datetime
from typing import Any

from assay.ports import FetchedDocument, IndexPage, ProjectKey, Validators

SCHEMA_VERSION = 1


def compute_content_digest(fetched: FetchedDocument) -> str:
    """Return the SHA-256, in hexadecimal, of a document's body, URL, content type and serial."""
    digest = hashlib.sha256(fetched.body)
    digest.update(f"\n{fetched.url}\n{fetched.content_type}\n{fetched.serial}".encode())
    return digest.hexdigest()


def decompress_body(body: bytes, max_bytes: int) -> bytes:
    """Return the decompressed body.

    Args:
        body: zlib data.
        max_bytes: limit on the decompressed size in bytes.

    Raises:
        ValueError: the data is truncated, or has more than `max_bytes` bytes after decompression.
        zlib.error: the data is not valid zlib data.
    """
    inflater = zlib.decompressobj()
    found = inflater.decompress(body, max_bytes + 1)
    if len(found) > max_bytes or not inflater.eof:
        raise ValueError(f"the compressed body is truncated, or expands to more than {max_bytes} bytes")
    return found


def decode_header(record: bytes | None) -> dict[str, Any] | None:
    """Parse a header record; return None if it is missing, invalid or of another schema version."""
    if record is None:
        return None
    try:
        header = json.loads(record)
    except ValueError:
        return None
    return header if isinstance(header, dict) and header.get("schema") == SCHEMA_VERSION else None


def encode_header(page: IndexPage, content: dict[str, Any]) -> bytes:
    """Return the header record of a page.

    Args:
        page: the page.
        content: the type, URL and serial of the document from which the page was parsed, or an earlier header of it.
    """
    header = content | {
        "schema": SCHEMA_VERSION,
        "address": page.index.url,
        "checked": page.confirmed_at.timestamp(),
        "version": page.content_digest,
        "etag": page.validators.etag,
        "last_modified": page.validators.last_modified,
        "rolled_back": page.is_rolled_back,
    }
    if not page.is_rolled_back:
        del header["rolled_back"]
    return json.dumps(header).encode()


def describe_document(fetched: FetchedDocument) -> dict[str, Any]:
    """Return the type, URL and serial of a document, for `encode_header`."""
    return {"content_type": fetched.content_type, "url": fetched.url, "serial": fetched.serial}


def get_checked_time(header: dict[str, Any]) -> datetime:
    """Return the time at which the index last confirmed the page, UTC.

    Raises:
        KeyError, TypeError, ValueError, OverflowError, OSError: the header has no valid time.
    """
    return datetime.fromtimestamp(float(header["checked"]), UTC)


def get_validators(header: dict[str, Any]) -> Validators:
    """Return the HTTP validators of the page."""
    return Validators(etag=get_string(header, "etag"), last_modified=get_string(header, "last_modified"))


def get_string(header: dict[str, Any], key: str) -> str | None:
    """Return the string under `key`; None if the value is missing or is not a string."""
    value = header.get(key)
    return value if isinstance(value, str) else None


def header_key(key: ProjectKey) -> str:
    """Return the record key of a page's header."""
    return f"page:{key[0]}:{key[1]}"


def body_key(key: ProjectKey) -> str:
    """Return the record key of a page's body."""
    return f"page-body:{key[0]}:{key[1]}"
