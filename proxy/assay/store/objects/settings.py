"""Settings of the object storage, and their checks. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from assay.errors import ConfigurationError

_SCHEMES: Final = ("s3", "gs", "az", "file")
UNTESTED_SCHEMES: Final = frozenset({"gs", "az"})
"""Schemes that are passed to obstore and that Assay's tests do not cover."""
_DEPLOYMENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStorageSettings:
    """Location, deadlines and connection of the object storage.

    Credentials are not among the settings. They come from the environment variables that the libraries of each cloud
    read, such as ``AWS_ACCESS_KEY_ID``.

    Raises:
        ConfigurationError: the location is not usable.
    """

    url: str
    """Location: ``s3://bucket/prefix``, ``gs://bucket/prefix``, ``az://container/prefix`` or ``file:///directory``."""
    deployment: str
    """Name of the deployment, the first part of each key."""
    endpoint: str | None = None
    """URL of a server with the API of S3; None for the service of the cloud."""
    region: str | None = None
    """Region of the bucket; None for that of the environment."""
    insecure: bool = False
    """True to permit http to an endpoint that is not on loopback."""
    first_byte_seconds: float = 2.0
    """Time in seconds until the first byte of a response."""
    read_seconds: float = 30.0
    """Time in seconds between two parts of a response."""

    def __post_init__(self) -> None:
        url = urlsplit(self.url)
        if url.scheme not in _SCHEMES:
            raise ConfigurationError(f"objects: expected s3://, gs://, az:// or file:///, found {url.scheme or 'none'}")
        if url.query or url.fragment or url.username or url.password:
            raise ConfigurationError("objects: the URL may contain only a bucket and a prefix, and no credentials")
        if url.scheme == "file" and (url.netloc or not url.path.strip("/")):
            raise ConfigurationError("objects: expected file:/// and an absolute directory")
        if url.scheme != "file" and not url.netloc:
            raise ConfigurationError("objects: expected the name of a bucket after the scheme")
        if not _DEPLOYMENT.fullmatch(self.deployment):
            raise ConfigurationError("deployment: expected 1 to 100 ASCII letters, digits, '.', '_' and '-'")
        if self.endpoint is not None:
            self._check_endpoint(self.endpoint)

    def _check_endpoint(self, endpoint: str) -> None:
        if self.scheme != "s3":
            raise ConfigurationError("endpoint: only s3:// has an endpoint")
        url = urlsplit(endpoint)
        if url.scheme not in {"http", "https"} or not url.hostname or url.query or url.fragment or url.username:
            raise ConfigurationError("endpoint: expected https:// and a host, without credentials or a query")
        if self.uses_http and not self.insecure and not _is_loopback(url.hostname):
            raise ConfigurationError(
                "endpoint: http sends files and signatures without encryption; use https, or insecure = true"
            )

    @property
    def scheme(self) -> str:
        """Scheme of the location."""
        return urlsplit(self.url).scheme

    @property
    def uses_http(self) -> bool:
        """True if requests are not encrypted."""
        return self.endpoint is not None and urlsplit(self.endpoint).scheme == "http"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
