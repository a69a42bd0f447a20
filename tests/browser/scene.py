"""Proxy for tests of the HTML pages: a project with every verdict, and hostile text wherever others write text.

::

    async with scene(tmp_path) as proxy:
        await proxy.get("/project/widget")
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.world.index.distributions import make_raw_file, sdist, wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy
from tests.world.sigstore.private_sigstore import PrivateSigstore
from tests.world.sigstore.signers import GitHub

SCRIPT = "<script>document.title='owned'</script>"
IMAGE = "<img src=x onerror=\"document.title='owned'\">"
RULE = f"everything else {IMAGE}"
POLICY = f"""
version = 1
[[rules]]
name = "not this one"
projects = ["denied"]
deny = "we use {SCRIPT} another library"
[[rules]]
name = "pyca builds its own"
projects = ["cryptography"]
publishers = [{{ kind = "GitHub", repository = "pyca/cryptography", workflow = "pypi-publish.yml" }}]
min-age = "3 days"
[[rules]]
name = '''{RULE}'''
projects = ["*"]
min-age = "3 days"
types = ["wheel", "sdist"]
[[waivers]]
name = "soon"
projects = ["numpy"]
uploaded-before = 2026-06-20
lifts = ["min-age"]
expires = 2026-07-08
reason = "{SCRIPT}"
approved-by = "security@acme.example"
[[waivers]]
name = "gone"
projects = ["numpy"]
versions = "==1.0"
uploaded-before = 2026-06-20
lifts = ["attestations"]
expires = 2026-06-08
reason = "it was needed once"
[[revocations]]
projects = ["stolen"]
versions = ">=2"
reason = "INC-1234"
"""


@asynccontextmanager
async def scene(directory: Path, *, policy: str = POLICY) -> AsyncIterator[RunningProxy]:
    """Run the proxy, with a few refused requests in its log."""
    sigstore = PrivateSigstore()
    async with Index() as index:
        fill(index, sigstore)
        denied = index.add(wheel("denied", "1.0"))
        indexes = [
            {"name": "test", "url": index.url, "except": ["acme-*"]},
            {"name": "acme", "url": index.url, "projects": ["acme-*"]},
        ]
        chosen = make_configuration(index, directory / "assay", sigstore, indexes=indexes)
        async with run_test_proxy(index, directory, policy=policy, configuration=chosen) as proxy:
            for path in (proxy.files_path(denied), f"/files/{index.files_host}/packages/bad/{BAD}"):
                await proxy.get(path.replace("<", "%3C").replace(">", "%3E").replace('"', "%22").replace(" ", "%20"))
            for project in ("widget", "denied"):
                await proxy.fetch_page(project)
            yield proxy


BAD = 'widget-1.0-py3-none-any<script>alert(1)<script>".whl'
"""Hostile filename of a withheld file. It has no ``/``, because a slash would end the filename in the URL."""


def fill(index: Index, sigstore: PrivateSigstore) -> None:
    """Add a project with releases by one publisher, none, another one, a forged one, and the first one again."""
    releases = (
        ("1.0", datetime(2026, 1, 10, tzinfo=UTC), GitHub()),
        ("1.1", datetime(2026, 2, 10, tzinfo=UTC), GitHub(ref="refs/tags/v1.1")),
        ("1.2", datetime(2026, 3, 10, tzinfo=UTC), GitHub(ref="refs/tags/v1.2")),
        ("1.3", datetime(2026, 4, 10, tzinfo=UTC), None),
        ("1.4", datetime(2026, 5, 10, tzinfo=UTC), GitHub(repository="mallory/widget")),
        ("1.5", datetime(2026, 6, 1, tzinfo=UTC), GitHub(ref="refs/tags/v1.5")),
        ("1.6", datetime(2026, 6, 30, tzinfo=UTC), GitHub(ref="refs/tags/v1.6")),
    )
    for version, when, signer in releases:
        for built in (wheel("widget", version), sdist("widget", version)):
            digest = built.sha256 if version != "1.5" else "0" * 64
            provenance = None if signer is None else sigstore.provenance(built.filename, digest, signer, when)
            index.add(
                built,
                provenance=provenance,
                upload_time=when.replace(minute=1),
                yanked=f"broken {SCRIPT} \u202etxt.exe\u202c \x1b[31mred" if version == "1.2" else False,
            )
    index.add(make_raw_file(BAD, project="widget"), directory="bad")
    index.set_status("widget", "archived", f"gone {IMAGE}")
