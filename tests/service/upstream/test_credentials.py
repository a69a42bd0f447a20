"""Credentials go to the host of their index and nowhere else: not to clients, disk, log, metrics or other hosts.

The tests use random credentials on all routes, with and without failures, and then search all output for the
credentials in every encoding.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import os
import secrets
import sqlite3
import sys
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from assay import telemetry
from assay.config import Configuration
from tests.world.clients.installers import CLIENT_TIMEOUT_SECONDS
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import CannedResponse, Redirect, Reply
from tests.world.index.wire_connection import Fault, Request, WireConnection
from tests.world.proxy.loggers import preserve_loggers
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy

KINDS = pytest.mark.parametrize("kind", ["basic-env", "basic-file", "bearer-env", "bearer-file", "netrc"])
PATHS = ["/", "/policy", "/project/widget", "/healthz", "/readyz", "/metrics", "/simple/", "/simple/nobodys/"]


@dataclass(kw_only=True)
class Secret:
    """Credential of an index: its settings, and all encodings in which it could appear."""

    kind: str
    settings: dict[str, Any]
    header: str
    """Expected Authorization header."""
    forms: frozenset[str]
    environ: dict[str, str] = field(default_factory=dict)


def made(kind: str, directory: Path) -> Secret:
    """Return a random credential with characters that encodings change."""
    word = f"{secrets.token_urlsafe(18)}/+%é"
    user = f"user-{secrets.token_hex(8)}"
    file = directory / "secret"
    file.write_text(f"{word}\n", "utf-8")
    basic = base64.b64encode(f"{user}:{word}".encode()).decode()
    forms = frozenset({word, quote(word), quote(word, safe=""), json.dumps(word)[1:-1], basic, word[:20]})
    match kind:
        case "basic-env":
            return Secret(
                kind=kind,
                settings={"username": user, "password-env": "INDEX_PASSWORD"},
                header=f"Basic {basic}",
                forms=forms,
                environ={"INDEX_PASSWORD": word},
            )
        case "basic-file":
            settings = {"username": user, "password-file": str(file)}
            return Secret(kind=kind, settings=settings, header=f"Basic {basic}", forms=forms)
        case "netrc":
            file.write_text(f"machine 127.0.0.1 login {user} password {word}\n", "utf-8")
            environ = {"NETRC": str(file)}
            return Secret(kind=kind, settings={"netrc": True}, header=f"Basic {basic}", forms=forms, environ=environ)
        case _:
            word = word.removesuffix("é")  # a bearer token is ASCII (RFC 6750, 2.1)
    file.write_text(f"{word}\n", "utf-8")
    if kind == "bearer-env":
        environ = {"INDEX_TOKEN": word}
        return Secret(
            kind=kind, settings={"token-env": "INDEX_TOKEN"}, header=f"Bearer {word}", forms=forms, environ=environ
        )
    return Secret(kind=kind, settings={"token-file": str(file)}, header=f"Bearer {word}", forms=forms)


class Echo(Fault):
    """Fault: an error page that repeats the request's headers, including credentials."""

    def __init__(self, status: int) -> None:
        self._status = status

    async def play(self, connection: WireConnection, request: Request, answer: CannedResponse) -> None:  # noqa: ARG002 - signature of the base class
        told = repr(dict(request.headers)).encode("utf-8", "replace")
        headers = {"X-Told": request.headers.get("authorization", ""), "WWW-Authenticate": "Basic"}
        await super().play(connection, request, CannedResponse(status=self._status, body=told, headers=headers))


@pytest.fixture
def log() -> Any:
    """Return a stream that receives all log lines as JSON, at level DEBUG and of all libraries."""
    stream = io.StringIO()
    with preserve_loggers():
        telemetry.configure_logging(stream, level=logging.DEBUG, as_json=True)
        logging.getLogger().setLevel(logging.DEBUG)
        yield stream


@asynccontextmanager
async def guarded(index: Index, tmp_path: Path, secret: Secret) -> AsyncIterator[RunningProxy]:
    """Run a proxy that has the credential for the index."""
    entry = {"name": "test", "url": index.url, "file-hosts": [index.files_host], "credentials": secret.settings}
    audit = {"path": str(tmp_path / "audit.jsonl")}
    configuration: Configuration = make_configuration(index, tmp_path / "assay", indexes=[entry], audit=audit)
    async with run_test_proxy(index, tmp_path, configuration=configuration, environ=secret.environ) as proxy:
        yield proxy


class Heard:
    """Client that collects all responses of the proxy, with their headers."""

    def __init__(self, proxy: RunningProxy) -> None:
        self._proxy = proxy
        self.text = bytearray()
        self.statuses: list[int] = []

    async def ask(self, path: str, **headers: str) -> None:
        for method in ("GET", "HEAD"):
            answer = await self._proxy.request(method, path, headers)
            self.text += f"{answer.status} {answer.reason} {dict(answer.headers)}\n".encode() + answer.body
            self.statuses.append(answer.status)


def found_in(text: bytes, forms: frozenset[str]) -> list[str]:
    return [form for form in sorted(forms) if form.encode() in text]


def stored(directory: Path) -> bytes:
    """Return the bytes of all files under `directory`, and the decompressed values of databases."""
    everything = bytearray()
    for path in directory.rglob("*"):
        if not path.is_file():
            continue
        everything += path.read_bytes()
        if path.name.endswith(".db"):
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                    for row in database.execute(f"SELECT * FROM {table}"):  # noqa: S608 - names from the database itself
                        everything += b"\n".join(_inflated(value) for value in row)
    return bytes(everything)


def _inflated(value: object) -> bytes:
    if isinstance(value, bytes):
        try:
            return zlib.decompress(value)
        except zlib.error:
            return value
    return str(value).encode()


async def every_path(index: Index, heard: Heard, proxy: RunningProxy) -> None:
    """Request pages, files, metadata, provenance and HTML pages, follow redirects, and provoke failures."""
    good = index.add(wheel("widget", "1.0"), provenance=b"{}")
    for path in [*PATHS, "/simple/widget/", proxy.files_path(good), f"{proxy.files_path(good)}.metadata"]:
        await heard.ask(path)
        await heard.ask(path, Accept="text/html")
    await heard.ask(good.provenance_path)
    moved = index.add(wheel("moved", "1.0"), metadata=False)
    index.inject_fault(moved.path, Redirect(f"{index.files_origin}{good.path}"))
    index.inject_fault(index.page_path("elsewhere"), Redirect("https://elsewhere.example/simple/elsewhere/?q=1"))
    index.inject_fault(index.page_path("otherport"), Redirect(f"{index.files_origin}/simple/widget/"))
    for path in ("/simple/moved/", proxy.files_path(moved), "/simple/elsewhere/", "/simple/otherport/"):
        await heard.ask(path)
    for status in (400, 401, 403, 404, 418, 500):
        index.inject_fault(index.page_path(f"echo{status}"), Echo(status))
        await heard.ask(f"/simple/echo{status}/")
    spoilt = index.add(wheel("spoilt", "1.0"))
    await heard.ask("/simple/spoilt/")
    for path in (spoilt.path, spoilt.metadata_path):
        index.inject_fault(path, Echo(403))
    await heard.ask(proxy.files_path(spoilt))
    await heard.ask(f"{proxy.files_path(spoilt)}.metadata")
    index.inject_fault(
        index.page_path("nonsense"), Reply(200, b"{", {"Content-Type": "application/vnd.pypi.simple.v1+json"})
    )
    await heard.ask("/simple/nonsense/")
    await index.down()
    await heard.ask("/simple/unreachable/")
    for path in PATHS:
        await heard.ask(path)


@KINDS
async def test_a_credential_reaches_its_own_index_and_nothing_else(tmp_path: Path, kind: str, log: io.StringIO) -> None:
    secret = made(kind, tmp_path)
    async with Index(separate_files=True) as index:
        async with guarded(index, tmp_path, secret) as proxy:
            heard = Heard(proxy)
            await every_path(index, heard, proxy)
        own = int(index.origin.rpartition(":")[2])
        sent = {request.headers.get("authorization") for request in index.requests if request.port == own}
        assert {_as_sent(value) for value in sent} == {secret.header}
        assert {request.headers.get("authorization") for request in index.requests if request.port != own} == {None}
    assert {200, 404, 424, 502, 503} <= set(heard.statuses)
    trail = (tmp_path / "audit.jsonl").read_bytes()
    everything = {
        "answers": bytes(heard.text),
        "log": log.getvalue().encode(),
        "storage": stored(tmp_path / "assay"),
        "trail": trail,
    }
    assert all(everything.values())
    assert [place for place, text in everything.items() if found_in(text, secret.forms)] == []


def _as_sent(value: str | None) -> str | None:
    """Return a header value as it was sent: the test server decodes headers as Latin-1."""
    return None if value is None else value.encode("latin-1").decode()


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    secret = made("basic-env", tmp_path)
    (word,) = secret.environ.values()
    assert found_in(f"… {secret.header} …".encode(), secret.forms)
    assert found_in(f"https://user:{word}@host/".encode(), secret.forms)
    assert found_in(json.dumps({"password": word}).encode(), secret.forms)
    with closing(sqlite3.connect(tmp_path / "x.db")) as database, database:
        database.execute("CREATE TABLE t (v BLOB)")
        database.execute("INSERT INTO t VALUES (?)", (zlib.compress(word.encode()),))
    assert found_in(stored(tmp_path), secret.forms)


async def test_what_a_page_hides_in_addresses_reaches_the_file_host_and_nobody_else(
    tmp_path: Path, log: io.StringIO
) -> None:
    """Check signed URLs of object stores, and user information in URLs."""
    signature, password = secrets.token_hex(16), secrets.token_hex(16)
    forms = frozenset({signature, password})
    async with Index(separate_files=True) as index:
        signed = wheel("signed", "1.0")
        at = f"{index.files_origin}/packages/s"
        query = f"X-Signature={signature}&expires=1"
        listed = index.add(signed, directory="s", entry={"url": f"{at}/{signed.filename}?{query}"})
        user = wheel("user", "1.0")
        address = f"{at}/{user.filename}".replace("://", f"://u:{password}@")
        index.add(user, directory="s", entry={"url": f"{address}?{query}"})
        foreign = wheel("foreign", "1.0")
        index.add(foreign, entry={"url": f"https://u:{password}@s3.example/{foreign.filename}?{query}"})
        moved = index.add(wheel("moved", "1.0"))
        index.inject_fault(moved.path, Redirect(f"https://u:{password}@s3.example/moved?{query}"))
        configuration = make_configuration(index, tmp_path / "assay", audit={"path": str(tmp_path / "audit.jsonl")})
        async with run_test_proxy(index, tmp_path, configuration=configuration) as proxy:
            heard = Heard(proxy)
            for project in ("signed", "user", "foreign", "moved"):
                for kind in ("application/vnd.pypi.simple.v1+json", "text/html"):
                    await heard.ask(f"/simple/{project}/", Accept=kind)
                await heard.ask(f"/project/{project}")
            for path in [*PATHS, proxy.files_path(listed), proxy.files_path(moved)]:
                await heard.ask(path)
            assert await proxy.fetch_listed("signed") == {signed.filename}
            assert (await proxy.get(proxy.files_path(listed))).body == signed.content
            assert await proxy.fetch_withheld("user") == {user.filename: ["foreign-host"]}
            assert await proxy.fetch_withheld("foreign") == {foreign.filename: ["foreign-host"]}
        queries = {request.query for request in index.requests if request.path == listed.path}
        assert queries == {query}
    everything = {
        "answers": bytes(heard.text),
        "log": log.getvalue().encode(),
        "trail": (tmp_path / "audit.jsonl").read_bytes(),
    }
    assert [place for place, text in everything.items() if found_in(text, forms)] == []


async def command(*arguments: str, environ: Mapping[str, str], home: Path) -> tuple[int, bytes]:
    """Run an `assay` command as a process; return its exit status, and stdout and stderr together."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "assay",
        *arguments,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), CLIENT_TIMEOUT_SECONDS)
    return process.returncode or 0, output


@pytest.mark.parametrize("kind", ["basic-env", "bearer-file", "netrc"])
async def test_no_command_shows_a_credential(tmp_path: Path, kind: str) -> None:
    secret = made(kind, tmp_path)
    async with Index() as index:
        index.add(wheel("widget", "1.0"))
        index.inject_fault(index.page_path("echo"), Echo(500))
        config = written(tmp_path, index.url, secret.settings)
        told = bytearray()
        statuses = []
        for arguments in (["check"], ["explain", "widget"], ["explain", "widget", "--json"], ["explain", "echo"]):
            status, output = await command(
                arguments[0], "--config", str(config), *arguments[1:], environ=secret.environ, home=tmp_path
            )
            statuses.append(status)
            told += output
        assert statuses == [0, 0, 0, 3], told.decode()
        assert {_as_sent(request.headers.get("authorization")) for request in index.requests} == {secret.header}
    assert b"widget-1.0" in told
    assert found_in(bytes(told), secret.forms) == []


@pytest.mark.parametrize("spoil", ["line break", "in the url", "unknown key", "wrong type"])
async def test_no_complaint_about_a_configuration_shows_a_credential(tmp_path: Path, spoil: str) -> None:
    secret = made("bearer-env", tmp_path)
    (word,) = secret.environ.values()
    url, settings, environ = "https://index.example/simple/", secret.settings, dict(secret.environ)
    match spoil:
        case "line break":
            environ["INDEX_TOKEN"] = f"{word}\r\nX-More: {word}"
        case "in the url":
            url = f"https://user:{word}@index.example/simple/"
        case "unknown key":
            settings = {"token": word}
        case _:
            settings = {"token-env": "INDEX_TOKEN", "username": word}
    config = written(tmp_path, url, settings)
    status, output = await command("check", "--config", str(config), environ=environ, home=tmp_path)
    assert status == 2, output
    assert found_in(output, secret.forms) == []


def written(directory: Path, url: str, credentials: Mapping[str, Any]) -> Path:
    """Write a configuration file with one index; return its path."""
    table = ", ".join(f"{key} = {json.dumps(value)}" for key, value in credentials.items())
    config = directory / "proxy.toml"
    config.write_text(
        f'[storage]\ndirectory = "storage"\n[trust]\nrefresh = false\n[verification]\nworkers = 0\n'
        f'[[indexes]]\nname = "test"\nurl = "{url}"\ncredentials = {{ {table} }}\n',
        "utf-8",
    )
    return config
