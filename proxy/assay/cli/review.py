"""Review of a valid configuration for `assay check`: settings that cannot work or that expose the proxy. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from packaging.utils import NormalizedName

from assay.config import Configuration, ServerSettings
from assay.indexes import Indexes, IndexSettings, allowed_file_hosts, find_known_file_hosts, is_loopback
from assay.policy.language.review import Problem
from assay.provenance.sources.settings import GitHubSourceSettings


def review_configuration(configuration: Configuration) -> Iterator[Problem]:
    """Yield the problems of the indexes, the evidence sources, the feeds of advisories and the server."""
    for index, pattern, earlier in configuration.indexes.find_shadowed_patterns():
        yield Problem(
            text=f"index {index.name}: the pattern {pattern} never applies, "
            f"because the earlier index {earlier.name} covers the same names"
        )
    if not any(configuration.indexes.is_catch_all(index) for index in configuration.indexes):
        yield Problem(
            text="no index covers all project names: the proxy answers 404 for a project that no pattern covers"
        )
    for index in configuration.indexes:
        yield from _review_index(index)
        if index.is_hosted:
            yield from _review_hosted(configuration.indexes, index)
    for source in configuration.evidence:
        if not isinstance(source, GitHubSourceSettings):
            continue
        if source.token_file is None:
            yield Problem(
                text=f"evidence {source.name}: without token-file, GitHub answers 60 requests an hour for each address;"
                " files that need more of them are unavailable"
            )
        elif _is_remote_http(source.url):
            yield Problem(text=f"evidence {source.name}: the token is sent over http, and every router can read it")
    yield from _review_feeds(configuration)
    yield from _review_server(configuration.server)


def _review_feeds(configuration: Configuration) -> Iterator[Problem]:
    """Yield the problems of the feeds of advisories."""
    if configuration.advisories and not any(index.has_pypi_projects for index in configuration.indexes):
        yield Problem(
            text="advisories: no index has the projects of PyPI, so no advisory applies; "
            'set ecosystem = "PyPI" in the table of an index that mirrors PyPI',
            is_error=True,
        )
    for feed in configuration.advisories:
        if feed.credentials is not None and _is_remote_http(feed.url):
            yield Problem(
                text=f"advisories {feed.name}: credentials are sent over http, and every router can read them"
            )


def _review_index(index: IndexSettings) -> Iterator[Problem]:
    missing = sorted(find_known_file_hosts(index.url) - allowed_file_hosts(index))
    if missing:
        yield Problem(
            text=f"index {index.name}: file-hosts lacks {', '.join(missing)}, which has the files of {index.url}, "
            "so every file is withheld",
            is_error=True,
        )
    if index.credentials is not None and _is_remote_http(index.url):
        yield Problem(text=f"index {index.name}: credentials are sent over http, and every router can read them")


def _review_hosted(indexes: Indexes, index: IndexSettings) -> Iterator[Problem]:
    """Yield the problems of the uploaders of a hosted index."""
    if not index.uploaders:
        yield Problem(text=f"index {index.name}: uploaders is empty: no user may upload files")
    for uploader in index.uploaders:
        for pattern in uploader.projects:
            if not set(pattern) & set("*?") and indexes.find_owner(NormalizedName(pattern)) is not index:
                yield Problem(
                    text=f"index {index.name}: the uploader {uploader.user} may upload {pattern}, "
                    "but this index does not own the name, so every upload is refused",
                    is_error=True,
                )


def _is_remote_http(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _review_server(server: ServerSettings) -> Iterator[Problem]:
    """Yield the problems of a server that other machines can reach.

    A front proxy that `trusted-proxies` names may provide TLS.
    """
    if is_loopback(server.host):
        return
    where = f"server.host is {server.host}, so other machines can connect"
    is_plain = server.tls is None and not server.trusted_proxies
    secrets = [] if server.auth is None else [key for key in ("passwords", "tokens") if getattr(server.auth, key)]
    if server.auth is None:
        yield Problem(text=f"{where}, and server.auth is not set: every client has access")
    if is_plain and secrets:
        yield Problem(
            text=f"{where}, and clients send {' and '.join(secrets)} over http: set server.tls, "
            "or name the front proxy that provides TLS in server.trusted-proxies",
            is_error=True,
        )
    elif is_plain:
        yield Problem(text=f"{where}, and neither server.tls nor server.trusted-proxies is set: the proxy serves http")
