"""Process of `assay serve` with the hosted index of `hosting_proxy`."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.world.index.distributions import BuiltDistribution
from tests.world.index.fake_index import Index
from tests.world.proxy.auth_proxy import make_basic_header
from tests.world.proxy.hosting_proxy import TOKENS, make_form_fields, write_tokens
from tests.world.proxy.running_proxy import ATTESTED_ONLY_POLICY
from tests.world.proxy.serve_process import ServeProcess, run_serve_process
from tests.world.sigstore.private_sigstore import PrivateSigstore

_INDEX_TABLE = """
[[indexes]]
name = "internal"
kind = "hosted"
projects = ["acme", "acme-*"]
uploaders = [{ user = "bot", projects = ["acme-*"] }]
managers = ["alice"]
"""


@dataclass
class HostingProcess:
    """Running process with a client session."""

    served: ServeProcess
    session: aiohttp.ClientSession

    async def upload(self, built: BuiltDistribution, attestation: Mapping[str, Any]) -> tuple[int, str]:
        """Upload a distribution with one attestation; return the status and the reason phrase."""
        form = aiohttp.FormData()
        for name, value in make_form_fields(built, [attestation]).items():
            form.add_field(name, str(value))
        form.add_field("content", io.BytesIO(built.content), filename=built.filename)
        headers = make_basic_header("__token__", TOKENS["bot"])
        async with self.session.post(f"{self.served.origin}/upload/internal/", data=form, headers=headers) as response:
            await response.read()
            return response.status, response.reason or ""

    async def get(self, path: str) -> tuple[int, bytes]:
        headers = {**make_basic_header("__token__", TOKENS["bot"]), "Accept": "application/vnd.pypi.simple.v1+json"}
        async with self.session.get(f"{self.served.origin}{path}", headers=headers) as response:
            return response.status, await response.read()

    async def fetch_entries(self, project: str) -> dict[str, Any]:
        """Return the entries on the page of a project by filename, without tombstones."""
        status, body = await self.get(f"/simple/{project}/")
        assert status == 200, body
        return {each["filename"]: each for each in json.loads(body)["files"] if not each["url"].endswith("?withheld")}


@asynccontextmanager
async def run_hosting_process(
    index: Index, directory: Path, sigstore: PrivateSigstore, *, workers: int = 0
) -> AsyncIterator[HostingProcess]:
    """Run ``assay serve`` with a hosted index, whose files are in ``hosted`` below `directory`.

    `workers` is the number of processes that verify attestations; 0 to verify in the process of the proxy.
    """
    root = directory / "root.json"
    root.write_bytes(sigstore.trusted_root())
    environ = {
        "ASSAY_STORAGE__HOSTED": str(directory / "hosted"),
        "ASSAY_SERVER__AUTH__TOKENS": str(write_tokens(directory / "tokens")),
        "ASSAY_TRUST__ROOT": str(root),
        "ASSAY_VERIFICATION__WORKERS": str(workers),
    }
    async with (
        run_serve_process(
            index, directory, environ=environ, policy=ATTESTED_ONLY_POLICY, first_index=_INDEX_TABLE
        ) as served,
        aiohttp.ClientSession() as session,
    ):
        yield HostingProcess(served, session)
