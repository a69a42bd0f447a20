"""Settings of the tables `[trust]` (trust roots) and `[verification]` (limits on the cost of verification).

This module loads no files: `trust_roots.load_roots` does.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, Self

from pydantic import Field, StrictBool, model_validator

from assay.publishers.texts import Issuer
from assay.settings import Settings
from assay.units import Duration

BUNDLED_ROOT_NAMES: Final = frozenset({"sigstore", "sigstore-staging"})
"""Names of the trust roots that are bundled with Assay. The setting `root` is one of these names or a path."""
DEFAULT_ROOT_NAME: Final = "default"
"""Name of the default root if `root` is a path. Evidence, policy and ledger use this name."""


KeyName = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$")]


class FurtherRootSettings(Settings):
    """Settings of a trust root besides the default root: ``[trust.roots.NAME]``."""

    path: Annotated[str, Field(min_length=1)]
    """Path of a trusted_root.json, or the name of a bundled root."""
    issuers: Annotated[tuple[Issuer, ...], Field(min_length=1)]
    """OIDC issuers that the root may vouch for. The key is required, because a private authority could certify any
    identity."""


class KeySettings(Settings):
    """Public key whose statements can countersign files: ``[trust.keys.NAME]``."""

    path: Annotated[str, Field(min_length=1)]
    """Path of the public key, a PEM file (SubjectPublicKeyInfo): ECDSA P-256 or P-384, or Ed25519."""


class TrustSettings(Settings):
    """Trust roots: the certificate authorities and transparency logs whose signatures count."""

    root: Annotated[str, Field(min_length=1)] = "sigstore"
    """Default root, which applies to every index that names no root: ``sigstore``, ``sigstore-staging`` or the path of
    a trusted_root.json."""
    issuers: Annotated[tuple[Issuer, ...], Field(min_length=1)] | None = None
    """OIDC issuers that the default root may vouch for. None: every issuer that the root's authority accepts."""
    roots: dict[str, FurtherRootSettings] = Field(default_factory=dict)
    """Further trust roots by name. Each states the issuers that it may vouch for."""
    keys: dict[KeyName, KeySettings] = Field(default_factory=dict)
    """Public keys by name, for the requirement `countersigned` of policies. A key signs no provenance."""
    refresh: StrictBool | None = None
    """Renewal of the bundled default root by TUF. None: on for ``sigstore``, off for other roots. Set false for
    air-gapped installations."""
    refresh_every: Duration = timedelta(days=1)
    """Time between two renewals of the bundled root; at least a minute."""
    warn_age: Duration = timedelta(days=60)
    """Age of a root above which the proxy logs a warning. If `refresh` is off, the operator must renew the root."""
    max_age: Duration | None = None
    """Age of a root above which `/readyz` fails. None: it never fails because of the age."""

    @model_validator(mode="after")
    def _check_names_and_interval(self) -> Self:
        for name in self.roots:
            if name in BUNDLED_ROOT_NAMES or name == DEFAULT_ROOT_NAME:
                raise ValueError(f"a table [trust.roots.NAME] whose NAME is not the reserved name {name}")
        if self.refresh_every < timedelta(minutes=1):
            raise ValueError("a refresh-every of at least one minute")
        return self

    @property
    def is_refresh_enabled(self) -> bool:
        """True if the proxy renews the default root by TUF."""
        return self.root in BUNDLED_ROOT_NAMES and (self.root == "sigstore" if self.refresh is None else self.refresh)


class VerificationSettings(Settings):
    """Limits on the cost of verifying attestations."""

    workers: Annotated[int, Field(ge=0, le=64, strict=True)] | None = None
    """Number of worker processes that verify. 0: a thread verifies instead. None: the number of cores minus one, at
    most four; on a single core, a thread."""
    timeout: Duration = timedelta(seconds=30)
    """Time limit for a batch of at most 20 documents. A typical batch takes 50 ms."""
    queue: Annotated[int, Field(ge=1, le=10_000, strict=True)] = 64
    """Maximum number of queued batches. While the queue is full, further verifications wait."""
