"""Screenshots of the README: the committed files are small and used, and `make screenshots` can renew them."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from tests.browser.chromium import PROGRAM
from tests.browser.screenshots import PICTURES, take
from tests.paths import DOCS, ROOT

IMAGES = DOCS / "images"
NAMES = {f"{name}-{scheme}.png" for name in PICTURES for scheme in ("light", "dark")}


def size(picture: bytes) -> tuple[int, int]:
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture[16:24])
    return width, height


def test_the_committed_pictures_are_those_and_all_shown_and_small() -> None:
    drawn = {f"overview-{scheme}.svg" for scheme in ("light", "dark")}
    assert {path.name for path in IMAGES.iterdir()} == NAMES | drawn
    pages = [ROOT / "README.md", *DOCS.glob("*.md")]
    text = "".join(page.read_text("utf-8") for page in pages)
    shown = re.findall(r'(?:src|srcset)="[a-z/]*images/([^"]+)"', text)
    assert sorted(shown) == sorted(NAMES | drawn)
    assert sum(path.stat().st_size for path in IMAGES.iterdir()) < 600_000


@pytest.mark.clients
@pytest.mark.skipif(PROGRAM is None, reason="no chromium here: see tests/install-browser.sh")
async def test_they_can_be_taken_anew(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "scratch").mkdir()
    taken = await take(tmp_path / "images", tmp_path / "scratch")
    assert {path.name for path in taken} == NAMES
    for path in taken:
        assert size(path.read_bytes()) == size((IMAGES / path.name).read_bytes())
