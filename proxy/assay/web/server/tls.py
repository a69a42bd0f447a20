"""The server's certificate: TLS 1.2 and newer, renewed without a restart.

Owns the contexts. A connection gets the certificate that is in force when it begins; those that are open keep theirs.
Certificate and key are tried together before either is used, so that half of a renewal changes nothing.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from assay.config import TlsSettings
from assay.errors import ConfigurationError
from assay.file_watch import SettingWatch
from assay.operator_files import read_file


class ServerCertificate:
    """What the server shows of itself.

    Attributes:
        context: for the listening socket.
        watch: obeys changed files.
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
        """Read both files. Blocking.

        Raises:
            ConfigurationError: they cannot be read, or do not belong together.
        """
        for path in filter(None, (self._certificate, self._key)):
            read_file(path, f"server.tls: {path}")
        context = _create_context()
        try:
            context.load_cert_chain(self._certificate, self._key, password=_refuse_passphrase)
        except (ssl.SSLError, OSError) as error:
            raise ConfigurationError(
                f"server.tls: {self._certificate} and {self._key or 'the key in it'} cannot be used:"
                f" {getattr(error, 'reason', None) or type(error).__name__}"
            ) from error
        self._current = context

    def _select_context(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """OpenSSL asks for every handshake, also for one without a server name (a client that knows an address)."""
        if self._current is not None:
            connection.context = self._current


def _create_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _refuse_passphrase() -> str:
    # Without this, OpenSSL would ask at the terminal and the proxy would wait there for ever.
    raise ConfigurationError("server.tls: the key has a pass phrase; give one without")
