"""Spelling of URIs in certificates, which Fulcio writes with Go's `net/url`. Pure.

In the Subject Alternative Name, Fulcio percent-encodes the characters that a URI cannot contain. It copies all other
URIs unchanged from the OIDC token. The workflow ``Publish to PyPI.yml`` is therefore ``Publish%20to%20PyPI.yml`` in the
Subject Alternative Name only.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

# Go keeps a path or fragment as it is if it is a valid encoding of itself. Otherwise it decodes and encodes the whole
# part, with a smaller set of characters that stay (`URL.EscapedPath`, `URL.EscapedFragment`).
_VALID_PATH: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@\[\]/-]|%[0-9A-Fa-f]{2})*", re.ASCII)
_VALID_FRAGMENT: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@\[\]/?-]|%[0-9A-Fa-f]{2})*", re.ASCII)
_KEPT_IN_PATH: Final = "/$&+,:;=@"
_KEPT_IN_FRAGMENT: Final = "/$&+,:;=?@!()*"


def encode_uri(text: str) -> str:
    """Return a URI as Go's `net/url` writes it after parsing `text`, which may contain any characters."""
    before, marker, fragment = text.partition("#")
    path, question, query = before.partition("?")
    encoded = _encode_part(path, _VALID_PATH, _KEPT_IN_PATH) + question + query
    if not fragment:  # Go omits the mark of an empty fragment
        return encoded
    return encoded + marker + _encode_part(fragment, _VALID_FRAGMENT, _KEPT_IN_FRAGMENT)


def _encode_part(part: str, valid: re.Pattern[str], kept: str) -> str:
    return part if valid.fullmatch(part) else quote(unquote_to_bytes(part), safe=kept)
