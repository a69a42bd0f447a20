"""https with a private certificate authority, renewed without a restart; and one Assay as the index of another."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509

from assay.cli import run
from assay.config import TlsSettings
from assay.errors import ConfigurationError
from assay.upstream.bulk_receiver import MIN_BULK_BYTES
from assay.web.server.connection_server import ServerTimeouts
from assay.web.server.tls import ServerCertificate
from tests.world.clients.raw_client import END_OF_HEAD, TIMEOUT_SECONDS, encode_get, open_clients
from tests.world.index.distributions import make_incompressible_bytes, wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import Corrupt
from tests.world.proxy.auth_proxy import TOKEN, AuthProxy, make_tls_files, run_auth_proxy, write_credentials
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy


async def shown(proxy: RunningProxy, ca: Path, server_name: str | None) -> int:
    """Return the serial number of the certificate that a new connection gets."""
    host, _, port = proxy.origin.partition("://")[2].partition(":")
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = server_name is not None
    _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=server_name or "")
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return x509.load_der_x509_certificate(der).serial_number


async def test_pages_and_files_come_over_https(tmp_path: Path) -> None:
    own = make_tls_files(tmp_path)
    async with run_auth_proxy(tmp_path, tls=own.settings) as there:
        trusting = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=own.ca))
        async with aiohttp.ClientSession(connector=trusting) as session:
            for _ in range(2):  # from the index, then from the cache
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
    plain = ServerCertificate.load

    def load(certificate: ServerCertificate) -> None:
        try:
            plain(certificate)
        finally:
            loop.call_soon_threadsafe(looked.put_nowait, None)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(ServerCertificate, "load", load)
    monkeypatch.setattr("assay.file_watch.POLL_INTERVAL_SECONDS", 0.02)
    own = make_tls_files(tmp_path)
    async with run_auth_proxy(tmp_path, tls=own.settings) as there:
        await looked.get()
        assert await shown(there.proxy, own.ca, server_name) == own.serial
        renewed = own.authority.issue(tmp_path / "new.pem", tmp_path / "new.key")
        (tmp_path / "new.pem").replace(own.certificate)
        await looked.get()
        assert await shown(there.proxy, own.ca, server_name) == own.serial
        (tmp_path / "new.key").replace(own.key)
        await looked.get()
        assert await shown(there.proxy, own.ca, server_name) == renewed


@pytest.mark.parametrize("wrong", ["absent", "nonsense", "another key"])
async def test_a_certificate_that_cannot_be_used_is_a_reason_not_to_start(tmp_path: Path, wrong: str) -> None:
    own = make_tls_files(tmp_path)
    match wrong:
        case "absent":
            own.key.unlink()
        case "nonsense":
            own.certificate.write_text("no certificate", "utf-8")
        case _:
            own.authority.issue(tmp_path / "other.pem", own.key)
    with pytest.raises(ConfigurationError, match=r"server\.tls: "):
        async with run_auth_proxy(tmp_path, tls=own.settings):
            pass


def test_a_client_cannot_renegotiate(tmp_path: Path) -> None:
    """`TlsTransport` relies on this: OpenSSL can then encrypt at any time."""
    context = ServerCertificate(TlsSettings.model_validate(make_tls_files(tmp_path).settings)).context
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_client_that_begins_no_handshake_is_cut_and_others_are_served(tmp_path: Path) -> None:
    own = make_tls_files(tmp_path)
    async with Index() as index:
        configuration = make_configuration(index, tmp_path / "assay", server={"port": 0, "tls": own.settings})
        timeouts = ServerTimeouts(first_request=0.3)
        async with (
            run_test_proxy(index, tmp_path, configuration=configuration, timeouts=timeouts) as proxy,
            open_clients(proxy) as clients,
        ):
            silent = await clients.connect()
            prompt = await clients.connect(context=ssl.create_default_context(cafile=own.ca))
            assert (await prompt.get("/healthz"))[0] == 200
            assert await silent.is_closed()
            assert (await prompt.get("/healthz"))[0] == 200


async def test_no_wrong_byte_completes_over_https_either(tmp_path: Path) -> None:
    """TLS has no sendfile, so the file is sent by other code than over plain sockets."""
    own, large = make_tls_files(tmp_path), wheel("large", "1.0", padding=700_000)
    async with run_auth_proxy(tmp_path, tls=own.settings) as there:
        spoilt = there.index.add(wheel("spoilt", "1.0", padding=700_000))
        there.index.inject_fault(spoilt.path, Corrupt(at=10))
        right = there.index.add(large)
        trusting = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=own.ca))
        async with aiohttp.ClientSession(connector=trusting) as session:
            async with session.get(f"{there.proxy.origin}{there.proxy.files_path(right)}") as response:
                assert await response.read() == large.content
            headers = {"Range": "bytes=1000-650000"}
            url = f"{there.proxy.origin}{there.proxy.files_path(right)}"
            async with session.get(url, headers=headers) as response:
                assert (response.status, await response.read()) == (206, large.content[1000:650001])
            url = f"{there.proxy.origin}{there.proxy.files_path(spoilt)}"
            # The connection is aborted, or the response is 424 if the mismatch is known before the first byte.
            with pytest.raises(aiohttp.ClientError):
                async with session.get(url, raise_for_status=True) as response:
                    await response.read()


@pytest.mark.parametrize("table", ["tls", "auth"])
def test_check_reads_what_the_server_would_read(tmp_path: Path, table: str, capsys: pytest.CaptureFixture[str]) -> None:
    own, files = make_tls_files(tmp_path), write_credentials(tmp_path)
    lines = [f"[server.{table}]", *(f'{key} = "{value}"' for key, value in (own.settings | files).items())]
    lines = [line for line in lines if line.startswith("[") or (line.split()[0] in own.settings) == (table == "tls")]
    config = tmp_path / "proxy.toml"
    config.write_text("\n".join(["[storage]", 'directory = "storage"', *lines]), "utf-8")
    assert run(["check", "--config", str(config)]) == 0
    [listens] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("listens on: ")]
    assert ("https" if table == "tls" else "authentication required") in listens
    (own.key if table == "tls" else tmp_path / "tokens").write_text("nonsense", "utf-8")
    assert run(["check", "--config", str(config)]) == 2
    assert f"server.{table}" in capsys.readouterr().err


# One Assay as the index of another, over https with a private certificate authority and a token


@asynccontextmanager
async def chained(tmp_path: Path, **entry: Any) -> AsyncIterator[tuple[AuthProxy, RunningProxy]]:
    """Run an outer proxy, and an inner proxy whose only index is the outer one."""
    own = make_tls_files(tmp_path)
    async with run_auth_proxy(tmp_path, tls=own.settings, auth=write_credentials(tmp_path)) as outer:
        index = {"name": "outer", "url": outer.proxy.url, **entry}
        configuration = make_configuration(outer.index, tmp_path / "inner", indexes=[index])
        environ = {"OUTER_TOKEN": TOKEN}
        async with run_test_proxy(outer.index, tmp_path, configuration=configuration, environ=environ) as inner:
            yield outer, inner


async def test_an_index_may_have_an_authority_of_its_own_and_a_token(tmp_path: Path) -> None:
    table = {"ca-file": str(tmp_path / "ca.pem"), "credentials": {"token-env": "OUTER_TOKEN"}}
    async with chained(tmp_path, **table) as (outer, inner):
        (entry,) = (await inner.fetch_page("widget"))["files"]
        assert entry["filename"] == outer.listed.built.filename
        answer = await inner.get(entry["url"].removeprefix("../.."))
        assert (answer.status, answer.body) == (200, outer.listed.built.content)


async def test_a_long_file_comes_over_https(tmp_path: Path) -> None:
    """`assay.upstream.bulk_receiver` takes over the encrypted connection."""
    table = {"ca-file": str(tmp_path / "ca.pem"), "credentials": {"token-env": "OUTER_TOKEN"}}
    async with chained(tmp_path, **table) as (outer, inner):
        long = outer.index.add(wheel("long", "1.0", padding=MIN_BULK_BYTES + 3_000_000))
        spoilt = outer.index.add(wheel("spoilt", "1.0", padding=MIN_BULK_BYTES + 3_000_000))
        outer.index.inject_fault(spoilt.path, Corrupt(at=10))
        for listed, right in [(long, True), (spoilt, False)]:
            (entry,) = (await inner.fetch_page(listed.built.project))["files"]
            path = entry["url"].removeprefix("../..")
            if right:
                assert (await inner.get(path)).body == listed.built.content
            else:
                with pytest.raises(aiohttp.ClientError):
                    await inner.get(path)


async def test_without_its_authority_nothing_is_sent_there(tmp_path: Path) -> None:
    async with chained(tmp_path, credentials={"token-env": "OUTER_TOKEN"}) as (outer, inner):
        answer = await inner.get("/simple/widget/")
        assert answer.status == 502
        assert "the server certificate is not trusted" in answer.reason
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


@pytest.mark.parametrize("size", [2**18 - 1, 2**18, 2**18 + 1, 3 * 2**18, 2**20 + 1, 2**22 - 1])
async def test_a_file_of_any_number_of_pieces_comes_over_https(tmp_path: Path, size: int) -> None:
    own, content = make_tls_files(tmp_path), make_incompressible_bytes(size)
    async with run_auth_proxy(tmp_path, tls=own.settings) as there, open_clients(there.proxy) as clients:
        listed = there.index.add(replace(there.listed.built, version="2.0", filename="widget-2.0.zip", content=content))
        context = ssl.create_default_context(cafile=own.ca)
        for _ in range(3):  # from the index, from the storage, and perhaps from memory
            client = await clients.connect(context=context)
            client.writer.write(encode_get(there.proxy.files_path(listed)))
            async with asyncio.timeout(TIMEOUT_SECONDS):
                assert (await client.reader.readuntil(END_OF_HEAD)).startswith(b"HTTP/1.1 200")
                assert await client.reader.readexactly(size) == content
            await there.proxy.wait_until_stored(listed)


async def test_over_https_too_a_client_that_takes_nothing_is_cut_and_a_slow_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own, built = make_tls_files(tmp_path), wheel("large", "1.0", padding=12_000_000)
    async with Index() as index:
        listed = index.add(built)
        configuration = make_configuration(index, tmp_path / "assay", server={"port": 0, "tls": own.settings})
        timeouts = ServerTimeouts(stall=0.5)
        async with (
            run_test_proxy(index, tmp_path, configuration=configuration, timeouts=timeouts) as proxy,
            open_clients(proxy) as clients,
        ):
            context = ssl.create_default_context(cafile=own.ca)
            idle, slow = [await clients.connect(each, context) for each in ("127.0.0.2", "127.0.0.3")]
            for client in (idle, slow):
                client.writer.write(encode_get(proxy.files_path(listed)))
            found = b""
            assert (await slow.reader.readuntil(END_OF_HEAD)).startswith(b"HTTP/1.1 200")
            while len(found) < len(built.content):
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    piece = await slow.reader.read(len(built.content) // 20)
                assert piece, f"cut after {len(found)} bytes"
                found += piece
                await asyncio.sleep(0.05)
            assert found == built.content, "a client may take longer than the timeout if it keeps reading"
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await idle.reader.readexactly(len(built.content))
            assert caplog.messages.count("response-aborted") == 1
