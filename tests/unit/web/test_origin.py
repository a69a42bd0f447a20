"""Origin of the proxy and address of the client: headers count only from hosts and proxies that are configured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.config import ServerSettings
from assay.web.origin import (
    get_client_network,
    is_expected_origin,
    resolve_client_address,
    resolve_origin,
    resolve_secure_origin,
)

BEHIND = ServerSettings.model_validate(
    {"trusted-proxies": ["10.0.0.0/8"], "allowed-hosts": ["pypi.acme.example", "127.0.0.1"]}
)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.9", "6.6.6.6", "192.0.2.9"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "6.6.6.6, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7, nonsense", "10.0.0.1"),
        ("10.0.0.1", "nonsense, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "2001:DB8::1", "2001:db8::1"),
        (None, "192.0.2.7", None),
    ],
)
def test_a_client_is_the_last_address_that_no_trusted_proxy_has(
    peer: str | None, forwarded: str | None, client: str | None
) -> None:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    assert resolve_client_address(headers, peer=peer, settings=BEHIND) == client


@given(st.text(max_size=60))
def test_what_a_client_says_of_itself_is_never_its_address(claim: str) -> None:
    assert resolve_client_address({"X-Forwarded-For": claim}, peer="192.0.2.9", settings=BEHIND) == "192.0.2.9"
    assert (
        resolve_client_address({"X-Forwarded-For": f"{claim}, 192.0.2.7"}, peer="10.0.0.1", settings=BEHIND)
        == "192.0.2.7"
    )


@pytest.mark.parametrize(
    ("peer", "headers", "address", "secure"),
    [
        ("192.0.2.9", {"Host": "pypi.acme.example"}, "http://pypi.acme.example", False),
        ("192.0.2.9", {"Host": "127.0.0.1:8080"}, "http://127.0.0.1:8080", True),
        ("192.0.2.9", {"Host": "evil.example"}, None, False),
        ("192.0.2.9", {"Host": "pypi.acme.example", "X-Forwarded-Proto": "https"}, "http://pypi.acme.example", False),
        ("10.0.0.1", {"Host": "pypi.acme.example", "X-Forwarded-Proto": "https"}, "https://pypi.acme.example", True),
        ("10.0.0.1", {"Host": "x", "X-Forwarded-Host": "pypi.acme.example"}, "http://pypi.acme.example", False),
    ],
)
def test_people_are_told_an_address_over_plain_http_too_and_provenance_only_a_secure_one(
    peer: str, headers: dict[str, str], address: str | None, *, secure: bool
) -> None:
    assert resolve_origin(headers, peer=peer, tls=False, settings=BEHIND) == address
    assert resolve_secure_origin(headers, peer=peer, tls=False, settings=BEHIND) == (address if secure else None)


@pytest.mark.parametrize(
    ("origin", "own_port", "expected"),
    [
        ("http://localhost", 8080, True),
        ("https://[::1]", 8080, True),
        ("http://localhost:8080", 8080, True),
        ("http://[::1]:8080", 8080, True),
        ("http://localhost:9000", 8080, True),
        ("http://localhost:9001", 8080, False),
        ("http://127.0.0.1:9000", 8080, False),
        ("http://[::1]:9000", 8080, False),
        ("http://localhost:8080", None, False),
    ],
)
def test_a_port_is_expected_if_the_configuration_or_the_connection_has_it(
    origin: str, own_port: int | None, *, expected: bool
) -> None:
    hosts = ["localhost", "127.0.0.1", "[::1]", "localhost:9000"]
    assert is_expected_origin(origin, own_port, ServerSettings.model_validate({"allowed-hosts": hosts})) is expected


def test_a_public_url_is_always_expected() -> None:
    settings = ServerSettings.model_validate({"public-url": "https://pypi.acme.example:8443"})
    assert is_expected_origin("https://pypi.acme.example:8443", 8080, settings)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        (None, None),
        ("unknown", "unknown"),
    ],
)
def test_the_addresses_that_one_client_may_have_are_one_client(address: str | None, network: str | None) -> None:
    assert get_client_network(address) == network
