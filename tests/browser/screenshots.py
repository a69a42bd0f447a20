"""Screenshots for the documentation, taken of the demo: ``python -m tests.browser.screenshots docs/images``.

Each page is taken 1280 and 390 pixels wide, light and dark.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
from pathlib import Path

import aiohttp

from demo.running import Demo, demonstrated
from tests.browser.chromium import browser

PICTURES: dict[str, str | None] = {
    "home": "/",
    "project": "/project/acme-widgets",
    "version": "/project/acme-widgets?version=1.5#version-1.5",
    "overview": "/overview",
    "refusals": "/refusals",
    "refused": None,
    "policy": "/policy",
}
"""Path of the page by name of the picture; None for a refused file, whose path contains the port of the index."""
FORMS = {"wide": (1280, 900, 1.0), "phone": (390, 844, 1.25)}
"""Width and height in CSS pixels, and device pixels per CSS pixel, by name."""
_QUALITY = 40
_REFUSED_PROJECTS = ("acme-widgets", "acme-parser", "acme-payments")
"""Projects whose withheld files are requested, so that the pages of refusals are not empty."""
_JSON = "application/vnd.pypi.simple.v1+json"


async def take(directory: Path, scratch: Path) -> list[Path]:
    """Take all screenshots as WebP; `scratch` is an empty directory for the demo and the browser."""
    taken = []
    (scratch / "demo").mkdir()
    async with demonstrated(scratch / "demo") as demo, browser(scratch) as chromium:
        refused = await _request_refused(demo)
        paths = {name: path or refused for name, path in PICTURES.items()}
        for (name, path), (form, (width, height, scale)), dark in itertools.product(
            paths.items(), FORMS.items(), (False, True)
        ):
            await chromium.show("about:blank")  # the browser does not load a page again for its fragment
            await chromium.show(f"{demo.origin}{path}", width=width, height=height, scale=scale, dark=dark)
            picture = directory / f"{name}-{form}-{'dark' if dark else 'light'}.webp"
            picture.write_bytes(await chromium.screenshot(whole=False, quality=_QUALITY))
            taken.append(picture)
    return taken


async def _request_refused(demo: Demo) -> str:
    """Request the withheld files that the demo lists, and return the path of the last one."""
    path = ""
    async with aiohttp.ClientSession() as session:
        for project in _REFUSED_PROJECTS:
            async with session.get(f"{demo.origin}/simple/{project}/", headers={"Accept": _JSON}) as answer:
                listed = (await answer.json(content_type=None))["files"]
            for url in (each["url"] for each in listed if each["url"].endswith("?withheld")):
                path = f"/{url.removeprefix('../../').removesuffix('?withheld')}"
                async with session.get(f"{demo.origin}{path}"):
                    pass
    return path


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        for each in asyncio.run(take(Path(sys.argv[1]), Path(temporary))):
            print(each, each.stat().st_size)
