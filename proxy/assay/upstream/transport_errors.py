"""Conversion of failures of connections and of HTTP to `UpstreamError`, each with one plain sentence.

The sentences reach clients, consoles and the log. They name neither a class of aiohttp nor an address of the network.
"""

from __future__ import annotations

import errno
import ssl
from typing import Final

import aiohttp

from assay.errors import InvalidResponseError, UpstreamError, UpstreamTimeoutError, UpstreamUnavailableError
from assay.upstream.addresses import redact_url

_UNREACHABLE: Final = "the network or the host is unreachable"
_BROKEN: Final = "the connection was reset"
_SYSTEM_ERRORS: Final = {
    errno.ECONNREFUSED: "the connection was refused",
    errno.ECONNRESET: _BROKEN,
    errno.ECONNABORTED: _BROKEN,
    errno.EPIPE: _BROKEN,
    errno.ENETUNREACH: _UNREACHABLE,
    errno.ENETDOWN: _UNREACHABLE,
    errno.EHOSTUNREACH: _UNREACHABLE,
    errno.EHOSTDOWN: _UNREACHABLE,
    errno.EADDRNOTAVAIL: _UNREACHABLE,
    errno.ETIMEDOUT: "the connection timed out",
    errno.EMFILE: "this proxy has too many open files",
    errno.ENFILE: "this system has too many open files",
}


def as_upstream_error(error: Exception, url: str) -> UpstreamError:
    """Convert an exception of aiohttp, a timeout, an OSError or a ValueError to the matching `UpstreamError`.

    Timeouts become `UpstreamTimeoutError`, other temporary failures `UpstreamUnavailableError`. An untrusted
    certificate, an invalid URL and a malformed response become `InvalidResponseError`.
    """
    where = redact_url(url)
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return InvalidResponseError(
                f"{where}: the server certificate is not trusted ({_explain_certificate(error)});"
                " check ca-file of the index"
            )
        case aiohttp.InvalidURL():
            return InvalidResponseError(f"{where}: the URL is not valid")
        case aiohttp.ClientHttpProxyError():
            return UpstreamUnavailableError(f"{where}: the configured HTTP proxy answered {error.status}")
        case aiohttp.ClientResponseError() | ValueError() if not isinstance(error, OSError):
            return InvalidResponseError(f"{where}: the response is not valid HTTP")
        case TimeoutError():
            return UpstreamTimeoutError(f"{where}: timed out")
        case _:
            return UpstreamUnavailableError(f"{where}: {_explain_failure(error)}")


def _explain_failure(error: Exception) -> str:
    """Return the cause of a temporary failure as a sentence without a full stop."""
    match error:
        case aiohttp.ClientProxyConnectionError():
            return f"the configured HTTP proxy cannot be reached: {_explain_system_error(error.os_error)}"
        case aiohttp.ClientConnectorDNSError():
            return "the host name cannot be resolved"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed before a response"
        case aiohttp.ClientPayloadError():
            return "the response ended early or is malformed"
        case aiohttp.ClientConnectorError():
            return _explain_system_error(error.os_error)
        case OSError():
            return _explain_system_error(error)
        case _:
            return "the connection failed"


def _explain_system_error(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        reason = str(getattr(error, "reason", None) or "no reason given").replace("_", " ").lower()
        return f"the TLS handshake failed ({reason})"
    return _SYSTEM_ERRORS.get(error.errno or 0, "no connection is possible")


def _explain_certificate(error: aiohttp.ClientConnectorCertificateError) -> str:
    return str(getattr(error.certificate_error, "verify_message", None) or "it was not verified")
