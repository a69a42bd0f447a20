"""Headless Chromium, controlled by its debugging protocol, which shows a page and records its requests and errors.

::

    async with browser(tmp_path) as chromium:
        await chromium.show(f"{proxy.origin}/policy", width=400, dark=True)
        await chromium.evaluate("document.title")
        chromium.asked, chromium.complaints    # URLs that the page requested; errors, warnings and dialogs
        png = await chromium.screenshot()

The browser is Debian's package (tests/install-browser.sh). Without it the tests are skipped with a reason.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next((found for name in NAMES if (found := shutil.which(name))), None)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # CI runs as root in a container, and the browser visits only the test's own pages on loopback
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--metrics-recording-only",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_COMMAND_TIMEOUT_SECONDS = 60


class Chromium:
    """One tab of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()

    async def listen(self) -> None:
        """Receive the browser's messages until cancelled."""
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            else:
                self._take(said["method"], said["params"])

    def _take(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loaded.set()
            case "Network.requestWillBeSent":
                self.asked.append(params["request"]["url"])
            case "Runtime.exceptionThrown" | "Page.javascriptDialogOpening":
                self.complaints.append(json.dumps(params))
            case "Log.entryAdded" if params["entry"]["level"] in {"error", "warning"}:
                self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            case _:
                pass

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Run one command of the debugging protocol and return its result."""
        number = next(self._numbers)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(_COMMAND_TIMEOUT_SECONDS):
            said = await answer
        assert "error" not in said, said
        result: dict[str, Any] = said["result"]
        return result

    async def begin(self) -> None:
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.call(f"{domain}.enable")

    async def show(
        self, address: str, *, width: int = 1280, height: int = 900, scale: float = 1, dark: bool = False
    ) -> None:
        """Load a page into a window of the given size; `scale` is the number of device pixels per CSS pixel."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        await self.follow(self.call("Page.navigate", url=address))

    async def follow(self, step: Any) -> None:
        """Await a step that navigates to another page, and wait until that page is loaded."""
        self._loaded.clear()
        await step
        async with asyncio.timeout(_COMMAND_TIMEOUT_SECONDS):
            await self._loaded.wait()

    async def evaluate(self, script: str) -> Any:
        """Return the value of an expression; a promise is awaited."""
        result = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def screenshot(self, *, whole: bool = True, quality: int | None = None) -> bytes:
        """Return a picture of the whole page, or of the part that the window shows.

        It is a PNG, or with `quality` (1 to 100) a WebP.
        """
        picture = {"format": "png"} if quality is None else {"format": "webp", "quality": quality}
        taken = await self.call("Page.captureScreenshot", captureBeyondViewport=whole, **picture)
        return base64.b64decode(taken["data"])


@asynccontextmanager
async def browser(directory: Path) -> AsyncIterator[Chromium]:
    """Run a browser with a separate profile under `directory`, and yield its tab."""
    assert PROGRAM is not None
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        *_FLAGS,
        f"--user-data-dir={directory / 'profile'}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_COMMAND_TIMEOUT_SECONDS):
            address = await _address(process.stderr)
        reading = asyncio.create_task(_drain(process.stderr))
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{address}/json") as listed:
                tab = next(each for each in await listed.json() if each["type"] == "page")
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                chromium = Chromium(socket)
                listening = asyncio.create_task(chromium.listen())
                await chromium.begin()
                try:
                    yield chromium
                finally:
                    listening.cancel()
                    await asyncio.gather(listening, return_exceptions=True)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _address(stream: asyncio.StreamReader) -> str:
    while line := await stream.readline():
        if b"DevTools listening on ws://" in line:
            return line.decode().partition("ws://")[2].partition("/")[0]
    raise AssertionError("the browser ended before it listened")


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(65536):
        pass
