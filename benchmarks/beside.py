"""Latency of an ordinary client beside another client that takes as much as it can.

The other client has its own address (127.0.0.2) and its own process. The ordinary client requests a warm page, and cold
pages that are not cached. It also logs in as users whose passwords are not cached.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from assay.web.auth import format_password_entry
from benchmarks import servers
from benchmarks.content import JSON, Tree
from benchmarks.report import Table

_SECONDS = 10
_WARM_PAUSE_SECONDS, _COLD_PAUSE_SECONDS, _LOGIN_PAUSE_SECONDS = 0.02, 0.25, 1.0
_WARM_BAR_MS, _COLD_BAR_SECONDS = 50, 2
_DOWNLOADS, _GUESSERS, _ASKERS = 100, 120, 16
_DOWNLOAD_BYTES = 20_000_000
_OTHER_ADDRESS = "127.0.0.2"
_PASSWORD = "correct horse battery staple"  # noqa: S105 - not a secret
_MARGIN_SECONDS = 3.0

Load = Callable[[aiohttp.ClientSession, str, int], Awaitable[None]]


def run(table: Table, root: Path) -> None:
    """Measure the ordinary client beside nothing and beside each load, and add the rows to `table`."""
    port = servers.free_port()
    tree = Tree(root / "tree", f"http://127.0.0.1:{port}")
    tree.page_of("hundred", 100)
    loads: dict[str, Load | None] = {
        "nothing": None,
        f"{_DOWNLOADS} greedy downloads": _download,
        f"{_GUESSERS} guessers of passwords": _guess,
        "invented hosts": _invent_hosts,
        "invented names": _invent_names,
    }
    for number in range(_DOWNLOADS):
        tree.file("greedy", f"{number}.0", _DOWNLOAD_BYTES, folder="trickle")
    for number in range(int(_SECONDS / _COLD_PAUSE_SECONDS)):
        for place in range(len(loads)):
            tree.page_of(f"cold-{place}-{number}", 20)
    tree.write()
    users = [f"user-{place}-{number}" for place in range(len(loads)) for number in range(_SECONDS)]
    lines = [format_password_entry(user, _PASSWORD) for user in ("ordinary", "greedy", *users)]
    (root / "passwords").write_text("\n".join(lines) + "\n")
    settings = f'[server.auth]\npasswords = "{root}/passwords"\n'
    with servers.nginx(root / "nginx", tree.root, port) as upstream:
        for place, (name, load) in enumerate(loads.items()):
            storage = root / f"assay-{place}"
            with servers.assay(storage, upstream, settings=settings) as assay, _running(load, assay.origin, port):
                found = asyncio.run(_measure(assay.origin, place))
            for kind, (bar, unit, scale) in {
                "warm page": (_WARM_BAR_MS, " ms", 1e3),
                "cold page": (_COLD_BAR_SECONDS, " s", 1.0),
                "first login": (_COLD_BAR_SECONDS, " s", 1.0),
            }.items():
                delays = sorted(found[kind])
                p99 = delays[min(len(delays) - 1, int(len(delays) * 0.99))] * scale
                table.add(f"beside {name}: p99 of a {kind}", [p99], unit=unit, most=bar, note=f"of {len(delays)}")


@contextmanager
def _running(load: Load | None, origin: str, port: int) -> Iterator[None]:
    if load is None:
        yield
        return
    process = multiprocessing.get_context("spawn").Process(target=_run_load, args=(load, origin, port))
    process.start()
    time.sleep(_MARGIN_SECONDS)
    try:
        if process.exitcode is not None:
            raise SystemExit(f"the load {load.__name__} ended with {process.exitcode}")
        yield
    finally:
        process.terminate()
        process.join()


def _run_load(load: Load, origin: str, port: int) -> None:
    async def forever() -> None:
        connector = aiohttp.TCPConnector(limit=0, local_addr=(_OTHER_ADDRESS, 0))
        async with aiohttp.ClientSession(connector=connector, headers={"Accept": JSON}) as session:
            async with session.get(f"{origin}/simple/hundred/", headers=_sign_in("greedy", _PASSWORD)) as response:
                await response.read()
            await load(session, origin, port)

    asyncio.run(forever())


async def _measure(origin: str, place: int) -> dict[str, list[float]]:
    """Return the seconds that each request of the ordinary client took, by kind of request."""
    found: dict[str, list[float]] = {"warm page": [], "cold page": [], "first login": []}
    async with aiohttp.ClientSession(headers={"Accept": JSON}) as session:

        async def measure(kind: str, path: str, user: str) -> None:
            started = time.perf_counter()
            async with session.get(f"{origin}{path}", headers=_sign_in(user, _PASSWORD)) as response:
                await response.read()
                if response.status != 200:
                    raise SystemExit(f"{kind} {path} is answered {response.status}")
            found[kind].append(time.perf_counter() - started)

        async def repeat(kind: str, pause_seconds: float, path: str, user: str) -> None:
            running = []
            for number in range(int(_SECONDS / pause_seconds)):
                running.append(asyncio.create_task(measure(kind, path.format(number), user.format(number))))
                await asyncio.sleep(pause_seconds)
            await asyncio.gather(*running)

        await measure("warm page", "/simple/hundred/", "ordinary")
        found["warm page"].clear()
        await asyncio.gather(
            repeat("warm page", _WARM_PAUSE_SECONDS, "/simple/hundred/", "ordinary"),
            repeat("cold page", _COLD_PAUSE_SECONDS, f"/simple/cold-{place}-{{}}/", "ordinary"),
            repeat("first login", _LOGIN_PAUSE_SECONDS, "/simple/hundred/", f"user-{place}-{{}}"),
        )
    return found


def _sign_in(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


async def _download(session: aiohttp.ClientSession, origin: str, port: int) -> None:
    """Download files slowly from the index, all at once."""
    signed_in = _sign_in("greedy", _PASSWORD)

    async def download(number: int) -> None:
        path = f"/trickle/greedy/greedy-{number}.0-py3-none-any.whl"
        while True:
            async with session.get(f"{origin}/files/127.0.0.1:{port}{path}", headers=signed_in) as response:
                async for _ in response.content.iter_any():
                    pass

    await asyncio.gather(*(download(number) for number in range(_DOWNLOADS)))


async def _guess(session: aiohttp.ClientSession, origin: str, _port: int) -> None:
    """Try wrong passwords of the ordinary user."""
    guesses = itertools.count()
    await _ask_repeatedly(
        session,
        _GUESSERS,
        lambda: (f"{origin}/simple/hundred/", _sign_in("ordinary", f"guess {next(guesses)}")),
    )


async def _invent_hosts(session: aiohttp.ClientSession, origin: str, _port: int) -> None:
    """Request a page with ports that the proxy does not have."""
    ports = itertools.cycle(range(1024, 65_000))
    signed_in = _sign_in("greedy", _PASSWORD)
    await _ask_repeatedly(
        session,
        _ASKERS,
        lambda: (f"{origin}/simple/hundred/", {**signed_in, "Host": f"localhost:{next(ports)}"}),
    )


async def _invent_names(session: aiohttp.ClientSession, origin: str, _port: int) -> None:
    """Request pages of projects that do not exist."""
    names = itertools.count()
    signed_in = _sign_in("greedy", _PASSWORD)
    await _ask_repeatedly(session, _ASKERS, lambda: (f"{origin}/simple/invented-{next(names)}/", signed_in))


async def _ask_repeatedly(
    session: aiohttp.ClientSession, count: int, choose: Callable[[], tuple[str, dict[str, str]]]
) -> None:
    async def ask() -> None:
        while True:
            url, headers = choose()
            async with session.get(url, headers=headers) as response:
                await response.read()

    await asyncio.gather(*(ask() for _ in range(count)))
