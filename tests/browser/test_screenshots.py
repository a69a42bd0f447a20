"""Screenshots of the documentation: the committed files are small and used, and `make screenshots` can renew them."""

from __future__ import annotations

import itertools
import re
import struct
from pathlib import Path

import pytest

from tests.browser.chromium import PROGRAM
from tests.browser.screenshots import FORMS, PICTURES, take
from tests.paths import DOCS, ROOT

IMAGES = DOCS / "images"
NAMES = {f"{name}-{form}-{scheme}.webp" for name, form, scheme in itertools.product(PICTURES, FORMS, ("light", "dark"))}


def size(picture: bytes) -> tuple[int, int]:
    """Return the width and height of a lossy WebP (RFC 9649), in the simple or in the extended file format."""
    assert picture[:4] + picture[8:12] == b"RIFFWEBP"
    if picture[12:16] == b"VP8X":
        return int.from_bytes(picture[24:27], "little") + 1, int.from_bytes(picture[27:30], "little") + 1
    assert picture[12:16] == b"VP8 "
    width, height = struct.unpack("<HH", picture[26:30])
    return width & 0x3FFF, height & 0x3FFF


def test_the_committed_pictures_are_those_and_all_shown_and_small() -> None:
    drawn = {f"overview-{scheme}.svg" for scheme in ("light", "dark")}
    assert {path.name for path in IMAGES.iterdir()} == NAMES | drawn
    pages = [ROOT / "README.md", *DOCS.glob("*.md")]
    text = "".join(page.read_text("utf-8") for page in pages)
    shown = re.findall(r'(?:src|srcset)="[a-z/]*images/([^"]+)"', text)
    assert sorted(shown) == sorted(NAMES | drawn)
    assert sum(path.stat().st_size for path in IMAGES.iterdir()) < 1_300_000


def test_the_committed_pictures_are_1280_and_390_pixels_wide() -> None:
    for name in NAMES:
        width, height, scale = FORMS[name.rsplit("-", 2)[1]]
        found = size((IMAGES / name).read_bytes())
        assert [round(each / scale) for each in found] == [width, height], name


@pytest.mark.clients
@pytest.mark.skipif(PROGRAM is None, reason="no chromium here: see tests/install-browser.sh")
async def test_they_can_be_taken_anew(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "scratch").mkdir()
    taken = await take(tmp_path / "images", tmp_path / "scratch")
    assert {path.name for path in taken} == NAMES
    for path in taken:
        assert size(path.read_bytes()) == size((IMAGES / path.name).read_bytes())
