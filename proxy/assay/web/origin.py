"""Under which address the client knows this proxy. Pure.

PEP 740 wants provenance addresses that are fully qualified and on a secure origin, so they need one; they are omitted
where none can be believed. A Host header counts only when configuration allows it: it is the client's claim, and a page
rendered for an invented host must never be handed to another client.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address

from assay.config import ServerSettings
from assay.indexes import is_loopback, split_host

_MAX_AUTHORITY_CHARS = 300
"""A host name has at most 253 characters (RFC 1035)."""
_AUTHORITY = re.compile(r"(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?", re.ASCII)


def resolve_secure_origin(
    headers: Mapping[str, str], *, peer: str | None, tls: bool, settings: ServerSettings
) -> str | None:
    """``https://host[:port]`` without a trailing slash, or None where no address is secure or believable.

    Args:
        headers: the request's, case-insensitive.
        peer: the address of whoever opened the connection.
        tls: whether that connection is encrypted.
        settings: `public-url` wins; else `allowed-hosts`; `X-Forwarded-*` count from `trusted-proxies` alone.
    """
    address = resolve_origin(headers, peer=peer, tls=tls, settings=settings)
    return address if settings.public_url is not None or address is None or _is_secure_origin(address) else None


@lru_cache(maxsize=256)
def _is_secure_origin(address: str) -> bool:
    scheme, _, authority = address.partition("://")
    return scheme == "https" or is_loopback(split_host(authority)[0])


def resolve_origin(headers: Mapping[str, str], *, peer: str | None, tls: bool, settings: ServerSettings) -> str | None:
    """The same where plain http will do too: for people to copy. None where no address is believable."""
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
    """The address, if it is one and allowed; remembered, because all clients but a hostile one name the same few."""
    if not _AUTHORITY.fullmatch(authority) or scheme not in {"http", "https"}:
        return None
    try:
        host, _ = split_host(authority)
    except ValueError:
        return None
    return f"{scheme}://{authority}" if {host, authority} & set(allowed) else None


def is_trusted_proxy(peer: str | None, settings: ServerSettings) -> bool:
    """Whether whoever opened the connection is one of `trusted-proxies`."""
    return bool(settings.trusted_proxies) and _is_in_networks(peer or "", settings.trusted_proxies)


@lru_cache(maxsize=1024)
def _is_in_networks(peer: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    return any(address in network for network in networks)


def resolve_client_address(headers: Mapping[str, str], *, peer: str | None, settings: ServerSettings) -> str | None:
    """The address of whoever asks: the peer's, or the last one in ``X-Forwarded-For`` that no trusted proxy has.

    Each proxy appends the address that it was asked from, so what stands before the first untrusted one from the right
    is that client's own claim.
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
