"""Icon of the pages as SVG: a check mark on a seal. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FAVICON: Final = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    b'<rect width="32" height="32" rx="7" fill="#116329"/>'
    b'<path d="M8 17l6 6 11-14" fill="none" stroke="#fff" stroke-width="4" stroke-linecap="round"'
    b' stroke-linejoin="round"/></svg>\n'
)
FAVICON_HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "image/svg+xml",
    "Content-Security-Policy": "default-src 'none'",
    "Cache-Control": "public, max-age=86400",
    "X-Content-Type-Options": "nosniff",
}
