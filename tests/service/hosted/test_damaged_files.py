"""A damaged file of a hosted index concerns its project alone, which takes no uploads until it is repaired."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.world.index.distributions import wheel
from tests.world.proxy.hosting_proxy import run_hosting_proxy
from tests.world.sigstore.private_sigstore import GitHub

FIRST, SECOND, TOOL = wheel("acme-app", "1.0"), wheel("acme-app", "1.1"), wheel("acme-tools", "1.0")


def _set(**keys: Any) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        entry = json.loads((place / "entry.json").read_bytes())
        (place / "entry.json").write_text(json.dumps(entry | keys))

    return change


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "no content": lambda place: (place / "content").unlink(),
    "no entry": lambda place: (place / "entry.json").unlink(),
    "entry cut off": lambda place: (place / "entry.json").write_bytes(b"{"),
    "deep entry": lambda place: (place / "entry.json").write_bytes(b"[" * 200_000),
    "other version": _set(version="7"),
    "invalid version": _set(version="one"),
    "time without a zone": _set(uploaded="2026-11-01T00:00:00"),
    "invalid digest": _set(sha256="0"),
    "other size": _set(size=1),
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_a_project_with_a_damaged_file_takes_no_uploads(name: str, tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        for built in (FIRST, SECOND):
            assert (await world.upload(built)).status == 200
        place = world.hosted_directory / "internal" / "projects" / "acme-app" / "files" / FIRST.filename
    DAMAGES[name](place)

    async with run_hosting_proxy(tmp_path) as world:
        assert await world.fetch_listed("acme-app") == {SECOND.filename}
        assert (await world.upload(SECOND)).status == 200  # the same bytes again
        refused = await world.upload(wheel("acme-app", "1.0.0"))
        assert (refused.status, "is damaged" in refused.reason) == (503, True), refused.reason
        assert (await world.upload(TOOL)).status == 200


async def test_another_publisher_cannot_own_a_project_whose_only_file_is_damaged(tmp_path: Path) -> None:
    async with run_hosting_proxy(tmp_path) as world:
        assert (await world.upload(FIRST)).status == 200
        place = world.hosted_directory / "internal" / "projects" / "acme-app" / "files" / FIRST.filename
    (place / "entry.json").unlink()

    async with run_hosting_proxy(tmp_path) as world:
        stranger = world.sign(SECOND, GitHub(repository="evil/app"))
        assert (await world.upload(SECOND, attestations=[stranger])).status == 503
        assert await world.fetch_listed("acme-app") == set()
