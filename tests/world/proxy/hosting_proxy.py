"""Proxy with a hosted index `internal`, which owns the names `acme` and `acme-*`, in front of a test index.

::

    async with run_hosting_proxy(tmp_path) as world:
        answer = await world.upload(wheel("acme-app", "1.0"))       # signed by GitHub acme/app
        answer = await world.upload(built, attestations=[], user="eve")
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from assay.assembly import Tuning
from tests.world.index.distributions import BuiltDistribution
from tests.world.index.fake_index import Index
from tests.world.proxy.auth_proxy import make_basic_header
from tests.world.proxy.running_proxy import (
    ATTESTED_ONLY_POLICY,
    ManualClock,
    ReadResponse,
    RunningProxy,
    make_configuration,
    run_test_proxy,
)
from tests.world.sigstore.private_sigstore import SIGNING_TIME, GitHub, PrivateSigstore, Signer

TOKENS = {"bot": "bot-token-1", "eve": "eve-token-2", "alice": "alice-token-3", "other-bot": "other-token-4"}
"""Token of each user. `bot` uploads acme-app and acme-tools, `other-bot` acme-other; `alice` is the manager."""
RELEASER = GitHub(repository="acme/app")
INDEX_TABLE: dict[str, Any] = {
    "name": "internal",
    "kind": "hosted",
    "projects": ["acme", "acme-*"],
    "uploaders": [
        {"user": "bot", "projects": ["acme-app", "acme-tools"]},
        {"user": "other-bot", "projects": ["acme-other"]},
    ],
    "managers": ["alice"],
}


@dataclass
class HostingProxy:
    """Running proxy with a hosted index."""

    proxy: RunningProxy
    index: Index
    sigstore: PrivateSigstore
    directory: Path

    @property
    def hosted_directory(self) -> Path:
        return self.directory / "hosted"

    @property
    def upload_url(self) -> str:
        return f"{self.proxy.origin}/upload/internal/"

    def sign(self, built: BuiltDistribution, signer: Signer = RELEASER, **changes: Any) -> dict[str, Any]:
        """Return an attestation of a distribution."""
        return self.sigstore.attestation(built.filename, built.sha256, signer, **changes)

    async def upload(
        self,
        built: BuiltDistribution,
        *,
        attestations: Sequence[Mapping[str, Any]] | None = None,
        user: str = "bot",
        fields: Mapping[str, str | None] | None = None,
        path: str = "/upload/internal/",
    ) -> ReadResponse:
        """Upload a distribution as twine does.

        Args:
            built: the distribution.
            attestations: attestations to send; None: one by `RELEASER`.
            user: user whose token is sent.
            fields: fields to add or replace; those with the value None are left out.
            path: path of the upload API.
        """
        sent = [self.sign(built)] if attestations is None else attestations
        form = aiohttp.FormData()
        for name, value in {**make_form_fields(built, sent), **(fields or {})}.items():
            if value is not None:
                form.add_field(name, value)
        form.add_field("classifiers", "Programming Language :: Python :: 3")
        form.add_field("classifiers", "Private :: Do Not Upload")
        form.add_field(
            "content", io.BytesIO(built.content), filename=built.filename, content_type="application/octet-stream"
        )
        return await self.post(path, form, user)

    async def manage(self, project: str, action: str, content: Any, user: str = "alice") -> ReadResponse:
        """Send a change to the API for managers."""
        return await self.post(f"/hosted/internal/{project}/{action}", json.dumps(content).encode(), user)

    async def post(self, path: str, data: Any, user: str, headers: Mapping[str, str] | None = None) -> ReadResponse:
        target = URL(f"{self.proxy.origin}{path}", encoded=True)
        headers = {**make_basic_header("__token__", TOKENS.get(user, user)), **(headers or {})}
        async with self.proxy.session.post(target, data=data, headers=headers) as response:
            return ReadResponse(response.status, response.reason or "", response.headers, await response.read())

    async def get(self, path: str, user: str = "bot", **headers: str) -> ReadResponse:
        return await self.proxy.get(path, {**make_basic_header("__token__", TOKENS[user]), **headers})

    async def fetch_page(self, project: str) -> Any:
        """Return the JSON page of a project."""
        answer = await self.get(f"/simple/{project}/", Accept="application/vnd.pypi.simple.v1+json")
        assert answer.status == 200, (answer.status, answer.reason, answer.body)
        return answer.json()

    async def fetch_listed(self, project: str) -> set[str]:
        """Return the filenames on the JSON page of a project, without the tombstones, which are never served."""
        files = (await self.fetch_page(project))["files"]
        return {entry["filename"] for entry in files if not entry["url"].endswith("?withheld")}


def make_form_fields(built: BuiltDistribution, attestations: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """Return the fields of an upload form except the file."""
    return {
        ":action": "file_upload",
        "protocol_version": "1",
        "filetype": "bdist_wheel" if built.filename.endswith(".whl") else "sdist",
        "pyversion": "py3" if built.filename.endswith(".whl") else "source",
        "metadata_version": "2.1",
        "name": built.project,
        "version": built.version,
        "sha256_digest": built.sha256,
        "blake2_256_digest": built.blake2_256,
        "attestations": json.dumps(list(attestations)) if attestations else None,
    }


def write_tokens(path: Path) -> Path:
    lines = (f"{user}:{hashlib.sha256(token.encode()).hexdigest()}\n" for user, token in TOKENS.items())
    path.write_text("".join(lines))
    return path


@asynccontextmanager
async def run_hosting_proxy(
    directory: Path,
    *,
    policy: str = ATTESTED_ONLY_POLICY,
    index_keys: Mapping[str, Any] | None = None,
    tuning: Tuning | None = None,
    **tables: Any,
) -> AsyncIterator[HostingProxy]:
    """Run a proxy with a hosted index; `index_keys` replace keys of its table, `tables` those of the configuration."""
    sigstore = PrivateSigstore(seed=1)
    auth = {"tokens": str(write_tokens(directory / "tokens"))}
    async with Index() as index:
        public = {"name": "test", "url": index.url, "file-hosts": [index.files_host]}
        configuration = make_configuration(
            index,
            directory / "assay",
            sigstore,
            **{
                "server": {"port": 0, "auth": auth},
                "storage": {"directory": str(directory / "assay"), "hosted": str(directory / "hosted")},
                "indexes": [{**INDEX_TABLE, **(index_keys or {})}, public],
                **tables,
            },
        )
        async with run_test_proxy(
            index, directory, policy=policy, configuration=configuration, clock=ManualClock(SIGNING_TIME), tuning=tuning
        ) as proxy:
            yield HostingProxy(proxy, index, sigstore, directory)
