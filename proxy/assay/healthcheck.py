"""Whether the proxy of this machine is ready, for the image's HEALTHCHECK: ``python -P -m assay.healthcheck``.

Owns the question as whoever shares the proxy's environment must ask it: on the port, and by http or https, that the
configuration says. Exit status 0 when ``/readyz`` answers 200, else 1.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address

from assay.config import ServerSettings, load_configuration
from assay.errors import ConfigurationError

_TIMEOUT_SECONDS = 4.0


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Ask, and say on standard error what is wrong."""
    try:
        connection = _create_connection(load_configuration(None, environ).server)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            if answer.status == HTTPStatus.OK:
                return 0
            problem = f"/readyz answers {answer.status}: {answer.read(1000).decode(errors='replace').strip()}"
        finally:
            connection.close()
    except (ConfigurationError, OSError, HTTPException) as error:
        problem = f"{type(error).__name__}: {error}"
    sys.stderr.write(f"{problem}\n")
    return 1


def _create_connection(server: ServerSettings) -> HTTPConnection:
    host = "localhost" if _is_unspecified(server.host) else server.host
    if server.tls is None:
        return HTTPConnection(host, server.port, timeout=_TIMEOUT_SECONDS)
    # It asks itself, by a name that the certificate need not have: nothing secret is sent, and nothing that is
    # answered is believed but the status.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return HTTPSConnection(host, server.port, timeout=_TIMEOUT_SECONDS, context=context)


def _is_unspecified(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
