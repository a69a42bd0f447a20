"""The example config/examples/replicas: three replicas on one machine, started by its script, serve files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.paths import ROOT
from tests.scale.engines import SharedEngines
from tests.scale.replicas import ADDRESSES
from tests.scale.waiting import eventually
from tests.world.engines.processes import get_free_port
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.proxy_client import ProxyClient

pytestmark = pytest.mark.scale

EXAMPLE = ROOT / "config" / "examples" / "replicas"


async def test_the_script_starts_three_replicas_that_share_their_storage(tmp_path: Path, shared: SharedEngines) -> None:
    port, peer_port = (get_free_port(*ADDRESSES) for _ in range(2))
    trial = tmp_path / "trial"
    await asyncio.to_thread(shutil.copytree, EXAMPLE, trial)
    (trial / "start.sh").write_text((trial / "start.sh").read_text().replace(":8081", f":{peer_port}"))
    (trial / "shared-key").write_bytes(shared.key_file.read_bytes())
    async with Index() as index, aiohttp.ClientSession(skip_auto_headers=("Accept-Encoding",)) as session:
        listed = index.add(wheel("foo", "1.0", padding=100_000))
        configuration = (trial / "proxy.toml").read_text("utf-8")
        configuration = configuration.replace(":8081", f":{peer_port}").replace("8080", str(port))
        tail = f'[trust]\nrefresh = false\n[[indexes]]\nname = "test"\nurl = "{index.url}"\n'
        (trial / "proxy.toml").write_text(f"{configuration}{tail}", "utf-8")
        variables = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "REPLICA_DIRECTORY": str(tmp_path / "replicas"),
            "ASSAY_VERIFICATION__WORKERS": "0",
            "ASSAY_STORAGE__SHARED__DEPLOYMENT": shared.deployment,
            "ASSAY_STORAGE__SHARED__DATABASE": shared.postgres.get_url(shared.database, user="assay_app"),
            "ASSAY_STORAGE__SHARED__ENDPOINT": shared.s3.endpoint,
            **shared.environ,
        }
        with (tmp_path / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                "sh", str(trial / "start.sh"), env=variables, stderr=log, stdout=log
            )
        clients = [ProxyClient(f"http://{address}:{port}", session) for address in ADDRESSES[:3]]
        try:

            async def are_ready() -> None:
                assert process.returncode is None, (tmp_path / "log").read_text()
                for client in clients:
                    try:
                        assert (await client.get("/readyz")).status == 200
                    except aiohttp.ClientConnectionError as error:
                        raise AssertionError(client.origin) from error

            await eventually(are_ready)
            for client in clients:
                assert await client.fetch_listed("foo") == {listed.built.filename}
                assert (await client.get(client.files_path(listed))).body == listed.built.content
            assert index.count(index.page_path("foo")) == 1
            assert index.count(listed.path) == 1
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 60)
    assert (tmp_path / "log").read_text().count('"event": "stopped"') == 3
