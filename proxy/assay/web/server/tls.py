"""TLS certificate of the server: TLS 1.2 and newer, renewed without a restart.

A new connection gets the certificate that was loaded last. An open connection keeps its certificate. Certificate and
key are checked together before they are used, so a half-finished renewal changes nothing.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from assay.config import TlsSettings
from assay.errors import ConfigurationError
from assay.file_watch import SettingWatch
from assay.operator_files import read_file


class ServerCertificate:
    """Certificate that the server presents to clients.

    Attributes:
        context: SSL context for the listening sockets. It uses the current certificate for each handshake.
        watch: watch that reloads certificate and key when their files change.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self._certificate = Path(settings.certificate)
        self._key = None if settings.key is None else Path(settings.key)
        self._current: ssl.SSLContext | None = None
        self.context = _create_context()
        self.context.sni_callback = self._select_context
        files = (self._certificate,) if self._key is None else (self._certificate, self._key)
        self.watch = SettingWatch("server.tls", files, self.load)

    def load(self) -> None:
        """Load certificate and key. New connections use them. Blocking.

        Raises:
            ConfigurationError: a file cannot be read, the key needs a pass phrase, or key and certificate do not match.
        """
        for path in filter(None, (self._certificate, self._key)):
            read_file(path, f"server.tls: {path}")
        context = _create_context()
        try:
            context.load_cert_chain(self._certificate, self._key, password=_refuse_passphrase)
        except (ssl.SSLError, OSError) as error:
            raise ConfigurationError(
                f"server.tls: {self._certificate} and {self._key or 'the key in this file'} cannot be used:"
                f" {getattr(error, 'reason', None) or type(error).__name__}"
            ) from error
        self._current = context

    def _select_context(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Set the current certificate for a handshake.

        OpenSSL calls this for every handshake, even if the client connects by IP address and sends no server name.
        """
        if self._current is not None:
            connection.context = self._current


def _create_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # `TlsTransport` relies on it
    context.set_alpn_protocols(["http/1.1"])
    return context


def _refuse_passphrase() -> str:
    # Without this callback, OpenSSL would ask for the pass phrase at the terminal, and the proxy would hang.
    raise ConfigurationError("server.tls: the key has a pass phrase; expected a key without one")
