"""URLs and addresses that may be contacted for an index, and those that are refused."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest
from yarl import URL

from assay.errors import DisallowedHostError, InvalidResponseError
from assay.indexes import IndexSettings
from assay.upstream.addresses import NoLinkLocalResolver, check_index_url, format_host, is_link_local, redact_url

INDEX = IndexSettings.model_validate(
    {
        "name": "corp",
        "url": "https://index.example/simple/",
        "file-hosts": ["files.example", "alt.example:8443", "[2001:db8::1]", "169.254.169.254"],
    }
)
PLAIN = IndexSettings.model_validate({"name": "local", "url": "http://127.0.0.1:9000/simple/"})


@pytest.mark.parametrize(
    "url",
    [
        "https://index.example/simple/foo/",
        "https://INDEX.example:443/x",
        "https://files.example/a%2Fb/foo-1.0.tar.gz?sig=a%20b",
        "https://alt.example:8443/x",
        "https://[2001:db8::1]/x",
    ],
)
def test_an_index_uses_its_own_hosts_and_nothing_is_re_encoded(url: str) -> None:
    assert str(check_index_url(INDEX, url)).lower() in {url.lower(), url.lower().replace(":443", "")}


@pytest.mark.parametrize(
    "url",
    [
        "http://index.example/x",
        "ftp://index.example/x",
        "file:///etc/passwd",
        "https://elsewhere.example/x",
        "https://index.example.evil.example/x",
        "https://index.example@evil.example/x",
        "https://user@index.example/x",
        "https://user:secret@index.example/x",
        "https://:@index.example/x",
        "https://index.example:8443/x",
        "https://alt.example/x",
        "https://127.0.0.1/x",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fe80::1]/x",
        "https://[::ffff:169.254.169.254]/x",
        "//index.example/x",
        "/relative",
        "https:///x",
        "",
    ],
)
def test_anything_else_is_refused_by_name(url: str) -> None:
    with pytest.raises((DisallowedHostError, InvalidResponseError)) as refused:
        check_index_url(INDEX, url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["https://[::1", "https://host:99999/", "https://host:x/"])
def test_what_is_no_url_is_nonsense(url: str) -> None:
    with pytest.raises(InvalidResponseError):
        check_index_url(INDEX, url)


def test_plain_http_is_for_an_index_that_is_reached_by_http_itself() -> None:
    assert check_index_url(PLAIN, "http://127.0.0.1:9000/files/x").port == 9000
    with pytest.raises(DisallowedHostError):
        check_index_url(PLAIN, "http://127.0.0.1:9001/files/x")


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("169.254.1.1", True),
        ("fe80::1", True),
        ("fe80::1%eth0", True),
        ("[fe80::1]", True),
        ("::ffff:169.254.0.1", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
        ("example.org", False),
    ],
)
def test_link_local(host: str, found: bool) -> None:
    assert is_link_local(host) is found


def test_addresses_in_messages_have_no_query_and_no_user() -> None:
    assert redact_url("https://user:secret@host/path?token=secret#x") == "https://host/path"
    assert len(redact_url("https://host/" + "x" * 10_000)) == 300


def test_default_ports_are_dropped() -> None:
    assert [
        format_host(URL(url)) for url in ("https://A:443/", "http://a:80/", "http://a:443/", "https://[::1]:8/")
    ] == [
        "a",
        "a",
        "a:443",
        "[::1]:8",
    ]


def _resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def getaddrinfo(_host: str, port: int, *_more: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


async def test_a_name_that_leads_to_link_local_addresses_is_not_contacted(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = NoLinkLocalResolver(5)
    _resolving(monkeypatch, "169.254.169.254")
    with pytest.raises(DisallowedHostError, match="link-local"):
        await resolver.resolve("index.example", 443)
    _resolving(monkeypatch, "169.254.169.254", "192.0.2.1")
    assert [found["host"] for found in await resolver.resolve("index.example", 443)] == ["192.0.2.1"]


async def test_a_name_server_that_is_silent_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def getaddrinfo(*_arguments: object, **_more: object) -> list[Any]:
        over.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(OSError, match="not resolved within"):
        await NoLinkLocalResolver(0.05).resolve("index.example", 443)
    over.set()
    await asyncio.get_running_loop().shutdown_default_executor()
