"""Server on aiohttp's low-level `web.Server` that only sends files: the limit for a proxy on aiohttp.

python bare.py PORT DIRECTORY   (serves every file in DIRECTORY at its path, from memory)
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiohttp import web

JSON = "application/vnd.pypi.simple.v1+json"


def read(directory: Path) -> dict[str, bytes]:
    return {f"/{path.relative_to(directory)}": path.read_bytes() for path in directory.rglob("*") if path.is_file()}


async def main(port: int, bodies: dict[str, bytes]) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        body = bodies.get(request.raw_path)
        if body is None:
            return web.Response(text="ready")
        headers = {
            "Content-Type": JSON,
            "ETag": '"0123456789abcdef"',
            "Cache-Control": "private, no-cache",
            "Vary": "Accept, Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }
        if request.headers.get("If-None-Match") == '"0123456789abcdef"':
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers=headers)

    server = web.Server(answer, access_log=None)
    await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), read(Path(sys.argv[2]))))
