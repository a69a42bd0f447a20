"""What people ask of verification from a terminal: which roots are in force, and what a file on disk is.

The functions behind ``assay trust show|refresh`` and ``assay verify``. Values out, no printing.
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
    """One trust root, for ``assay trust show``."""

    name: str
    default: bool
    digest: str
    source: str
    issuers: tuple[str, ...] | None
    """None: everybody whom its authority certifies."""
    obtained: datetime
    age: timedelta
    too_old: bool
    """Older than `warn-age`."""
    refreshed: bool
    """Whether it is renewed by itself."""
    logs: tuple[str, ...]
    """Transparency logs, by address."""


def report_trust_roots(roots: TrustRoots, settings: TrustSettings, now: datetime) -> tuple[TrustRootReport, ...]:
    """Every root in force, the default one first.

    Raises:
        ConfigurationError: one of them doesn't load.
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
    """Renew each root that has a refresher, now and blocking.

    Returns:
        The roots, and a sentence for each that could not be renewed.
    """
    failures = []
    for refresher in refreshers:
        try:
            roots = roots.with_refreshed(refresher.refresh(roots.by_name[refresher.name]))
        except RefreshError as error:
            failures.append(str(error))
    return roots, tuple(failures)


def describe_local_file(path: Path, filename: str | None = None) -> File:
    """A file on disk as verification and policy see one: name, digest and size.

    Raises:
        OSError: it can't be read.
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
