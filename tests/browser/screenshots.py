"""Screenshots for the README, taken of the demo: ``python -m tests.browser.screenshots docs/images``."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from demo.running import demonstrated
from tests.browser.chromium import browser

PICTURES = {"project": ("/project/acme-widgets", 1090), "policy": ("/policy", 520)}
"""Path of the page and height of the screenshot in pixels, by name."""
_WIDTH, _SCALE = 1040, 1.25


async def take(directory: Path, scratch: Path) -> list[Path]:
    """Take all screenshots, light and dark; `scratch` is an empty directory for the demo and the browser."""
    taken = []
    (scratch / "demo").mkdir()
    async with demonstrated(scratch / "demo") as demo, browser(scratch) as chromium:
        for name, (path, height) in PICTURES.items():
            for dark in (False, True):
                await chromium.show(f"{demo.origin}{path}", width=_WIDTH, height=height, scale=_SCALE, dark=dark)
                picture = directory / f"{name}-{'dark' if dark else 'light'}.png"
                picture.write_bytes(await chromium.screenshot(whole=False))
                taken.append(picture)
    return taken


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        for each in asyncio.run(take(Path(sys.argv[1]), Path(temporary))):
            print(each, each.stat().st_size)
