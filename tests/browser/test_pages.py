"""Each HTML page in a real browser: light and dark, narrow and wide, without scripts, foreign requests or barriers."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from assay.simple.model import NormalizedName
from assay.web.ui.layout import HTML_HEADERS
from assay.web.ui.project import VERSIONS_PER_PAGE, ProjectFacts, Selection, render_project_page
from tests.browser.chromium import PROGRAM, Chromium, browser
from tests.browser.scene import IMAGE, scene
from tests.paths import TOOLS
from tests.world.proxy.made_verdicts import make_withheld_files
from tests.world.proxy.running_proxy import NOW, RunningProxy

AXE = TOOLS / "axe" / "node_modules" / "axe-core" / "axe.min.js"
SHOTS = os.environ.get("ASSAY_SCREENSHOTS")
"""Directory in which the screenshots are kept; without it they are in the temporary directory of the test."""
PAGES = {
    "home": "/",
    "project": "/project/widget",
    "version": "/project/widget?version=1.2",
    "withheld": "/project/widget?only=withheld",
    "policy": "/policy",
    "overview": "/overview",
    "refusals": "/refusals",
    "seen": "/search",
    "search": "/search?name=%3Cb%3E",
    "reserved": "/project/acme-absent",
    "absent": "/project/absent",
    "missing": "/no/such/page",
    "refused": None,
    "waivable": None,
}
"""Path by name; None for a refused file, whose path contains the port of the index."""
REFUSED = {"refused": ("denied", "denied-1.0-py3-none-any.whl"), "waivable": ("widget", "widget-1.6-py3-none-any.whl")}
"""Project and filename of the refused files. A waiver can approve the second one."""
HOSTILE = ("home", "project", "version", "withheld", "policy", "overview", "refusals", "refused")
"""Pages that show text written by others."""
FORMS = list(itertools.product((1280, 390), (False, True)))
TABLES_FIT = "[...document.querySelectorAll('.scroll')].every(each => each.scrollWidth <= each.clientWidth)"
FOREIGN_IMAGE = """
new Promise(done => {
  document.addEventListener("securitypolicyviolation", event => done(event.violatedDirective));
  const image = document.createElement("img");
  image.src = "https://192.0.2.1/x";
  document.body.append(image);
})
"""

pytestmark = [
    pytest.mark.clients,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(PROGRAM is None, reason="no chromium here: see tests/install-browser.sh"),
]


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(tmp_path: Path) -> AsyncIterator[RunningProxy]:
    async with scene(tmp_path) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Chromium]:
    async with browser(tmp_path_factory.mktemp("chromium")) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def chromium(started: Chromium) -> Chromium:
    """The shared browser with an empty page and no recorded requests."""
    await started.show("about:blank")
    started.asked.clear()
    started.complaints.clear()
    return started


async def address_of(proxy: RunningProxy, name: str) -> str:
    path = PAGES[name]
    if path is None:
        project, filename = REFUSED[name]
        verdicts = (await proxy.assembly.gate.get_page(NormalizedName(project))).verdicts
        (path,) = [f"/files/{each.file.location}" for each in verdicts if each.file.filename == filename]
    return f"{proxy.origin}{path}"


@asynccontextmanager
async def serve_page(body: bytes) -> AsyncIterator[str]:
    """Serve one HTML page on loopback; yield its URL."""

    async def respond(_request: web.BaseRequest) -> web.Response:
        return web.Response(body=body, headers=HTML_HEADERS)

    server = TestServer(web.Application())
    server.app.router.add_get("/project/foo", respond)
    async with server:
        yield str(server.make_url("/project/foo"))


def luminance(colour: str) -> float:
    """Return the approximate luminance, from 0 to 1, of ``rgb(r, g, b)``."""
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) / 765


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_is_shown_in_light_and_dark_narrow_and_wide(
    proxy: RunningProxy, chromium: Chromium, tmp_path: Path, name: str
) -> None:
    seen = set()
    for width, dark in FORMS:
        await chromium.show(await address_of(proxy, name), width=width, dark=dark)
        paper = luminance(await chromium.evaluate("getComputedStyle(document.body).backgroundColor"))
        ink = luminance(await chromium.evaluate("getComputedStyle(document.body).color"))
        assert (paper < 0.2 and ink > 0.8) if dark else (paper > 0.8 and ink < 0.2)
        assert await chromium.evaluate("document.documentElement.scrollWidth") <= width, "no scrolling sideways"
        assert width > 600 or await chromium.evaluate(TABLES_FIT), "the cells of a row are stacked"
        shot = await chromium.screenshot()
        assert struct.unpack(">4x4s", shot[8:16])[0] == b"IHDR"
        assert struct.unpack(">I", shot[16:20])[0] == width
        (Path(SHOTS) if SHOTS else tmp_path).joinpath(
            f"{name}-{'dark' if dark else 'light'}-{'wide' if width > 600 else 'narrow'}.png"
        ).write_bytes(shot)
        seen.add(shot)
    assert len(seen) == len(FORMS)


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_page_asks_for_nothing_else_and_nothing_hostile_runs(
    proxy: RunningProxy, chromium: Chromium, name: str
) -> None:
    address = await address_of(proxy, name)
    await chromium.show(address)
    assert await chromium.evaluate("document.title") != "owned"
    assert await chromium.evaluate("document.scripts.length + document.images.length") == 0
    assert "<script>" in await chromium.evaluate("document.body.textContent"), "hostile markup shows as text"
    assert set(chromium.asked) <= {address, f"{proxy.origin}/favicon.svg"}, "the page and its icon"
    assert [each for each in chromium.complaints if "status of 403" not in each] == [], "only the refusal itself"
    # Counter-check: the Content-Security-Policy blocks a foreign image even if hostile text became markup.
    blocked = await chromium.evaluate(FOREIGN_IMAGE)
    assert blocked == "img-src"


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: see tests/install-browser.sh")
@pytest.mark.parametrize("path", ["/", "/policy"])
async def test_a_refused_policy_is_shown_without_barriers(proxy: RunningProxy, chromium: Chromium, path: str) -> None:
    proxy.assembly.views[0].policy_file.rejection = f"policy.toml:3: rules[0].{IMAGE}: unknown\npolicy.toml:9: no"
    for width, dark in FORMS:
        await chromium.show(f"{proxy.origin}{path}", width=width, dark=dark)
        assert await chromium.evaluate("document.querySelectorAll('.alert li').length") == 2
        assert await chromium.evaluate("document.documentElement.scrollWidth") <= width
        await chromium.evaluate(AXE.read_text("utf-8"))
        found: dict[str, Any] = await chromium.evaluate("axe.run()")
        assert [each["id"] for each in found["violations"]] == []


async def test_the_tabs_of_the_first_page_need_no_scripts(proxy: RunningProxy, chromium: Chromium) -> None:
    await chromium.show(f"{proxy.origin}/", width=390)
    shown = "[...document.querySelectorAll('.tabs pre')].filter(each => each.checkVisibility()).map(e => e.textContent)"
    assert [each.partition(" ")[0] for each in await chromium.evaluate(shown)] == ["pip"]
    await chromium.evaluate("document.querySelector('.tabs input').focus()")
    await chromium.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight", windowsVirtualKeyCode=39)
    assert [each.partition("\n")[0] for each in await chromium.evaluate(shown)] == ["[[index]]"], "by keyboard"
    await chromium.evaluate("document.querySelectorAll('.tabs label')[3].click()")
    assert [each.partition("\n")[0] for each in await chromium.evaluate(shown)] == ["[[tool.pdm.source]]"]


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: see tests/install-browser.sh")
@pytest.mark.parametrize("name", PAGES)
async def test_a_page_has_no_barriers_by_axe(proxy: RunningProxy, chromium: Chromium, name: str) -> None:
    source = AXE.read_text("utf-8")
    for width, dark in FORMS:
        await chromium.show(await address_of(proxy, name), width=width, dark=dark)
        await chromium.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        await chromium.evaluate(source)
        found: dict[str, Any] = await chromium.evaluate("axe.run()")
        assert len(found["passes"]) > 10
        assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found["violations"]] == [], (
            f"width {width}, dark {dark}"
        )
    await chromium.evaluate("document.querySelector('main h1').style.color = '#777'; document.title = ''")
    broken = await chromium.evaluate("axe.run()")
    assert {"document-title"} <= {each["id"] for each in broken["violations"]}, "axe finds a deliberate violation"


async def test_thousands_of_withheld_files_are_a_page_of_less_than_6000_pixels_on_a_phone(
    chromium: Chromium,
) -> None:
    facts = ProjectFacts(name="foo", index="pypi", files=make_withheld_files(160, 24))
    body = render_project_page(facts, Selection(), NOW)
    async with serve_page(body) as address:
        await chromium.show(address, width=390)
        assert await chromium.evaluate("document.documentElement.scrollHeight") < 6000
        assert await chromium.evaluate("document.querySelectorAll('.row').length") == VERSIONS_PER_PAGE
        assert await chromium.evaluate("document.documentElement.scrollWidth") <= 390


async def test_a_person_goes_to_a_version_and_opens_a_file_with_the_keyboard(
    proxy: RunningProxy, chromium: Chromium
) -> None:
    await chromium.show(f"{proxy.origin}/project/widget")
    await chromium.evaluate("document.querySelector('#version').focus()")
    await chromium.call("Input.insertText", text="1.4")
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
    await chromium.follow(chromium.call("Input.dispatchKeyEvent", type="keyDown", **enter))
    assert await chromium.evaluate("location.search") == "?version=1.4"
    assert await chromium.evaluate("document.querySelector('h2').textContent") == "Version 1.4"
    await chromium.evaluate("document.querySelector('section summary').focus()")
    await chromium.call("Input.dispatchKeyEvent", type="keyDown", **enter)
    assert await chromium.evaluate("document.querySelector('section details').open")
    assert chromium.complaints == []


async def test_a_link_to_a_file_shows_the_file(proxy: RunningProxy, chromium: Chromium) -> None:
    filename = "widget-1.4-py3-none-any.whl"
    await chromium.show(f"{proxy.origin}/project/widget?version=1.4#file-{filename}", height=300)
    found = "document.querySelector(':target')"
    assert await chromium.evaluate(f"{found}.querySelector('summary').textContent") == filename
    assert await chromium.evaluate(f"{found}.checkVisibility()")
    assert await chromium.evaluate(f"{found}.getBoundingClientRect().top") < 300


async def test_a_person_finds_a_project_by_its_name_with_the_keyboard(proxy: RunningProxy, chromium: Chromium) -> None:
    await chromium.show(f"{proxy.origin}/")
    await chromium.evaluate("document.querySelector('#name').focus()")
    await chromium.call("Input.insertText", text="Widget")
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
    await chromium.follow(chromium.call("Input.dispatchKeyEvent", type="keyDown", **enter))
    assert await chromium.evaluate("location.pathname") == "/project/widget"
    assert await chromium.evaluate("document.querySelector('h1').textContent") == "widget"
    assert chromium.complaints == []
