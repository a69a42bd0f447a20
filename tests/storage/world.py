"""Projects of every kind behind a proxy, and requests for all of their resources, to fill a storage directory.

::

    told = await write(directory, clock)           # writes storage/, the trust root and the policy
    async with FarIndex() as nothing, over(nothing, directory, clock) as proxy:
        await answers(proxy, told)                 # by request: status, type, ETag and digest of the body
        nothing.asked                              # requests that the index received
    written(directory / "storage")                 # all facts in it except the storage times of records

The index has the same address on every machine, so that records are the same too: clients reach it through an HTTP
proxy on loopback, which the index itself provides. All signatures are deterministic.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sqlite3
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import quote

import aiohttp
from yarl import URL

from assay.config import Configuration
from tests.world.index.distributions import BuiltDistribution, sdist, wheel
from tests.world.index.fake_index import SIMPLE_HTML, SIMPLE_JSON, Index, ListedFile
from tests.world.index.wire_connection import CannedResponse, Request
from tests.world.proxy.running_proxy import ManualClock, RunningProxy, run_test_proxy
from tests.world.sigstore.private_sigstore import GitHub, GitLab, PrivateSigstore, Signer

LONG_AGO: Final = datetime(2025, 3, 1, 12, tzinfo=UTC)
WIDGET, MOVED = GitHub(repository="acme/widget"), GitHub(repository="acme/widget-next")
GADGET, LOST = GitLab(repository="tools/gadget"), GitHub(repository="acme/lost")
ABSENT: Final = "nowhere"
"""Project that the index does not have; Assay caches its absence for a minute."""
PUBLIC: Final = "https://assay.example"
"""Public URL of the proxy, so that its pages do not contain a random port."""
POLICY: Final = """\
version = 1
withheld = "hide"

[[rules]]
name = "widget is signed by its publishers"
projects = ["widget"]
publishers = [{ kind = "GitHub", repository = "acme/widget*" }]

[[rules]]
name = "everything"
projects = ["*"]
"""
_ACCEPT: Final = {"json": SIMPLE_JSON, "html": SIMPLE_HTML}
_LIE: Final = b"Metadata-Version: 2.1\nName: liar\nVersion: 1.0\nRequires-Dist: evil\n"
_TIMEOUT_SECONDS: Final = 30
_STAMPED: Final = 24
"""Number of bytes before the value of a record: its digest and its storage time."""

_YANKED_BY_POLICY: Final = re.compile(r'((?:"yanked":|data-yanked=)"withheld, [a-z-]+): [^"]*')
_WITHHELD_ITEM: Final = re.compile(r"(<li><code>[^<]*</code>)[^\n]*")
_WITHHELD_KEY: Final = '"_withheld":'

Told: TypeAlias = dict[str, Any]
"""Status, type and ETag of a response, and the digest of its body without the wording of reasons, which may change
between versions; empty if the connection was aborted."""


class FarIndex(Index):
    """Index with the same address on every machine; it also acts as the HTTP proxy that leads to it."""

    @property
    def origin(self) -> str:
        return "http://index.example"

    @property
    def files_origin(self) -> str:
        return self.origin

    @property
    def files_host(self) -> str:
        return "index.example"

    @property
    def reached_over(self) -> str:
        """URL of the HTTP proxy."""
        return f"http://127.0.0.1:{self._main.port}/"

    @property
    def asked(self) -> list[str]:
        """Received requests, as method and path."""
        return [f"{request.method} {request.path}" for request in self.requests]

    def _respond(self, request: Request) -> CannedResponse:
        return super()._respond(replace(request, path=request.path.removeprefix(self.origin)))


class Stocked:
    """Fills an index with the same files in each run."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._sigstore = PrivateSigstore(seed=14)
        self.files: list[ListedFile] = []
        self._moved = self._add(wheel("widget", "1.0", requires=["plain>=1"]), WIDGET)
        self._add(sdist("widget", "1.0"), WIDGET)
        self._add(wheel("lost", "1.0"), LOST)
        self._add(wheel("plain", "1.0"), None, metadata=False)
        self._add(sdist("plain", "1.0"), None)
        self._lie(wheel("liar", "1.0"))

    @property
    def trusted_root(self) -> bytes:
        """Trust root of the test's Sigstore."""
        return self._sigstore.trusted_root()

    def more(self) -> None:
        """Change the index: a replaced document, a release without provenance, and new projects."""
        built = self._moved.built
        self._moved.provenance = self._sigstore.provenance(built.filename, built.sha256, MOVED, LONG_AGO)
        self._add(wheel("widget", "2.0"), WIDGET)
        self._add(wheel("lost", "2.0"), None)
        self._index.yank(self._add(wheel("plain", "2.0", requires_python=">=3.9"), None), "broken & old")
        self._add(wheel("gadget", "2.0"), GADGET)
        self._forge(wheel("forged", "1.0"))
        self._sign(wheel("stranger", "1.0"), PrivateSigstore(seed=15, host="other.example"))
        self._index.add_project("empty")

    def _add(self, built: BuiltDistribution, signer: Signer | None, *, metadata: bool = True) -> ListedFile:
        document = None
        if signer is not None:
            document = self._sigstore.provenance(built.filename, built.sha256, signer, LONG_AGO)
        self.files.append(
            self._index.add(built, upload_time=LONG_AGO, provenance=document, metadata=metadata),
        )
        return self.files[-1]

    def _lie(self, built: BuiltDistribution) -> None:
        said = {"sha256": hashlib.sha256(_LIE).hexdigest()}
        listed = self._index.add(
            built, upload_time=LONG_AGO, entry={"core-metadata": said, "data-dist-info-metadata": said}
        )
        self._index.serve_fixed(listed.metadata_path, CannedResponse(body=_LIE))
        self.files.append(listed)

    def _forge(self, built: BuiltDistribution) -> None:
        listed = self._add(built, None)
        listed.provenance = self._sigstore.provenance(built.filename, "ab" * 32, WIDGET, LONG_AGO)

    def _sign(self, built: BuiltDistribution, sigstore: PrivateSigstore) -> None:
        listed = self._add(built, None)
        listed.provenance = sigstore.provenance(built.filename, built.sha256, WIDGET, LONG_AGO)


def questions(stocked: Stocked) -> list[str]:
    """Return kind and path of all requests, except the list of projects, which is not stored."""
    asked = []
    for project in [*dict.fromkeys(listed.built.project for listed in stocked.files), "empty", ABSENT]:
        asked += [f"json /simple/{project}/", f"html /simple/{project}/"]
    for listed in stocked.files:
        path = RunningProxy.files_path(listed)
        asked += [f"metadata {path}.metadata"] if listed.built.metadata is not None else []
        asked += [f"provenance {listed.provenance_path}", f"file {path}"]
    return asked


class Asked(Protocol):
    """Running proxy, of the current or an earlier version."""

    @property
    def origin(self) -> str: ...

    @property
    def session(self) -> aiohttp.ClientSession: ...


async def answers(proxy: Asked, asked: Iterable[str]) -> dict[str, Told]:
    """Return the response to each request."""
    return {question: await _answer(proxy, *question.split(" ")) for question in asked}


async def _answer(proxy: Asked, kind: str, path: str) -> Told:
    target = URL(f"{proxy.origin}{path}", encoded=True)
    try:
        async with proxy.session.get(target, headers={"Accept": _ACCEPT.get(kind, "*/*")}) as response:
            body, etag = await response.read(), response.headers.get("ETag")
            return {
                "status": response.status,
                "type": response.headers.get("Content-Type"),
                "etag": "digest of the body" if etag == f'"{hashlib.sha256(body).hexdigest()}"' else etag,
                "sha256": hashlib.sha256(_without_wording(kind, response, body)).hexdigest(),
            }
    except aiohttp.ClientPayloadError:
        return {}


def _without_wording(kind: str, response: aiohttp.ClientResponse, body: bytes) -> bytes:
    """Return a body without the text of reasons; codes, filenames and digests remain."""
    if response.content_type == "application/problem+json":
        problem = json.loads(body)
        codes = [reason["code"] for reason in problem.get("reasons", [])]
        return json.dumps([problem["type"], problem["status"], codes]).encode()
    if kind not in _ACCEPT:
        return body
    text = _YANKED_BY_POLICY.sub(r"\1", body.decode())
    page, key, withheld = text.partition(_WITHHELD_KEY)
    if not key:
        return _WITHHELD_ITEM.sub(r"\1", text).encode()
    entries, end = json.JSONDecoder().raw_decode(withheld)
    told = [{**entry, "reasons": [reason["code"] for reason in entry["reasons"]]} for entry in entries]
    return f"{page}{key}{json.dumps(told)}{withheld[end:]}".encode()


def configuration(index: FarIndex, directory: Path) -> Configuration:
    """Return the configuration of a proxy with the storage in `directory`."""
    return Configuration.model_validate(
        {
            "server": {"port": 0, "public-url": PUBLIC},
            "storage": {"directory": str(directory / "storage")},
            "trust": {"root": str(directory / "trusted_root.json"), "refresh": False},
            "verification": {"workers": 0},
            "indexes": [{"name": "test", "url": index.url, "proxy": index.reached_over, "insecure": True}],
        }
    )


@asynccontextmanager
async def over(index: FarIndex, directory: Path, clock: ManualClock) -> AsyncIterator[RunningProxy]:
    """Run a proxy with the storage and the policy in `directory`."""
    settings, policy = configuration(index, directory), await asyncio.to_thread((directory / "policy.toml").read_text)
    async with run_test_proxy(index, directory, policy=policy, clock=clock, configuration=settings) as proxy:
        yield proxy


async def write(directory: Path, clock: ManualClock) -> dict[str, Told]:
    """Write ``storage``, ``trusted_root.json`` and ``policy.toml``, request everything, and return the last responses.

    The pages of the first half are requested with the clock an hour earlier.
    """
    async with FarIndex() as index:
        stocked = Stocked(index)
        await asyncio.to_thread((directory / "trusted_root.json").write_bytes, stocked.trusted_root)
        await asyncio.to_thread((directory / "policy.toml").write_text, POLICY)
        async with over(index, directory, clock) as proxy:
            now, clock.now = clock.now, clock.now - timedelta(hours=1)
            for project in dict.fromkeys(listed.built.project for listed in stocked.files):
                await proxy.fetch_page(project)
            clock.now = now
            stocked.more()
            asked = questions(stocked)
            first = await answers(proxy, asked)
            await proxy.assembly.gate.resources.provenance.revalidator.wait_until_idle()
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                for listed in stocked.files:
                    # Served, or aborted at the end because the METADATA in the wheel differs.
                    if first[f"file {proxy.files_path(listed)}"].get("status", 200) == 200:
                        await proxy.wait_until_stored(listed)
            return await answers(proxy, asked)


def written(storage: Path) -> dict[str, Any]:
    """Return all facts in a storage directory that no process uses, and the schemas of its databases."""
    return {
        "format": (storage / "format").read_text("ascii"),
        "blobs": sorted(str(path.relative_to(storage)) for path in storage.glob("blobs/*/*")),
        "records": _records(storage / "records" / "cache.db"),
        "records schema": _schema(storage / "records" / "cache.db"),
        "ledger": _rows(storage / "ledger" / "ledger.db"),
        "ledger schema": _schema(storage / "ledger" / "ledger.db"),
    }


def _opened(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(database.absolute()))}?mode=ro&immutable=1", uri=True)


def _records(database: Path) -> Mapping[str, object]:
    with closing(_opened(database)) as connection:
        rows = connection.execute("SELECT key, value FROM Cache ORDER BY key").fetchall()
    return {key: _value(key, stored[_STAMPED:]) for key, stored in rows}


def _value(key: str, value: bytes) -> object:
    """Return a comparable value: zlib's output depends on the machine, and the order of JSON keys may differ."""
    if key.startswith("page-body:"):
        return json.loads(zlib.decompress(value))
    return value if key.startswith(("metadata:", "document:")) else json.loads(value)


def _rows(database: Path) -> list[str]:
    with closing(_opened(database)) as connection:
        return sorted(line for line in connection.iterdump() if line.startswith("INSERT"))


def _schema(database: Path) -> list[object]:
    with closing(_opened(database)) as connection:
        pragmas = [connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")]
        tables = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name")
        return [*pragmas, *((*names, None if sql is None else _normalize_sql(sql)) for *names, sql in tables)]


def _normalize_sql(sql: str) -> str:
    """Return a statement with equal white space, which a dropped column may leave behind."""
    return re.sub(r"\s*,\s*", ", ", re.sub(r"\s+", " ", sql))
