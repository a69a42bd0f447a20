"""https with a private authority, and who may ask: passwords, tokens, a front proxy's word. Nothing for others."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509

from proxy.cli import run
from proxy.config import ServerSettings
from proxy.errors import ConfigurationError
from proxy.web.access import Access, hashed
from proxy.web.tls import Certificate
from tests.world.certificates import Authority
from tests.world.distributions import wheel
from tests.world.index import Index, Listed
from tests.world.installers import Outcome, pip, ran
from tests.world.proxy import Running, configured, running
from tests.world.wire import Corrupt

TOKEN, PASSWORD = secrets.token_urlsafe(24), "correct horse: battery é"
ROUTES = ["/", "/simple/", "/simple/widget/", "/simple/Widget/", "/project/widget", "/policy", "/metrics", "/nowhere"]


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class Guarded:
    """A proxy that asks for names, and a file that it serves."""

    proxy: Running
    index: Index
    listed: Listed
    directory: Path

    @property
    def routes(self) -> list[str]:
        """Every kind of route that gives anything away."""
        file = self.proxy.files_path(self.listed)
        return [*ROUTES, file, f"{file}.metadata", self.listed.provenance_path]

    async def statuses(self, headers: dict[str, str]) -> set[int]:
        """Of all routes, GET and HEAD."""
        return {
            (await self.proxy.request(method, route, headers)).status
            for route in self.routes
            for method in ("GET", "HEAD")
        }


def credentials(directory: Path) -> dict[str, str]:
    """Both files, with one user and one token."""
    (directory / "passwords").write_text(f"# people\n{hashed('alice', PASSWORD)}\n", "utf-8")
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    (directory / "tokens").write_text(f"ci:{digest}\n", "utf-8")
    return {"passwords": str(directory / "passwords"), "tokens": str(directory / "tokens")}


@asynccontextmanager
async def guarded(tmp_path: Path, **server: Any) -> AsyncIterator[Guarded]:
    table = {"port": 0, **server} if server else {"port": 0, "auth": credentials(tmp_path)}
    async with Index() as index:
        listed = index.add(wheel("widget", "1.0"))
        configuration = configured(index, tmp_path / "assay", server=table)
        async with running(index, tmp_path, configuration=configuration) as proxy:
            yield Guarded(proxy, index, listed, tmp_path)


# Who may ask


WRONG = [
    {},
    bearer("wrong"),
    bearer(""),
    basic("alice", "wrong"),
    basic("bob", PASSWORD),
    basic("__token__", "wrong"),
    basic("alice", TOKEN),
    {"Authorization": "Basic !!!"},
    {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe:x").decode()},
    {"Authorization": "Basic"},
    {"Authorization": f"Digest {TOKEN}"},
    {"Authorization": "Bearer " + "x" * 5000},
    {"X-Forwarded-User": "alice"},
]


@pytest.mark.parametrize("headers", WRONG, ids=[str(number) for number in range(len(WRONG))])
async def test_without_the_right_word_every_route_is_401_and_no_index_is_asked(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async with guarded(tmp_path) as there:
        assert await there.statuses(headers) == {401}
        assert there.index.requests == []
        answer = await there.proxy.get("/simple/widget/", headers)
        assert answer.headers.getall("WWW-Authenticate") == [
            'Basic realm="assay", charset="UTF-8"',
            'Bearer realm="assay"',
        ]
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.json()["type"] == "urn:assay:problem:unauthenticated"
        assert b"widget" not in answer.body


RIGHT = [bearer(TOKEN), basic("__token__", TOKEN), basic("alice", PASSWORD)]


@pytest.mark.parametrize("headers", RIGHT, ids=["bearer", "token as password", "password"])
async def test_with_it_everything_is_as_without_authentication(tmp_path: Path, headers: dict[str, str]) -> None:
    async with guarded(tmp_path) as there:
        assert (await there.proxy.get("/simple/widget/", headers)).status == 200
        answer = await there.proxy.get(there.proxy.files_path(there.listed), headers)
        assert (answer.status, answer.body) == (200, there.listed.built.content)
        assert 401 not in await there.statuses(headers)


@pytest.mark.parametrize(("headers", "user"), [(basic("alice", PASSWORD), "alice"), (bearer(TOKEN), "ci")])
async def test_log_and_trail_say_who_asked_and_never_by_what(
    tmp_path: Path, headers: dict[str, str], user: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "assay")
    async with Index() as index:
        listed = index.add(wheel("widget", "1.0"))
        configuration = configured(
            index,
            tmp_path / "assay",
            server={"port": 0, "auth": credentials(tmp_path)},
            audit={"path": str(tmp_path / "audit.jsonl")},
        )
        async with running(index, tmp_path, configuration=configuration) as proxy:
            assert (await proxy.get(proxy.files_path(listed), headers)).status == 200
            assert (await proxy.get(proxy.files_path(listed))).status == 401
    logged = [getattr(record, "fields", {}) for record in caplog.records if record.message == "request"]
    assert [(fields["status"], fields.get("user")) for fields in logged] == [(200, user), (401, None)]
    trail = await asyncio.to_thread((tmp_path / "audit.jsonl").read_text, "utf-8")
    assert trail.count('"event":"served"') == trail.count(f'"user":"{user}"') == 1
    assert all(word not in trail + str(logged) for word in (PASSWORD, TOKEN, headers["Authorization"]))


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_need_no_name(tmp_path: Path, path: str) -> None:
    async with guarded(tmp_path) as there:
        assert (await there.proxy.get(path)).status == 200


async def test_without_the_table_everybody_may_ask(tmp_path: Path) -> None:
    async with guarded(tmp_path, host="127.0.0.1") as there:
        assert (await there.proxy.get("/simple/widget/")).status == 200


@pytest.mark.parametrize(("proxies", "status"), [(["127.0.0.0/8"], 200), (["10.0.0.0/8"], 401), ([], 401)])
async def test_a_front_proxys_word_counts_from_trusted_proxies_alone(
    tmp_path: Path, proxies: list[str], status: int
) -> None:
    auth = {"user-header": "X-Forwarded-User"}
    async with guarded(tmp_path, auth=auth, **{"trusted-proxies": proxies}) as there:
        assert (await there.proxy.get("/simple/widget/", {"X-Forwarded-User": "alice"})).status == status
        assert (await there.proxy.get("/simple/widget/", {"X-Forwarded-User": " "})).status == 401
        assert (await there.proxy.get("/simple/widget/")).status == 401


async def test_a_user_who_is_taken_out_is_out_and_a_file_that_is_none_changes_nothing(tmp_path: Path) -> None:
    files = credentials(tmp_path)
    settings = ServerSettings.model_validate({"auth": files})
    assert settings.auth is not None
    access = Access(settings, settings.auth)
    await access.watch.look()
    assert await access.user(basic("alice", PASSWORD), None) == "alice"
    assert await access.user(bearer(TOKEN), None) == "ci"
    (tmp_path / "passwords").write_text("alice:plain text\n", "utf-8")
    with pytest.raises(ConfigurationError, match=r"passwords, line 1: expected a name, a colon and a hash") as refused:
        await access.watch.look()
    assert "plain" not in str(refused.value)
    assert await access.user(basic("alice", PASSWORD), None) == "alice"
    (tmp_path / "passwords").write_text(f"{hashed('bob', PASSWORD)}\n", "utf-8")
    assert await access.watch.look()
    assert await access.user(basic("alice", PASSWORD), None) is None
    assert await access.user(basic("bob", PASSWORD), None) == "bob"
    assert not await access.watch.look()


def test_a_hash_is_salted_and_says_nothing_of_the_password() -> None:
    one, other = hashed("alice", PASSWORD), hashed("alice", PASSWORD)
    assert one != other
    assert PASSWORD not in one
    with pytest.raises(ConfigurationError, match="without colons"):
        hashed("a:b", PASSWORD)


def test_the_command_writes_a_line_that_lets_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO(f"{PASSWORD}\n"))
    assert run(["hash-password", "alice"]) == 0
    (tmp_path / "passwords").write_text(capsys.readouterr().out, "utf-8")
    settings = ServerSettings.model_validate({"auth": {"passwords": str(tmp_path / "passwords")}})
    assert settings.auth is not None
    access = Access(settings, settings.auth)
    access.load()
    assert asyncio.run(access.user(basic("alice", PASSWORD), None)) == "alice"
    assert asyncio.run(access.user(basic("alice", "wrong"), None)) is None


@pytest.mark.parametrize("name", ["passwords", "tokens"])
async def test_a_file_that_is_not_there_is_a_reason_not_to_start(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"server\.auth\.{name}: .* cannot be read"):
        async with guarded(tmp_path, auth={name: str(tmp_path / "absent")}):
            pass


# https


@dataclass(frozen=True)
class Secure:
    """The files of an https server, and the authority that its clients know."""

    authority: Authority
    ca: Path
    certificate: Path
    key: Path
    serial: int

    @property
    def settings(self) -> dict[str, str]:
        return {"certificate": str(self.certificate), "key": str(self.key)}


def secure(directory: Path) -> Secure:
    authority = Authority.new()
    certificate, key = directory / "server.pem", directory / "server.key"
    serial = authority.certify(certificate, key)
    return Secure(authority, authority.write(directory / "ca.pem"), certificate, key, serial)


async def shown(proxy: Running, ca: Path, server_name: str | None) -> int:
    """The serial number of the certificate that a new connection is shown."""
    host, _, port = proxy.origin.partition("://")[2].partition(":")
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = server_name is not None
    _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=server_name or "")
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return x509.load_der_x509_certificate(der).serial_number


async def test_pages_and_files_come_over_https(tmp_path: Path) -> None:
    own = secure(tmp_path)
    async with guarded(tmp_path, tls=own.settings) as there:
        trusting = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=own.ca))
        async with aiohttp.ClientSession(connector=trusting) as session:
            for _ in range(2):  # cold, then from the cache
                path = there.proxy.files_path(there.listed)
                async with session.get(f"{there.proxy.origin}{path}") as response:
                    assert await response.read() == there.listed.built.content
            accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
            async with session.get(f"{there.proxy.url}widget/", headers=accept) as response:
                page = await response.json(content_type=None)
        assert [file["filename"] for file in page["files"]] == [there.listed.built.filename]
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await there.proxy.get("/simple/widget/")


@pytest.mark.parametrize("server_name", ["localhost", None])
async def test_a_renewed_certificate_is_shown_without_a_restart_and_half_of_one_never(
    tmp_path: Path, server_name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: asyncio.Queue[None] = asyncio.Queue()
    plain = Certificate.load

    def load(certificate: Certificate) -> None:
        try:
            plain(certificate)
        finally:
            loop.call_soon_threadsafe(looked.put_nowait, None)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(Certificate, "load", load)
    monkeypatch.setattr("proxy.web.files.EVERY", 0.02)
    own = secure(tmp_path)
    async with guarded(tmp_path, tls=own.settings) as there:
        await looked.get()
        assert await shown(there.proxy, own.ca, server_name) == own.serial
        renewed = own.authority.certify(tmp_path / "new.pem", tmp_path / "new.key")
        (tmp_path / "new.pem").replace(own.certificate)
        await looked.get()
        assert await shown(there.proxy, own.ca, server_name) == own.serial
        (tmp_path / "new.key").replace(own.key)
        await looked.get()
        assert await shown(there.proxy, own.ca, server_name) == renewed


@pytest.mark.parametrize("wrong", ["absent", "nonsense", "another key"])
async def test_a_certificate_that_cannot_be_used_is_a_reason_not_to_start(tmp_path: Path, wrong: str) -> None:
    own = secure(tmp_path)
    match wrong:
        case "absent":
            own.key.unlink()
        case "nonsense":
            own.certificate.write_text("no certificate", "utf-8")
        case _:
            own.authority.certify(tmp_path / "other.pem", own.key)
    with pytest.raises(ConfigurationError, match=r"server\.tls: "):
        async with guarded(tmp_path, tls=own.settings):
            pass


async def test_no_wrong_byte_completes_over_https_either(tmp_path: Path) -> None:
    """Sent by another way than over plain sockets: TLS has no sendfile."""
    own, large = secure(tmp_path), wheel("large", "1.0", padding=700_000)
    async with guarded(tmp_path, tls=own.settings) as there:
        spoilt = there.index.add(wheel("spoilt", "1.0", padding=700_000))
        there.index.fault(spoilt.path, Corrupt(at=10))
        right = there.index.add(large)
        trusting = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=own.ca))
        async with aiohttp.ClientSession(connector=trusting) as session:
            async with session.get(f"{there.proxy.origin}{there.proxy.files_path(right)}") as response:
                assert await response.read() == large.content
            headers = {"Range": "bytes=1000-650000"}
            url = f"{there.proxy.origin}{there.proxy.files_path(right)}"
            async with session.get(url, headers=headers) as response:
                assert (response.status, await response.read()) == (206, large.content[1000:650001])
            with pytest.raises(aiohttp.ClientError):
                async with session.get(f"{there.proxy.origin}{there.proxy.files_path(spoilt)}") as response:
                    await response.read()


@pytest.mark.parametrize("table", ["tls", "auth"])
def test_check_reads_what_the_server_would_read(tmp_path: Path, table: str, capsys: pytest.CaptureFixture[str]) -> None:
    own, files = secure(tmp_path), credentials(tmp_path)
    lines = [f"[server.{table}]", *(f'{key} = "{value}"' for key, value in (own.settings | files).items())]
    lines = [line for line in lines if line.startswith("[") or (line.split()[0] in own.settings) == (table == "tls")]
    config = tmp_path / "proxy.toml"
    config.write_text("\n".join(["[storage]", 'directory = "storage"', *lines]), "utf-8")
    assert run(["check", "--config", str(config)]) == 0
    assert ("https" if table == "tls" else "with authentication") in capsys.readouterr().out.splitlines()[0]
    (own.key if table == "tls" else tmp_path / "tokens").write_text("nonsense", "utf-8")
    assert run(["check", "--config", str(config)]) == 2
    assert f"server.{table}" in capsys.readouterr().err


# One Assay before another: https with an authority of its own, and a token


@asynccontextmanager
async def chained(tmp_path: Path, **entry: Any) -> AsyncIterator[tuple[Guarded, Running]]:
    """The outer proxy is the inner one's only index."""
    own = secure(tmp_path)
    async with guarded(tmp_path, tls=own.settings, auth=credentials(tmp_path)) as outer:
        index = {"name": "outer", "url": outer.proxy.url, **entry}
        configuration = configured(outer.index, tmp_path / "inner", indexes=[index])
        environ = {"OUTER_TOKEN": TOKEN}
        async with running(outer.index, tmp_path, configuration=configuration, environ=environ) as inner:
            yield outer, inner


async def test_an_index_may_have_an_authority_of_its_own_and_a_token(tmp_path: Path) -> None:
    table = {"ca-file": str(tmp_path / "ca.pem"), "credentials": {"token-env": "OUTER_TOKEN"}}
    async with chained(tmp_path, **table) as (outer, inner):
        (entry,) = (await inner.page("widget"))["files"]
        assert entry["filename"] == outer.listed.built.filename
        answer = await inner.get(entry["url"].removeprefix("../.."))
        assert (answer.status, answer.body) == (200, outer.listed.built.content)


async def test_without_its_authority_nothing_is_sent_there(tmp_path: Path) -> None:
    async with chained(tmp_path, credentials={"token-env": "OUTER_TOKEN"}) as (outer, inner):
        answer = await inner.get("/simple/widget/")
        assert answer.status == 502
        assert "its certificate is not believed" in answer.reason
        assert outer.index.requests == []


async def test_without_the_token_the_refusal_is_told(tmp_path: Path) -> None:
    async with chained(tmp_path, **{"ca-file": str(tmp_path / "ca.pem")}) as (outer, inner):
        answer = await inner.get("/simple/widget/")
        assert (answer.status, outer.index.requests) == (502, [])
        assert "answered 401" in answer.json()["detail"]


async def test_an_authority_that_is_none_is_a_reason_not_to_start(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("no certificate", "utf-8")
    with pytest.raises(ConfigurationError, match=r"indexes\[outer\]\.ca-file: .*none\.pem cannot be used"):
        async with chained(tmp_path, **{"ca-file": str(tmp_path / "none.pem")}):
            pass


# Installers, over https with a private authority and a token


async def uv_with(ca: Path, url: str, *arguments: str, home: Path, target: Path) -> Outcome:
    """uv as somebody sets it up who has a private authority."""
    uv = str(Path(sys.executable).parent / "uv")
    return await ran(
        "env", f"SSL_CERT_FILE={ca}", uv, "pip", "install", "--no-cache", "--default-index", url,
        "--python", sys.executable, "--target", str(target), *arguments, home=home,
    )  # fmt: skip


async def pip_with(ca: Path, url: str, *arguments: str, home: Path, target: Path) -> Outcome:
    """pip likewise."""
    return await pip(url, "--cert", str(ca), *arguments, home=home, target=target)


BOTH = pytest.mark.parametrize("installer", [pip_with, uv_with], ids=["pip", "uv"])


def installed(tmp_path: Path) -> list[str]:
    """What an installer has put into its target."""
    return [path.name for path in tmp_path.glob("target/*.dist-info")]


def with_user(url: str, user: str) -> str:
    return url.replace("https://127.0.0.1", f"https://{user}localhost")


@pytest.mark.clients
@BOTH
@pytest.mark.parametrize(
    "user", [f"__token__:{TOKEN}@", "alice:correct%20horse%3A%20battery%20%C3%A9@"], ids=["token", "password"]
)
async def test_installers_install_over_https_with_a_name(tmp_path: Path, installer: Any, user: str) -> None:
    own = secure(tmp_path)
    async with guarded(tmp_path, tls=own.settings, auth=credentials(tmp_path)) as there:
        url = with_user(there.proxy.url, user)
        outcome = await installer(own.ca, url, "widget", home=tmp_path, target=tmp_path / "target")
        assert outcome.status == 0, outcome.output
    assert installed(tmp_path) == ["widget-1.0.dist-info"]


@pytest.mark.clients
@BOTH
@pytest.mark.parametrize("user", ["", "__token__:wrong@", "alice:wrong@"])
async def test_installers_get_nothing_without_the_right_one(tmp_path: Path, installer: Any, user: str) -> None:
    own = secure(tmp_path)
    async with guarded(tmp_path, tls=own.settings, auth=credentials(tmp_path)) as there:
        url = with_user(there.proxy.url, user)
        outcome = await installer(own.ca, url, "widget", home=tmp_path, target=tmp_path / "target")
        assert outcome.status != 0
        assert there.index.requests == []
        if installer is uv_with:
            assert "401" in outcome.output
    assert installed(tmp_path) == []


@pytest.mark.clients
@BOTH
async def test_installers_trust_no_other_authority(tmp_path: Path, installer: Any) -> None:
    own = secure(tmp_path)
    other = Authority.new("another").write(tmp_path / "other-ca.pem")
    async with guarded(tmp_path, tls=own.settings) as there:
        url = with_user(there.proxy.url, "")
        more = ["--retries", "0"] if installer is pip_with else []
        outcome = await installer(other, url, "widget", *more, home=tmp_path, target=tmp_path / "target")
        assert outcome.status != 0
        assert "certificate" in outcome.output.lower()
