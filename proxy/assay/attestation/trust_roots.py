"""Trust roots: files that name certificate authorities and transparency logs whose signatures count.

Each trust root also has a list of OIDC issuers that it may vouch for. This module loads trust roots and computes their
age. After a renewal, it decides which recorded evidence stays valid.

The module reads only the configured and bundled files. It never uses the network, sigstore's cache directories or the
environment. A stale or modified copy there would override the configured root. The module does not import sigstore,
which needs much memory: `verification.keys` parses the keys in a trust root.
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
from assay.operator_files import read_file

BUNDLED_ROOTS_DATE: Final = datetime(2026, 10, 20, tzinfo=UTC)
"""Publication date of sigstore 4.5.1. The bundled files are copies of files in that release."""
MAX_ROOT_BYTES: Final = 1 << 20
_MAX_EARLIER_ROOTS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoot:
    """Content of one trusted_root.json, with its name and the issuers that it may vouch for."""

    name: str
    content: bytes = field(repr=False)
    issuers: frozenset[str] | None = None
    """OIDC issuers that the trust root may vouch for; None: every issuer that its authority accepts."""
    obtained: datetime = BUNDLED_ROOTS_DATE
    """Time at which the trust root was last known to be current, UTC."""
    source: str = ""
    """Origin of the file (a path, a URL or "bundled with Assay"), for display to the operator."""
    digest: str = field(init=False, repr=False, compare=False)
    """SHA-256 of the file, hexadecimal."""
    fingerprint: str = field(init=False, repr=False, compare=False)
    """SHA-256 of name, file digest and issuers, hexadecimal. Evidence depends on all three."""

    def __post_init__(self) -> None:
        """Compute `digest` and `fingerprint` once instead of at each use."""
        issuers = "*" if self.issuers is None else " ".join(sorted(self.issuers))
        digest = hashlib.sha256(self.content).hexdigest()
        fingerprint = hashlib.sha256(f"{self.name}\0{digest}\0{issuers}".encode()).hexdigest()
        object.__setattr__(self, "digest", digest)
        object.__setattr__(self, "fingerprint", fingerprint)

    @property
    def entry_fingerprints(self) -> frozenset[str]:
        """Fingerprints of the trust root's authorities and logs (`fingerprint_entry`).

        `Attestation.material` has the same form.
        """
        content = json.loads(self.content)
        kinds = ("certificateAuthorities", "tlogs", "ctlogs")
        return frozenset(fingerprint_entry(entry) for kind in kinds for entry in content[kind])

    def age(self, now: datetime) -> timedelta:
        """Return the time since the trust root was last known to be current."""
        return now - self.obtained


def fingerprint_entry(entry: object) -> str:
    """Return the SHA-256 of the entry of one authority or log in a trusted_root.json, hexadecimal.

    The result changes if any part of the entry changes.
    """
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustKey:
    """Public key whose statements can countersign files."""

    name: str
    pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoots:
    """Immutable set of trust roots: the default root, the further roots and the bundled ones.

    A renewal creates a new set.
    """

    default: str
    by_name: Mapping[str, TrustRoot]
    """All trust roots by name, including the bundled ones."""
    further: tuple[str, ...] = ()
    """Names of the further roots, in the order of `[trust.roots]`."""
    keys: tuple[TrustKey, ...] = ()
    """Public keys, in the order of `[trust.keys]`. They count for all indexes."""
    earlier: tuple[TrustRoots, ...] = ()
    """Earlier sets of trust roots, which renewals have replaced: at most four, newest first. They are needed to find
    evidence that was recorded before a renewal, because cache keys contain the fingerprints of the trust roots."""
    digest: str = field(init=False, repr=False, compare=False)
    """SHA-256 of all trust roots together, hexadecimal. It changes if any trust root changes."""

    def __post_init__(self) -> None:
        """Compute the digest once instead of at each use."""
        named = sorted(self.by_name.items())
        parts = [self.default, *self.further, *(root.fingerprint for _, root in named), self.keys_digest]
        object.__setattr__(self, "digest", hashlib.sha256("\0".join(parts).encode()).hexdigest())

    @property
    def keys_digest(self) -> str:
        """Digest of the names and contents of all keys. It is empty without keys."""
        parts = [f"{each.name}\0{hashlib.sha256(each.pem).hexdigest()}" for each in self.keys]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest() if parts else ""

    def for_index(self, root_name: str | None = None) -> tuple[TrustRoot, ...]:
        """Return the trust roots that count for an index.

        Args:
            root_name: name of the only trust root for the index, from the index's settings. None: the default root and
                all further roots.

        Raises:
            ConfigurationError: no trust root has this name.
        """
        names = (self.default, *self.further) if root_name is None else (root_name,)
        try:
            return tuple(self.by_name[name] for name in names)
        except KeyError as missing:
            known = ", ".join(sorted(self.by_name))
            raise ConfigurationError(
                f"trust: expected the name of a trust root ({known}), found {missing.args[0]}"
            ) from None

    def fingerprints_for_index(self, root_name: str | None = None) -> tuple[str, ...]:
        """Return the fingerprint of each trust root in `for_index(root_name)`.

        They are part of the cache key of evidence.
        """
        return tuple(root.fingerprint for root in self.for_index(root_name))

    def with_refreshed(self, root: TrustRoot) -> TrustRoots:
        """Return a copy in which `root` replaces the trust root of the same name, but keeps the configured issuers."""
        current = self.by_name[root.name]
        root = replace(root, issuers=current.issuers)
        if root.content == current.content:
            return replace(self, by_name={**self.by_name, root.name: root})
        earlier = (replace(self, earlier=()), *self.earlier)[:_MAX_EARLIER_ROOTS]
        return replace(self, by_name={**self.by_name, root.name: root}, earlier=earlier)


def is_still_valid(evidence: Evidence, roots: Sequence[TrustRoot]) -> bool:
    """Return True if recorded evidence is also valid under `roots`, without a new verification.

    `Unattested` evidence depends on no trust root, so it stays valid. `Attested` evidence stays valid under three
    conditions:

    - For each attestation, `roots` contains the unchanged entries of the authority and the logs that vouched for it.
    - The trust root still accepts the issuer of each attestation.
    - `Attested.ignored` is empty. Otherwise the new trust roots may have a key that verifies an ignored attestation.

    An `Unverifiable` document must be verified again, because the new trust roots may have the missing key. A `Forged`
    document must be verified again, because its evidence does not record which keys were used.

    Args:
        evidence: evidence that was recorded under earlier trust roots.
        roots: trust roots in force for the index.
    """
    match evidence:
        case Attested(attestations=attestations, ignored=(), rejected=(), key_statements=()):
            named = {root.name: root for root in roots}
            return all(
                (root := named.get(one.trust_root)) is not None
                and (root.issuers is None or one.claims.issuer in root.issuers)
                and bool(one.material)
                and root.entry_fingerprints.issuperset(one.material)
                for one in attestations
            )
        case Unattested(rejected=(), key_statements=()):
            return True
        case _:
            return False


def read_bundled(name: str, file: str = "trusted_root.json") -> bytes:
    """Return the content of a file that is bundled with Assay. `bundled/README.md` states the origin of the files."""
    return resources.files("assay.attestation").joinpath("bundled", f"{name}.{file}").read_bytes()


def load_roots(settings: TrustSettings, base_directory: Path, *, renewed: Iterable[TrustRoot] = ()) -> TrustRoots:
    """Return the trust roots that the settings name. Blocking: reads files.

    Args:
        settings: the `[trust]` table.
        base_directory: directory that relative paths start from.
        renewed: trust roots that a renewal stored (`TufRefresher.load_verified`). Each replaces the bundled file of the
            same name. Trust roots with other names are ignored.

    Raises:
        ConfigurationError: a file cannot be read, or is not a trusted_root.json.
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
    keys = tuple(_load_key(name, key.path, base_directory) for name, key in settings.keys.items())
    roots = TrustRoots(default=default, by_name=named, further=tuple(settings.roots), keys=keys)
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
        raise ConfigurationError(f"trust root {name}: the file {path} cannot be read: {error.strerror}") from error
    check_root_content(content, f"trust root {name} ({path})")
    return TrustRoot(name=name, content=content, obtained=obtained, source=str(path))


def _load_key(name: str, source: str, base_directory: Path) -> TrustKey:
    path = base_directory / source
    return make_trust_key(name, read_file(path, f"trust.keys.{name}: {path}", max_bytes=MAX_ROOT_BYTES))


def make_trust_key(name: str, pem: bytes) -> TrustKey:
    """Return the key in a PEM file.

    Raises:
        ConfigurationError: the file has no key of a supported kind.
    """
    # Imported only if there are keys: this module must not need much memory.
    from assay.attestation.verification.public_keys import load_public_key  # noqa: PLC0415

    try:
        load_public_key(pem)
    except ValueError as error:
        raise ConfigurationError(f"trust.keys.{name}: expected {error}") from error
    return TrustKey(name=name, pem=pem)


def check_root_content(content: bytes, what: str) -> None:
    """Check that the content of a file has the structure of a trusted_root.json. The keys in it are not checked.

    Args:
        content: content of the file.
        what: name of the file, for the error message.

    Raises:
        ConfigurationError: the content is larger than 1 MiB, is not JSON, or has no authorities or no logs.
    """
    if len(content) > MAX_ROOT_BYTES:
        raise ConfigurationError(f"{what}: expected at most {MAX_ROOT_BYTES} bytes, found more")
    try:
        root = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{what}: expected JSON, found {error}") from error
    for kind in ("certificateAuthorities", "tlogs", "ctlogs"):
        if not isinstance(root, dict) or not isinstance(root.get(kind), list) or not root[kind]:
            raise ConfigurationError(f"{what}: expected a Sigstore trusted_root.json with {kind}, found no {kind}")
