"""Trust roots: whose signatures count, as files of our own choosing.

Owns which roots there are, what each may speak for, how old it is, and what of earlier evidence a new one leaves
standing. Reads files when told to and never asks the network, sigstore's cache directories or the environment: a stale
or edited copy there would win over the root that was chosen. Light on purpose: `keys` loads what is in a root.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Final

from assay.attestation.config import BUNDLED_ROOT_NAMES, DEFAULT_ROOT_NAME, TrustSettings
from assay.errors import ConfigurationError
from assay.evidence import Attested, Evidence, Unattested

BUNDLED_ROOTS_DATE: Final = datetime(2026, 10, 20, tzinfo=UTC)
"""When sigstore 4.5.1 was published, from which the bundled files come."""
MAX_ROOT_BYTES: Final = 1 << 20
_MAX_EARLIER_ROOTS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoot:
    """A named trusted_root.json and the issuers it may speak for."""

    name: str
    content: bytes = field(repr=False)
    issuers: frozenset[str] | None = None
    """None: everybody whom its authority certifies."""
    obtained: datetime = BUNDLED_ROOTS_DATE
    """As of when it is known to be current."""
    source: str = ""
    """Where it came from, for people."""
    digest: str = field(init=False, repr=False, compare=False)
    """SHA-256 of the file, hexadecimal."""
    fingerprint: str = field(init=False, repr=False, compare=False)
    """Digest of all that evidence depends on: name, file and issuers."""

    def __post_init__(self) -> None:
        """Hash once: every answer asks whether its roots are still those in force."""
        issuers = "*" if self.issuers is None else " ".join(sorted(self.issuers))
        digest = hashlib.sha256(self.content).hexdigest()
        fingerprint = hashlib.sha256(f"{self.name}\0{digest}\0{issuers}".encode()).hexdigest()
        object.__setattr__(self, "digest", digest)
        object.__setattr__(self, "fingerprint", fingerprint)

    @property
    def entry_fingerprints(self) -> frozenset[str]:
        """Fingerprints of its authorities and logs, as `Attestation.material` names them."""
        content = json.loads(self.content)
        kinds = ("certificateAuthorities", "tlogs", "ctlogs")
        return frozenset(fingerprint_entry(entry) for kind in kinds for entry in content[kind])

    def age(self, now: datetime) -> timedelta:
        """How long ago it was known to be current."""
        return now - self.obtained


def fingerprint_entry(entry: object) -> str:
    """SHA-256 of one authority or log of a trusted_root.json: changes when anything about it does."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoots:
    """The default root and those beside it. Replaced as a whole when one is renewed."""

    default: str
    by_name: Mapping[str, TrustRoot]
    """All, bundled ones included, by name."""
    further: tuple[str, ...] = ()
    """Names of those that `[trust.roots]` lists, in order."""
    earlier: tuple[TrustRoots, ...] = ()
    """What was in force before, newest first: under these digests evidence may still be recorded."""
    digest: str = field(init=False, repr=False, compare=False)
    """Of all roots together: changes when anything about any of them does."""

    def __post_init__(self) -> None:
        """Hash once, as for one root."""
        parts = [self.default, *self.further, *(root.fingerprint for _, root in sorted(self.by_name.items()))]
        object.__setattr__(self, "digest", hashlib.sha256("\0".join(parts).encode()).hexdigest())

    def for_index(self, root_name: str | None = None) -> tuple[TrustRoot, ...]:
        """The roots that count for an index: the one it names, else the default one and those beside it.

        Raises:
            ConfigurationError: it names none of ours.
        """
        names = (self.default, *self.further) if root_name is None else (root_name,)
        try:
            return tuple(self.by_name[name] for name in names)
        except KeyError as missing:
            known = ", ".join(sorted(self.by_name))
            raise ConfigurationError(f"trust: expected one of {known}, found {missing.args[0]}") from None

    def fingerprints_for_index(self, root_name: str | None = None) -> tuple[str, ...]:
        """Fingerprints of `for_index(trust)`, for the key under which evidence is recorded."""
        return tuple(root.fingerprint for root in self.for_index(root_name))

    def with_refreshed(self, root: TrustRoot) -> TrustRoots:
        """These roots with `root` in the place of the one of its name; the issuers stay as configured."""
        current = self.by_name[root.name]
        root = replace(root, issuers=current.issuers)
        if root.content == current.content:
            return replace(self, by_name={**self.by_name, root.name: root})
        earlier = (replace(self, earlier=()), *self.earlier)[:_MAX_EARLIER_ROOTS]
        return replace(self, by_name={**self.by_name, root.name: root}, earlier=earlier)


def is_still_valid(evidence: Evidence, roots: Sequence[TrustRoot]) -> bool:
    """Whether evidence recorded under earlier roots holds under these without verifying it again.

    It does while every key that vouched for it is listed unchanged. What was `Unverifiable`, wholly or in part, may be
    known now; what was `Forged` names no keys, and is looked at again.
    """
    match evidence:
        case Attested(attestations=attestations, ignored=()):
            named = {root.name: root for root in roots}
            return all(
                (root := named.get(one.trust_root)) is not None
                and (root.issuers is None or one.claims.issuer in root.issuers)
                and bool(one.material)
                and root.entry_fingerprints.issuperset(one.material)
                for one in attestations
            )
        case Unattested():
            return True
        case _:
            return False


def read_bundled(name: str, file: str = "trusted_root.json") -> bytes:
    """A pinned file that comes with Assay (`bundled/README.md` says from where)."""
    return resources.files("assay.attestation").joinpath("bundled", f"{name}.{file}").read_bytes()


def load_roots(settings: TrustSettings, base_directory: Path, *, renewed: Iterable[TrustRoot] = ()) -> TrustRoots:
    """The roots that `settings` names. Blocking: reads files.

    Args:
        settings: of the whole `[trust]` table.
        base_directory: where relative paths start.
        renewed: bundled roots as last refreshed (`refresh.Refresher.proven`); others are passed over.

    Raises:
        ConfigurationError: a file can't be read, or is no trusted root.
    """
    issuers = None if settings.issuers is None else frozenset(settings.issuers)
    default = settings.root if settings.root in BUNDLED_ROOT_NAMES else DEFAULT_ROOT_NAME
    named = {
        name: TrustRoot(name=name, content=read_bundled(name), source="bundled with Assay")
        for name in sorted(BUNDLED_ROOT_NAMES)
    }
    named[default] = replace(_load_root(default, settings.root, base_directory), issuers=issuers)
    for name, further in settings.roots.items():
        root = _load_root(name, further.path, base_directory)
        named[name] = replace(root, issuers=frozenset(further.issuers))
    roots = TrustRoots(default=default, by_name=named, further=tuple(settings.roots))
    for root in renewed:
        if root.name in BUNDLED_ROOT_NAMES:
            roots = roots.with_refreshed(root)
    return roots


def _load_root(name: str, source: str, base_directory: Path) -> TrustRoot:
    if source in BUNDLED_ROOT_NAMES:
        return TrustRoot(name=name, content=read_bundled(source), source="bundled with Assay")
    path = base_directory / source
    try:
        with path.open("rb") as file:
            content = file.read(MAX_ROOT_BYTES + 1)
        obtained = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError as error:
        raise ConfigurationError(
            f"trust root {name}: expected a readable file, found {path}: {error.strerror}"
        ) from error
    check_root_content(content, f"trust root {name} ({path})")
    return TrustRoot(name=name, content=content, obtained=obtained, source=str(path))


def check_root_content(content: bytes, what: str) -> None:
    """The file has the shape of a trusted_root.json; its keys are loaded where they are used.

    Raises:
        ConfigurationError: it hasn't.
    """
    if len(content) > MAX_ROOT_BYTES:
        raise ConfigurationError(f"{what}: expected at most {MAX_ROOT_BYTES} bytes, found more")
    try:
        root = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{what}: expected JSON, found {error}") from error
    for kind in ("certificateAuthorities", "tlogs", "ctlogs"):
        if not isinstance(root, dict) or not isinstance(root.get(kind), list) or not root[kind]:
            raise ConfigurationError(f"{what}: expected a Sigstore trusted_root.json with {kind}, found none")
