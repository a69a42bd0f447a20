"""Waiting for a state of other processes that they do not announce."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec

import aiohttp

from tests.world.index.fake_index import ListedFile
from tests.world.proxy.proxy_client import ProxyClient

Arguments = ParamSpec("Arguments")
GENEROUS_SECONDS = 60
"""Limit on everything that should take seconds; a test that reaches it fails."""


async def eventually(
    check: Callable[Arguments, Awaitable[object]], *arguments: Arguments.args, **named: Arguments.kwargs
) -> None:
    """Call `check` until it returns instead of raising `AssertionError`; raise its last error after a minute."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + GENEROUS_SECONDS
    while True:
        try:
            await check(*arguments, **named)
        except AssertionError:
            if loop.time() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return


async def check_file(client: ProxyClient, listed: ListedFile) -> None:
    """Check that a file is served whole. A response that ends early is an `AssertionError` too."""
    try:
        answer = await client.get(client.files_path(listed))
    except aiohttp.ClientError as error:
        raise AssertionError(f"{listed.built.filename}: {error}") from error
    assert answer.status == 200, (answer.status, answer.reason)
    assert answer.body == listed.built.content
