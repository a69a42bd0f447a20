"""Functions behind the commands ``assay trust show``, ``assay trust refresh`` and ``assay verify``.

They report the status of trust roots, renew trust roots, and describe a file on disk. They return values and print
nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from assay.attestation.config import TrustSettings
from assay.attestation.renewal.tuf import RefreshError, TufRefresher
from assay.attestation.trust_roots import TrustRoot, TrustRoots
from assay.attestation.verification.keys import TrustedKeys, load_keys
from assay.simple.model import File, Sha256

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRootReport:
    """Status of one trust root, for ``assay trust show``."""

    name: str
    default: bool
    digest: str
    source: str
    issuers: tuple[str, ...] | None
    """OIDC issuers that the trust root may vouch for; None: every issuer that its authority accepts."""
    obtained: datetime
    age: timedelta
    too_old: bool
    """True if the trust root is older than `warn-age`."""
    refreshed: bool
    """True if the proxy renews the trust root by TUF."""
    logs: tuple[str, ...]
    """URLs of the transparency logs in the trust root."""


def report_trust_roots(roots: TrustRoots, settings: TrustSettings, now: datetime) -> tuple[TrustRootReport, ...]:
    """Return the status of every trust root in force, the default root first.

    Raises:
        ConfigurationError: a trust root is invalid.
    """
    return tuple(_report_root(root, roots, settings, now) for root in roots.for_index(None))


def _report_root(root: TrustRoot, roots: TrustRoots, settings: TrustSettings, now: datetime) -> TrustRootReport:
    keys: TrustedKeys = load_keys(root.content)
    return TrustRootReport(
        name=root.name,
        default=root.name == roots.default,
        digest=root.digest,
        source=root.source,
        issuers=None if root.issuers is None else tuple(sorted(root.issuers)),
        obtained=root.obtained,
        age=root.age(now),
        too_old=root.age(now) > settings.warn_age,
        refreshed=settings.is_refresh_enabled and root.name == roots.default,
        logs=tuple(log.name for log in keys.logs.values()),
    )


def refresh_trust_roots(roots: TrustRoots, refreshers: Sequence[TufRefresher]) -> tuple[TrustRoots, tuple[str, ...]]:
    """Renew each trust root for which there is a refresher. Blocking: uses the network.

    Returns:
        The trust roots after the renewal, and an error message for each trust root whose renewal failed.
    """
    failures = []
    for refresher in refreshers:
        try:
            roots = roots.with_refreshed(refresher.refresh(roots.by_name[refresher.name]))
        except RefreshError as error:
            failures.append(str(error))
    return roots, tuple(failures)


def describe_local_file(path: Path, filename: str | None = None) -> File:
    """Return the name, SHA-256 and size of a file on disk as a `File`, which verification and policy can use.

    Args:
        path: path of the file.
        filename: name to use instead of the last part of the path; None: the last part of the path.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return File(
        filename=filename or path.name,
        url=path.absolute().as_uri(),
        location="",
        route="",
        distribution=None,
        sha256=Sha256(digest.hexdigest()),
        size=size,
    )
