"""Health check of the proxy on this machine: ``python -P -m assay.healthcheck``, the HEALTHCHECK command of the image.

It requests ``/readyz`` with the port and scheme of the proxy's configuration, so it needs the environment variables of
the proxy. The exit status is 0 if the response has status 200, else 1.
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
    """Request ``/readyz``, print a problem on standard error, and return the exit status."""
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
    except ConfigurationError as error:
        problem = str(error)
    except TimeoutError:
        problem = f"no response to /readyz within {_TIMEOUT_SECONDS:.0f} s"
    except OSError as error:
        problem = f"no connection to the proxy: {error.strerror or error}"
    except HTTPException:
        problem = "the response to /readyz is not valid HTTP"
    sys.stderr.write(f"{problem}\n")
    return 1


def _create_connection(server: ServerSettings) -> HTTPConnection:
    host = "localhost" if _is_unspecified(server.host) else server.host
    if server.tls is None:
        return HTTPConnection(host, server.port, timeout=_TIMEOUT_SECONDS)
    # The certificate is not verified, because it need not have the name used here. No secret is sent, and only the
    # status of the response is used.
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
