"""Container image, built and run: read-only, with any user, without capabilities, in 256 MiB.

Takes minutes, so it is not in ``make test``::

    bash tests/install-tools.sh image
    python -m pytest tests/deploy/test_image.py -s          # -s shows the figures

``ASSAY_IMAGE`` names an image of the local storage instead of building one.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from pathlib import Path

import pytest

from tests.deploy.containers import Container, contained, podman, policy_text, swap
from tests.world.clients.installers import pip_install
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index

pytestmark = [pytest.mark.deploy, pytest.mark.long]


def volume_of(tmp_path: Path, *, mode: int, owner: int) -> Path:
    volume = tmp_path / "volume"
    volume.mkdir()
    os.chown(volume, owner, 0)
    volume.chmod(mode)
    return volume


def installed_in(target: Path) -> list[str]:
    return [path.name for path in target.glob("*.dist-info")]


async def test_pip_installs_through_it_and_it_stops_cleanly(image: str, tmp_path: Path) -> None:
    volume = volume_of(tmp_path, mode=0o700, owner=10001)
    async with Index() as index, contained(image, index, tmp_path, volume) as assay:
        for name in ("good", "denied"):
            index.add(wheel(name, "1.0", padding=300_000))
        installed = await pip_install(f"{assay.origin}/simple/", "good", home=tmp_path, target=tmp_path / "target")
        assert installed.status == 0, installed.output
        refused = await pip_install(f"{assay.origin}/simple/", "denied", home=tmp_path, target=tmp_path / "target")
        assert refused.status != 0
        assert installed_in(tmp_path / "target") == ["good-1.0.dist-info"]
        await assay.podman("healthcheck", "run", assay.name)

        used = json.loads(await assay.podman("stats", "--no-stream", "--format", "json", assay.name))[0]["mem_usage"]
        size = int(await assay.podman("image", "inspect", "--format", "{{.Size}}", image))
        began = time.monotonic()
        await assay.podman("stop", "--time", "30", assay.name)
        stopped = time.monotonic() - began
        assert await assay.podman("inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", assay.name) == (
            "0 false"
        )
        log = await assay.podman("logs", assay.name)
        assert [json.loads(line)["event"] for line in log.splitlines() if line.startswith("{")][-1] == "stopped"
        print(f"\nimage {size / 1e6:.0f} MB; ready {assay.seconds:.1f} s; stopped {stopped:.1f} s; memory {used}")


async def test_verification_workers_share_what_they_load_without_any_capability(image: str, tmp_path: Path) -> None:
    volume = volume_of(tmp_path, mode=0o700, owner=10001)
    async with (
        Index() as index,
        contained(image, index, tmp_path, volume, ASSAY_VERIFICATION__WORKERS="2") as assay,
        asyncio.timeout(30),
    ):
        while len(private := await private_memory(assay)) < 3:  # noqa: ASYNC110 - polls until the fork server has started both workers
            await asyncio.sleep(0.2)
    assert all(kilobytes < 12_000 for number, kilobytes in private.items() if number != 1), private


async def private_memory(assay: Container) -> dict[int, int]:
    """Return the private memory in kB of each process except the one that measures."""
    asked = await assay.python(
        "import os, re, pathlib\n"
        "for one in pathlib.Path('/proc').glob('[0-9]*/smaps_rollup'):\n"
        "    if int(one.parent.name) != os.getpid():\n"
        "        print(one.parent.name, re.search(r'Private_Dirty: +(\\d+)', one.read_text())[1])\n"
    )
    assert asked.status == 0, asked.output
    return {int(number): int(kilobytes) for number, kilobytes in map(str.split, asked.output.splitlines())}


async def test_it_can_write_to_its_volume_alone_and_do_nothing_as_root(image: str, tmp_path: Path) -> None:
    volume = volume_of(tmp_path, mode=0o700, owner=10001)
    async with Index() as index, contained(image, index, tmp_path, volume) as assay:
        tried = await assay.python(
            "import os, tempfile\n"
            "for place in ('/', '/tmp', '/etc/assay', '/opt/assay', '/run', '/var/tmp', '/home', '/var/lib/assay'):\n"
            "    try: tempfile.TemporaryFile(dir=place).close(); print('wrote', place)\n"
            "    except OSError: pass\n"
            "print(tempfile.gettempdir(), os.getuid(), os.getgid())\n"
            "print(*(line for line in open('/proc/1/status') if line.startswith(('CapEff', 'CapBnd', 'NoNewPrivs'))))\n"
        )
        assert [line for line in tried.output.splitlines() if line.startswith("wrote")] == ["wrote /var/lib/assay"]
        assert "/var/lib/assay 10001 10001" in tried.output
        assert dict(re.findall(r"(CapEff|CapBnd|NoNewPrivs):\s+(\w+)", tried.output)) == {
            "CapBnd": "0" * 16,
            "CapEff": "0" * 16,
            "NoNewPrivs": "1",
        }


@pytest.mark.parametrize(("mode", "owner", "user"), [(0o777, 0, "10001:10001"), (0o770, 0, "123456:0")])
async def test_any_volume_and_any_user_will_do(image: str, tmp_path: Path, mode: int, owner: int, user: str) -> None:
    # emptyDir and the volumes of some provisioners are open to all. Assay refuses such a
    # directory as its storage, and creates one inside it. OpenShift chooses the user, in group 0.
    volume = volume_of(tmp_path, mode=mode, owner=owner)
    async with Index() as index, contained(image, index, tmp_path, volume, user):
        assert (volume / "storage").stat().st_mode & 0o777 == 0o700
        assert (volume / "storage").stat().st_uid == int(user.partition(":")[0])


async def test_a_policy_that_is_swapped_like_a_config_map_is_obeyed(image: str, tmp_path: Path) -> None:
    volume = volume_of(tmp_path, mode=0o700, owner=10001)
    async with Index() as index, contained(image, index, tmp_path, volume) as assay:
        for name in ("denied", "other"):
            index.add(wheel(name, "1.0"))
        assert (await assay.listed("denied"), await assay.listed("other")) == ([], ["other-1.0-py3-none-any.whl"])
        swap(tmp_path / "etc", "second", policy_text("other"))
        async with asyncio.timeout(30):
            while not await assay.listed("denied"):  # noqa: ASYNC110 - a container cannot set an event
                await asyncio.sleep(0.1)
        assert await assay.listed("other") == []


async def test_it_holds_what_runs_and_is_labelled_and_starts_from_bytecode(image: str, tmp_path: Path) -> None:
    volume = volume_of(tmp_path, mode=0o700, owner=10001)
    async with Index() as index, contained(image, index, tmp_path, volume) as assay:
        packages = await assay.python(
            "import importlib.metadata as m; print(sorted({d.metadata['Name'].lower() for d in m.distributions()}))"
        )
        names = set(json.loads(packages.output.replace("'", '"')))
        assert {"assay-proxy", "sigstore", "aiohttp"} <= names, "a scanner finds what is installed"
        assert not {"pip", "setuptools", "wheel", "hatchling", "pluggy", "pathspec", "tomlkit"} & names
        sbom = await assay.python(
            "import importlib.metadata as m, json, sys\n"
            "[path] = [f for f in m.files('assay-proxy') if f.match('sboms/*.json')]\n"
            "components = json.loads(path.locate().read_text())['components']\n"
            "print(sorted(c['name'].lower().replace('_', '-') for c in components))\n"
        )
        listed = set(json.loads(sbom.output.replace("'", '"')))
        unlisted = {name.replace("_", "-") for name in names} - listed - {"assay-proxy"}
        assert not unlisted, "the SBOM lists every installed package"
        verbose = await podman(
            tmp_path,
            "exec",
            assay.name,
            "python",
            "-v",
            "-c",
            "import assay.cli.commands.serve, assay.attestation.pool.worker",
        )
        assert verbose.output.count("/opt/assay/bytecode/") > 500
        compiled = re.findall(r"# code object from '?(/\S+\.py)\b", verbose.output)
        assert not [path for path in compiled if "/site-packages/assay/" in path]
        assert len(compiled) < 5, "modules that only try to import what is not there; not hundreds at each start"
        labels = json.loads(await assay.podman("image", "inspect", "--format", "{{json .Labels}}", image))
        prefix = "org.opencontainers.image."
        assert labels[f"{prefix}licenses"] == "Apache-2.0"
        assert {f"{prefix}{each}" for each in ("title", "version", "revision", "base.name", "created")} <= set(labels)
