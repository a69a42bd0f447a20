"""Settings of the feeds of advisories: the `[[advisories]]` tables."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StrictBool, model_validator

from assay.indexes import BaseUrl, CredentialsSettings, IndexSettings, LimitsSettings, PositiveDuration, is_loopback
from assay.settings import Settings, make_key_error
from assay.units import Size

_EXPECTED_SOURCE = "an http or https URL without user name and fragment, or the path of a file or directory"


def _check_source(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError(_EXPECTED_SOURCE)
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise ValueError(_EXPECTED_SOURCE) from error
    if "@" in parts.netloc:
        raise make_key_error((), expected=_EXPECTED_SOURCE, found="a URL with a user name or password")
    if parts.scheme not in {"http", "https"} or not has_host or parts.fragment or " " in text:
        raise ValueError(_EXPECTED_SOURCE)
    return text


class AdvisoryFeedSettings(Settings):
    """Feed of advisories: OSV records about projects on PyPI."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$")]
    """Name of the feed in commands, logs and metrics, and of its directory in the storage."""
    url: Annotated[str, AfterValidator(_check_source)]
    """URL (https) of a zip of OSV records, as OSV exports it. Or the path of such a zip, of a record, or of a directory
    with records in ``*.json``, for installations without a connection to the feed. A relative path starts at the
    directory of the configuration file."""
    refresh_every: PositiveDuration = timedelta(minutes=15)
    """Interval of the refreshes. A refresh of an unchanged feed costs one conditional request."""
    max_age: PositiveDuration = timedelta(days=1)
    """Age of a snapshot above which Assay raises an alarm and names the feed among the problems in ``/readyz``. The age
    is the time since the feed was last known to be current, or since a file was last modified."""
    required: StrictBool = False
    """If true, nothing is served before the first snapshot of the feed; clients get 503 with the reason."""
    max_new_hits: Annotated[int, Field(ge=0, strict=True)] = 10
    """Maximum number of projects of which one refresh may newly withhold versions that were served in the last 30 days.
    If a refresh names more, none of them is withheld until a person runs ``assay advisories accept``."""
    max_size: Size = 256 * 2**20
    """Maximum size of the zip."""
    credentials: CredentialsSettings | None = None
    """Credentials for the host of the URL. None: requests are anonymous."""
    insecure: StrictBool = False
    """If true, plain http is permitted to hosts other than loopback."""
    ca_file: Annotated[str, Field(min_length=1)] | None = None
    """PEM file with further certificate authorities for the host of the URL, in addition to those of the system."""
    proxy: BaseUrl | None = None
    """HTTP proxy for the requests. None: the proxy that the environment variables name, if any."""

    @model_validator(mode="after")
    def _check_secure(self) -> Self:
        parts = urlsplit(self.url)
        if self.is_remote and parts.scheme != "https" and not (self.insecure or is_loopback(parts.hostname or "")):
            raise make_key_error(
                "url", expected="https (http is allowed on loopback, or with `insecure = true`)", found=self.url
            )
        return self

    @property
    def is_remote(self) -> bool:
        """True if `url` is a URL, and False if it is a path."""
        return "://" in self.url

    def make_index(self, limits: LimitsSettings) -> IndexSettings | None:
        """Return the host of the feed in the form that the outbound client needs; None if `url` is a path.

        The rules for hosts, addresses and redirects of an index apply to the feed. The name contains a blank, so no
        index has the same name.

        Args:
            limits: timeouts and numbers of connections.
        """
        if not self.is_remote:
            return None
        parts = urlsplit(self.url)
        index = IndexSettings.model_validate(
            {
                "name": self.name,
                "url": f"{parts.scheme}://{parts.netloc}/",
                "credentials": self.credentials,
                "insecure": self.insecure,
                "ca-file": self.ca_file,
                "proxy": self.proxy,
            }
        )
        return index.model_copy(update={"name": f"advisories {self.name}", "limits": limits})
