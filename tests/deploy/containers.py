"""Containers of the image, run by podman without a daemon."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.deploy.tools import free_port
from tests.paths import TOOLS
from tests.world.clients.installers import ClientResult, run_client
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import SIMPLE_JSON

STORAGE = TOOLS / "containers" / "storage.conf"
STRICT = (
    *("--network", "host", "--read-only", "--read-only-tmpfs=false", "--cap-drop", "all", "--memory", "256m"),
    *("--security-opt", "no-new-privileges", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"),
)
"""--read-only-tmpfs=false: podman would otherwise make /tmp, /run and more writable. --ulimit: it cannot raise ours."""


async def podman(tmp_path: Path, *arguments: str) -> ClientResult:
    settings = f"CONTAINERS_STORAGE_CONF={STORAGE}"
    runtime = ("--runtime", "/usr/sbin/runc", "--cgroup-manager", "cgroupfs", "--log-level", "fatal")
    return await run_client("env", settings, "podman", *runtime, *arguments, home=tmp_path)


@dataclass
class Container:
    """Running container of Assay."""

    name: str
    origin: str
    place: Path
    seconds: float
    """Time from the command to readiness, in seconds."""

    async def podman(self, command: str, *arguments: str) -> str:
        outcome = await podman(self.place, command, *arguments)
        assert outcome.status == 0, outcome.output
        return outcome.output.strip()

    async def python(self, code: str) -> ClientResult:
        return await podman(self.place, "exec", self.name, "python", "-c", code)

    async def listed(self, project: str) -> list[str]:
        """Return the filenames on the page of a project, without the tombstones, which are never served."""
        async with (
            aiohttp.ClientSession(headers={"Accept": SIMPLE_JSON}) as session,
            session.get(f"{self.origin}/simple/{project}/") as answer,
        ):
            page = await answer.json(content_type=None)
            return [each["filename"] for each in page["files"] if not each["url"].endswith("?withheld")]


def policy_text(*denied: str) -> str:
    denials = f'[[rules]]\nname = "not these"\nprojects = {json.dumps(denied)}\ndeny = "no"\n' if denied else ""
    return f'version = 1\n{denials}[[rules]]\nname = "all"\nprojects = ["*"]\n'


async def ready(origin: str, tmp_path: Path, name: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            try:
                async with session.get(f"{origin}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                running = await podman(tmp_path, "inspect", "--format", "{{.State.Running}}", name)
                if "true" not in running.output:
                    pytest.fail((await podman(tmp_path, "logs", name)).output)
            await asyncio.sleep(0.02)


def swap(directory: Path, version: str, policy: str) -> None:
    """Put a policy under its name as the kubelet does with a ConfigMap: a new directory, a renamed symbolic link."""
    (directory / f"..{version}").mkdir()
    (directory / f"..{version}" / "policy.toml").write_text(policy, "utf-8")
    (directory / "..data_tmp").symlink_to(f"..{version}")
    (directory / "..data_tmp").rename(directory / "..data")
    if not (directory / "policy.toml").is_symlink():
        (directory / "policy.toml").symlink_to("..data/policy.toml")


@asynccontextmanager
async def contained(
    image: str, index: Index, tmp_path: Path, volume: Path, user: str = "10001:10001", **more: str
) -> AsyncIterator[Container]:
    """Run the image in front of the test's index."""
    settings = tmp_path / "etc"
    settings.mkdir()
    (settings / "proxy.toml").write_text(
        f'[trust]\nrefresh = false\n[[indexes]]\nname = "test"\nurl = "{index.url}"\n'
        f'file-hosts = ["{index.files_host}"]\n',
        "utf-8",
    )
    swap(settings, "first", policy_text("denied"))
    port = free_port()
    name = f"assay-test-{port}"
    variables = {
        "ASSAY_SERVER__HOST": "127.0.0.1",
        "ASSAY_SERVER__PORT": port,
        "ASSAY_CONFIG": "/etc/assay/proxy.toml",
        "ASSAY_POLICY": "/etc/assay/policy.toml",
        **more,
    }
    began = time.monotonic()
    run = await podman(
        tmp_path,
        *("run", "--detach", "--name", name, "--pull", "never", *STRICT, "--user", user),
        *(part for key, value in variables.items() for part in ("--env", f"{key}={value}")),
        *("--volume", f"{settings}:/etc/assay:ro", "--volume", f"{volume}:/var/lib/assay", image),
    )
    assert run.status == 0, run.output
    try:
        origin = f"http://127.0.0.1:{port}"
        await ready(origin, tmp_path, name)
        yield Container(name, origin, tmp_path, time.monotonic() - began)
    finally:
        await podman(tmp_path, "rm", "--force", "--time", "30", name)
