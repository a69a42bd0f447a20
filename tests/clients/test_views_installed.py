"""Installs by pip and uv through a view: only its listed files, with metadata and lockfile hashes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.world.clients.installers import ClientResult, pip_install, uv_install
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import make_configuration, run_test_proxy

pytestmark = pytest.mark.clients

OPEN = 'version = 1\n[[rules]]\nname = "open"\nprojects = ["*"]\n'
NARROW = (
    'version = 1\nwithheld = "explain"\n[[rules]]\nname = "no news"\nprojects = ["top"]\nuploaded-before = 2024-01-02\n'
)
NARROW += '[[rules]]\nname = "rest"\nprojects = ["*"]\n'
Installer = Callable[..., Awaitable[ClientResult]]


@pytest.mark.parametrize("install", [pip_install, uv_install])
async def test_each_view_installs_what_it_lists(tmp_path: Path, install: Installer) -> None:
    async with Index() as index:
        for version, uploaded in (("1.0", "2024-01-01T00:00:00Z"), ("2.0", "2024-02-01T00:00:00Z")):
            index.add(wheel("top", version, requires=["below"]), upload_time=uploaded)
        index.add(wheel("below", "1.0"))
        views = [{"name": "narrow", "path": "/narrow/"}, {"name": "wide", "path": "/teams/wide/"}]
        configuration = make_configuration(index, tmp_path / "assay", views=views)
        policies = {"default": OPEN, "narrow": NARROW, "wide": OPEN}
        async with run_test_proxy(index, tmp_path, policies=policies, configuration=configuration) as proxy:

            async def installed(path: str, *wanted: str) -> set[str]:
                target = tmp_path / path.strip("/").replace("/", "-")
                outcome = await install(proxy.at_path(path).url, *wanted, home=tmp_path, target=target)
                if outcome.status:
                    return {outcome.output}
                return {each.name.removesuffix(".dist-info") for each in target.glob("*.dist-info")}

            assert await installed("/narrow/", "top") == {"top-1.0", "below-1.0"}
            assert await installed("/teams/wide/", "top") == {"top-2.0", "below-1.0"}
            [refused] = await installed("/narrow/", "top==2.0")
            assert "uploaded-after" in refused
            assert index.count(index.page_path("top")) == 1, "for both views"
