"""Origin of the proxy from the client's point of view, and IP address of the client. Pure.

Provenance URLs on a page must be fully qualified and on a secure origin (PEP 740). A page therefore needs the proxy's
own origin. Without a trusted origin, the page has no provenance URLs.

A client can write any name in the Host header. The header counts only if the configuration allows the host. Otherwise
one client could cause a page with an invented host, and other clients would get that page from the cache.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network

from assay.config import ServerSettings
from assay.indexes import is_loopback, split_host

_MAX_AUTHORITY_CHARS = 300
"""Maximum length of host and port together, in characters. A host name has at most 253 characters (RFC 1035)."""
_IPV6_NETWORK_BITS = 64
"""Length of the network prefix that a single IPv6 client usually has for itself (RFC 6177), in bits."""
_AUTHORITY = re.compile(r"(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?", re.ASCII)


def resolve_secure_origin(
    headers: Mapping[str, str], *, peer: str | None, tls: bool, settings: ServerSettings
) -> str | None:
    """Return the proxy's own origin if it is secure according to PEP 740, else None.

    An origin is secure if it is https, or http on loopback. A `public-url` counts as secure in any case.

    Args:
        headers: header fields of the request, by case-insensitive name.
        peer: IP address of the other end of the connection.
        tls: True if the connection is encrypted.
        settings: server settings. A `public-url` is always used. Without it, the requested host counts if
            `allowed-hosts` contains it. ``X-Forwarded-*`` headers count only if they come from `trusted-proxies`.
    """
    address = resolve_origin(headers, peer=peer, tls=tls, settings=settings)
    return address if settings.public_url is not None or address is None or _is_secure_origin(address) else None


@lru_cache(maxsize=256)
def _is_secure_origin(address: str) -> bool:
    scheme, _, authority = address.partition("://")
    return scheme == "https" or is_loopback(split_host(authority)[0])


def resolve_origin(headers: Mapping[str, str], *, peer: str | None, tls: bool, settings: ServerSettings) -> str | None:
    """Return the proxy's own origin, or None if no origin is trusted.

    The origin has the form ``http[s]://host[:port]``, without a trailing slash. Plain http is accepted too, because the
    home page shows this origin to users who configure an installer. The arguments are those of `resolve_secure_origin`.
    """
    if settings.public_url is not None:
        return settings.public_url.rstrip("/")
    scheme = "https" if tls else "http"
    authority = headers.get("Host", "")
    if is_trusted_proxy(peer, settings):
        scheme = headers.get("X-Forwarded-Proto", scheme).strip().lower()
        authority = headers.get("X-Forwarded-Host", authority)
    if len(authority) > _MAX_AUTHORITY_CHARS:
        return None
    return _build_allowed_origin(scheme, authority.strip().lower(), settings.allowed_hosts)


@lru_cache(maxsize=256)
def _build_allowed_origin(scheme: str, authority: str, allowed: tuple[str, ...]) -> str | None:
    """Return the origin if it is valid and its host is allowed, else None.

    Results are cached, because all clients except hostile ones use the same few hosts.
    """
    if not _AUTHORITY.fullmatch(authority) or scheme not in {"http", "https"}:
        return None
    try:
        host, _ = split_host(authority)
    except ValueError:
        return None
    return f"{scheme}://{authority}" if {host, authority} & set(allowed) else None


def is_expected_origin(origin: str, own_port: int | None, settings: ServerSettings) -> bool:
    """Return False if a client may have invented the port of an origin that `resolve_origin` has returned.

    The origin is expected if it is `public-url`, if `allowed-hosts` contains it with its port, or if it has no port or
    the port on which the connection was accepted.

    Args:
        origin: the origin, with an allowed host.
        own_port: port on which Assay accepted the connection; None if it is unknown.
        settings: server settings.
    """
    if settings.public_url is not None:
        return True
    authority = origin.partition("://")[2]
    port = split_host(authority)[1]
    return port is None or port == own_port or authority in settings.allowed_hosts


def is_trusted_proxy(peer: str | None, settings: ServerSettings) -> bool:
    """Return True if the address `peer` is in one of the networks of `trusted-proxies`."""
    return bool(settings.trusted_proxies) and _is_in_networks(peer or "", settings.trusted_proxies)


@lru_cache(maxsize=1024)
def _is_in_networks(peer: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    return any(address in network for network in networks)


def resolve_client_address(headers: Mapping[str, str], *, peer: str | None, settings: ServerSettings) -> str | None:
    """Return the IP address of the client: `peer`, or an address from ``X-Forwarded-For`` if `peer` is a trusted proxy.

    Each proxy appends the address from which it received the request. The client is therefore the last address that
    does not belong to a trusted proxy. The client itself may have written the addresses to the left of it, so they
    prove nothing.
    """
    client = peer
    if settings.trusted_proxies and is_trusted_proxy(peer, settings):
        for hop in reversed(headers.get("X-Forwarded-For", "").split(",")):
            try:
                client = str(ip_address(hop.strip()))
            except ValueError:
                break
            if not is_trusted_proxy(client, settings):
                break
    return client


@lru_cache(maxsize=1024)
def get_client_network(address: str | None) -> str | None:
    """Return the network that one client may have: an IPv4 address, or the first 64 bits of an IPv6 address.

    A text that is no address is returned as it is.
    """
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return address
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ip_network((parsed, _IPV6_NETWORK_BITS), strict=False))
