"""`[trust]` and `[verification]`: whose signatures count, and what verifying them may cost.

Owns both tables' shape. Loads nothing: `roots.load_roots` does.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from assay.settings import Settings
from assay.units import Duration

BUNDLED_ROOT_NAMES: Final = frozenset({"sigstore", "sigstore-staging"})
"""Roots that come with Assay; any other value of `root` is a path."""
DEFAULT_ROOT_NAME: Final = "default"
"""What a default root given by path is called in evidence, policy and ledger."""


def _check_issuer(text: str) -> str:
    if not text.startswith("https://") or len(text) <= len("https://"):
        raise ValueError("an OIDC issuer, such as https://gitlab.acme.example")
    return text


IssuerUrl = Annotated[str, AfterValidator(_check_issuer)]


class FurtherRootSettings(Settings):
    """``[trust.roots.NAME]``: a root beside the default one."""

    path: Annotated[str, Field(min_length=1)]
    """A trusted_root.json, or the name of a bundled root."""
    issuers: Annotated[tuple[IssuerUrl, ...], Field(min_length=1)]
    """Whom it may speak for. There is no default: a private authority could mint anybody's identity."""


class TrustSettings(Settings):
    """Whose signatures count."""

    root: Annotated[str, Field(min_length=1)] = "sigstore"
    """``sigstore``, ``sigstore-staging`` or the path of a trusted_root.json: for every index that names no root."""
    issuers: Annotated[tuple[IssuerUrl, ...], Field(min_length=1)] | None = None
    """Narrows whom `root` may speak for; None: everybody whom its authority certifies."""
    roots: dict[str, FurtherRootSettings] = Field(default_factory=dict)
    """Further roots by name, each with the issuers that it may speak for."""
    refresh: bool | None = None
    """Whether the bundled root is renewed by TUF. None: for ``sigstore`` yes, for others no. Air-gapped: false."""
    refresh_every: Duration = timedelta(days=1)
    """How often the bundled root is renewed; at least a minute."""
    warn_age: Duration = timedelta(days=60)
    """A root not renewed for longer is warned of; with `refresh` off it is the operator who renews it."""
    max_age: Duration | None = None
    """A root not renewed for longer makes `/readyz` fail. None: never."""

    @model_validator(mode="after")
    def _check_names_and_interval(self) -> Self:
        for name in self.roots:
            if name in BUNDLED_ROOT_NAMES or name == DEFAULT_ROOT_NAME:
                raise ValueError(f"[trust.roots.{name}]: a name other than {name}, which is taken")
        if self.refresh_every < timedelta(minutes=1):
            raise ValueError("refresh-every: at least a minute")
        return self

    @property
    def is_refresh_enabled(self) -> bool:
        """Whether the default root is renewed by TUF."""
        return self.root in BUNDLED_ROOT_NAMES and (self.root == "sigstore" if self.refresh is None else self.refresh)


class VerificationSettings(Settings):
    """What verifying attestations may cost."""

    workers: Annotated[int, Field(ge=0, le=64)] | None = None
    """Worker processes; 0: a thread. None: one for each core but one, at most four, and a thread where there is one
    core."""
    timeout: Duration = timedelta(seconds=30)
    """For a batch of at most 20 files; honest ones take 50 ms."""
    queue: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Batches that may wait; whoever brings more waits too."""
