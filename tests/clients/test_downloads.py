"""Downloads by curl, wget -c, pip and uv from a faulty index: the right file or an error, never a spliced file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.world.clients.installers import pip_install, requires_tool, run_client, uv_install
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import Corrupt, Fault, NoRange, Oversize, Reset, Truncate
from tests.world.proxy.running_proxy import run_test_proxy

pytestmark = pytest.mark.clients

BIG = 400_000
FAULTS: list[tuple[Fault, int | None, bool]] = [
    (Corrupt(100), None, False),
    (Corrupt(-1), None, False),
    (Truncate(100), None, False),
    (Oversize(10), None, False),
    # The proxy resumes these downloads itself.
    (Truncate(200_000), None, True),
    (Reset(200_000), 1, True),
]
BROKEN = pytest.mark.parametrize(("fault", "times", "healed"), FAULTS, ids=repr)


def content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


@requires_tool("curl")
@BROKEN
async def test_curl_ends_with_the_right_file_or_an_error(
    tmp_path: Path, fault: Fault, times: int | None, healed: bool
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path / "proxy") as proxy:
        listed = index.add(wheel("foo", "1.0", padding=BIG))
        index.inject_fault(listed.path, fault, times=times)
        url, out = f"{proxy.origin}{proxy.files_path(listed)}", tmp_path / "out"
        first = await run_client("curl", "-sS", "--fail", "-o", str(out), url, home=tmp_path)
        assert (first.status == 0) == (content(out) == listed.built.content), first.output
        assert (first.status == 0) == healed, first.output
        index.clear_faults()
        # To resume a broken download, curl sends an open-ended Range without If-Range.
        second = await run_client("curl", "-sS", "--fail", "-C", "-", "-o", str(out), url, home=tmp_path)
        assert second.status != 0 or content(out) == listed.built.content, second.output
        fresh = await run_client("curl", "-sS", "--fail", "-o", str(out), url, home=tmp_path)
        assert (fresh.status, content(out)) == (0, listed.built.content)


@requires_tool("wget")
@BROKEN
async def test_wget_continues_with_the_right_file_or_an_error(
    tmp_path: Path, fault: Fault, times: int | None, healed: bool
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path / "proxy") as proxy:
        listed = index.add(wheel("foo", "1.0", padding=BIG))
        index.inject_fault(listed.path, fault, times=times)
        url, out = f"{proxy.origin}{proxy.files_path(listed)}", tmp_path / "out"
        command = ("wget", "-q", "-c", "--tries=2", "--waitretry=0", "-O", str(out), url)
        first = await run_client(*command, home=tmp_path)
        assert (first.status == 0) == healed == (content(out) == listed.built.content), first.output
        index.clear_faults()
        second = await run_client(*command, home=tmp_path)
        assert second.status != 0 or content(out) == listed.built.content, second.output
        out.unlink(missing_ok=True)
        third = await run_client(*command, home=tmp_path)
        assert (third.status, content(out)) == (0, listed.built.content)


@BROKEN
@pytest.mark.parametrize("install", [pip_install, uv_install], ids=["pip", "uv"])
async def test_installers_end_with_the_right_file_or_an_error(
    tmp_path: Path, fault: Fault, times: int | None, healed: bool, install: object
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path / "proxy") as proxy:
        listed = index.add(wheel("foo", "1.0", padding=BIG))
        index.inject_fault(listed.path, fault, times=times)
        arguments = {"home": tmp_path, "target": tmp_path / "broken"}
        # The client does not get the hash, so only the proxy protects it.
        broken = await install(proxy.url, "foo==1.0", **arguments)  # type: ignore[operator] # pip or uv
        assert (broken.status == 0) == healed, broken.output
        index.clear_faults()
        good = await install(proxy.url, "foo==1.0", home=tmp_path, target=tmp_path / "good")  # type: ignore[operator] # as above
        assert good.status == 0, good.output
        assert (tmp_path / "good" / "foo").exists()


@pytest.mark.parametrize("install", [pip_install, uv_install], ids=["pip", "uv"])
@pytest.mark.parametrize("mode", ["json", "html"])
async def test_a_second_install_asks_the_index_for_no_file(tmp_path: Path, install: object, mode: str) -> None:
    async with Index(content=mode) as index, run_test_proxy(index, tmp_path / "proxy") as proxy:  # type: ignore[arg-type] # a literal
        top = index.add(wheel("top", "1.0", requires=["below>=1"], padding=BIG))
        below = index.add(wheel("below", "1.2"))
        for target in ("first", "second"):
            done = await install(proxy.url, "top", home=tmp_path, target=tmp_path / target)  # type: ignore[operator] # pip or uv
            assert done.status == 0, done.output
            assert (tmp_path / target / "below").exists()
        assert (index.count(top.path, "GET"), index.count(below.path, "GET")) == (1, 1)


async def test_no_range_from_an_index_is_no_obstacle(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path / "proxy") as proxy:
        listed = index.add(wheel("foo", "1.0", padding=BIG))
        index.inject_fault(listed.path, NoRange(), times=None, when=lambda request: "range" in request.headers)
        index.inject_fault(listed.path, Reset(200_000), times=1)
        done = await uv_install(proxy.url, "foo", home=tmp_path, target=tmp_path / "target")
        assert done.status == 0, done.output
