"""Quotations in docs/troubleshooting.md: pip and uv print every line of the first table."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from demo.running import demonstrated
from tests.paths import DOCS
from tests.world.clients.installers import pip_install, run_client, uv_install
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import Reply
from tests.world.proxy.running_proxy import make_configuration, run_test_proxy

pytestmark = pytest.mark.clients

PAGE = (DOCS / "troubleshooting.md").read_text("utf-8").partition("## Operators")[0]
ROWS = re.findall(r"^\| `([^`]+)` \| (pip|uv) \|", PAGE, re.MULTILINE)
"""Pairs of a quotation and the tool that prints it."""
OF_THE_DEMO = (
    "acme-widgets==1.4",
    "acme-abandoned",
    "acme-widgets~=1.9",
    "acme-nothing",
    "plain==9.9",
    "sampleproject==4.0.0",
    "acme-tampered==1.0",
    "no-such-project",
)


async def of_the_demo(directory: Path, said: dict[str, str]) -> None:
    async with demonstrated(directory) as demo:
        for wanted in OF_THE_DEMO:
            commands = [f". {demo.directory}/shell; {tool} install {wanted}" for tool in ("pip", "uv pip")]
            by_pip, by_uv = await asyncio.gather(*(run_client("sh", "-c", each, home=directory) for each in commands))
            said["pip"] += by_pip.output
            said["uv"] += by_uv.output


async def of_failures(tmp_path: Path, said: dict[str, str]) -> None:
    """Collect the output for an index that answers 503, a proxy with authentication, and a lockfile's wrong digest."""
    (tmp_path / "tokens").write_text(f"ci:{'0' * 64}\n")
    (tmp_path / "lock.txt").write_text(f"foo==1.0 --hash=sha256:{'0' * 64}\n")
    installers = {"pip": pip_install, "uv": uv_install}
    where = {"home": tmp_path, "target": tmp_path / "target"}
    async with Index() as index:
        index.add(wheel("foo", "1.0"))
        closed = make_configuration(
            index, tmp_path / "b", server={"port": 0, "auth": {"tokens": str(tmp_path / "tokens")}}
        )
        async with (
            run_test_proxy(index, tmp_path / "a") as proxy,
            run_test_proxy(index, tmp_path / "b", configuration=closed) as asking,
        ):
            for tool, install in installers.items():
                said[tool] += (
                    await install(proxy.url, "--require-hashes", "-r", str(tmp_path / "lock.txt"), **where)
                ).output
                said[tool] += (await install(asking.url, "foo", **where)).output
            attested = index.add(wheel("attested", "1.0"), provenance=b"{}", upload_time="2026-06-01T12:00:05Z")
            index.inject_fault(attested.provenance_path, Reply(500))
            said["pip"] += (await pip_install(proxy.url, "attested", **where)).output
            index.inject_fault("*", Reply(503))
            said["uv"] += (await uv_install(proxy.url, "bar", **where)).output


async def test_pip_and_uv_print_every_line_that_the_page_explains(tmp_path: Path) -> None:
    said = {"pip": "", "uv": ""}
    (tmp_path / "demo").mkdir()
    await of_the_demo(tmp_path / "demo", said)
    await of_failures(tmp_path, said)
    assert len(ROWS) > 15
    for words, tool in ROWS:
        pattern = ".+?".join(re.escape(part) for part in words.split("…"))
        assert re.search(pattern, " ".join(said[tool].split())), (tool, words, said[tool])
