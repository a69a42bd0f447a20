"""Settings of the evidence sources beside the indexes: the tables `[[evidence]]` of the configuration. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from packaging.utils import InvalidName, canonicalize_name
from pydantic import AfterValidator, Field, StrictBool, model_validator

from assay.evidence import INDEX_SOURCE
from assay.indexes import BaseUrl, CredentialsSettings, HostPort, IndexSettings, is_loopback
from assay.publishers.github import GITHUB
from assay.publishers.globs import lower_ascii
from assay.publishers.texts import Issuer
from assay.settings import Settings, make_key_error
from assay.simple.model import NormalizedName

GITHUB_API: Final = "https://api.github.com/"
_BUNDLE_HOSTS: Final = ("tmaproduction.blob.core.windows.net",)
"""Hosts from which github.com's bundles are downloaded (`bundle_url`), as GitHub's own command uses them."""
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,98}[A-Za-z0-9])?/[A-Za-z0-9._-]{1,100}", re.ASCII)


def _check_repository(text: str) -> str:
    if not is_repository(text):
        raise ValueError('owner/name on GitHub, such as "octo-org/widget", without wildcards')
    return text


def is_repository(text: str) -> bool:
    """Return whether a text is the name of one GitHub repository: ``owner/name`` without wildcards."""
    return _REPOSITORY.fullmatch(text) is not None and text.rpartition("/")[2] not in {".", ".."}


def _check_project(text: str) -> str:
    try:
        return str(canonicalize_name(text, validate=True))
    except InvalidName as error:
        raise ValueError("the name of a project") from error


def _check_name(text: str) -> str:
    if text == INDEX_SOURCE:
        raise ValueError(f"a name other than {INDEX_SOURCE}, the file's own index")
    return text


SourceName = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$"), AfterValidator(_check_name)]


class GitHubSourceSettings(Settings):
    """Evidence source that asks GitHub's attestation store about files."""

    name: SourceName
    """Name of the source in policies, reasons, logs and records."""
    kind: Literal["github"]
    """Kind of source: the attestation store of github.com or of a GitHub Enterprise server."""
    url: BaseUrl = GITHUB_API
    """URL of the REST API. For a GitHub Enterprise server, ``https://HOST/api/v3/``."""
    issuer: Issuer = GITHUB.issuer
    """OIDC issuer of the certificates in this store. A publisher is asked about here only if its `issuer` is the same.
    It is required if `url` is not that of github.com."""
    token_file: Annotated[str, Field(min_length=1)] | None = None
    """File that contains a token, which is sent only to the host of `url`. Without a token, GitHub answers 60 requests
    an hour."""
    repositories: Mapping[
        Annotated[str, AfterValidator(_check_project)], Annotated[str, AfterValidator(_check_repository)]
    ] = Field(default_factory=dict)
    """Repository of each project, besides those that rules name. GitHub is asked about no other repository."""
    bundle_hosts: tuple[HostPort, ...] = _BUNDLE_HOSTS
    """Hosts from which bundles may be downloaded that the API does not contain itself. They get no token."""
    ca_file: Annotated[str, Field(min_length=1)] | None = None
    """PEM file with further certificate authorities for the hosts of this source."""
    proxy: BaseUrl | None = None
    """HTTP proxy for requests to this source. None: the proxy that the environment variables name, if any."""
    insecure: StrictBool = False
    """If true, plain http is permitted to hosts other than loopback."""

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme != "https" and not self.insecure and not is_loopback(parts.hostname or ""):
            raise make_key_error(
                "url", expected="https (http is allowed on loopback, or with `insecure = true`)", found=self.url
            )
        if self.url != GITHUB_API and "issuer" not in self.model_fields_set:
            raise make_key_error("issuer", expected=f"the OIDC issuer, because url is not {GITHUB_API}", found=None)
        return self

    @property
    def repository_by_project(self) -> Mapping[NormalizedName, str]:
        """The repositories of `repositories`, in lower case, by the normalized name of the project."""
        return {NormalizedName(project): lower_ascii(name) for project, name in self.repositories.items()}

    @property
    def connection(self) -> IndexSettings:
        """Settings of the connection, in the form of an index to which no project belongs.

        Its name contains a colon, so it differs from the name of every index.
        """
        settings: IndexSettings = IndexSettings(
            name="evidence",
            url=self.url,
            file_hosts=self.bundle_hosts,
            credentials=None if self.token_file is None else CredentialsSettings(token_file=self.token_file),
            ca_file=self.ca_file,
            proxy=self.proxy,
            insecure=self.insecure,
        )
        return settings.model_copy(update={"name": f"evidence:{self.name}"})


class FilesSourceSettings(Settings):
    """Evidence source for Sigstore bundles in a directory."""

    name: SourceName
    """Name of the source in policies, reasons, logs and records."""
    kind: Literal["files"]
    """Kind of source: a directory."""
    path: Path
    """Directory with the bundles about each file: ``<sha256>.jsonl`` has one in each line, ``<sha256>/*.json`` one in
    each file. Changes have effect within about a second."""


EvidenceSettings = Annotated[GitHubSourceSettings | FilesSourceSettings, Field(discriminator="kind")]
"""Table ``[[evidence]]``."""


def check_source_names(sources: Iterable[EvidenceSettings]) -> None:
    """Raise an error if two sources have the same name.

    Raises:
        PydanticCustomError: two sources have the same name.
    """
    seen: set[str] = set()
    for position, each in enumerate(sources):
        if each.name in seen:
            raise make_key_error(
                ("evidence", position, "name"), expected="a name that no other source has", found=each.name
            )
        seen.add(each.name)
