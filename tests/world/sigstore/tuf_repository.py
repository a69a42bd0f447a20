"""TUF repository in process that serves a trusted_root.json and can change between renewals.

tuf = TufRepository(sigstore.trusted_root())
TufRefresher(name="sigstore", directory=…, url=TufRepository.URL, fetch=tuf.fetch, anchor=tuf.anchor)
tuf.publish(sigstore.trusted_root())          # publish a new target with valid signatures
tuf.rotate_root()                             # publish root version N+1 with a new key, signed by both keys
tuf.files[…] = b"…"                           # forge a file
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (  # type: ignore[attr-defined]  # documented there, without __all__
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from assay.errors import NotFoundError, UpstreamUnavailableError

TARGET = "trusted_root.json"


class TufRepository:
    """TUF repository with one key for all roles."""

    URL = "https://tuf.example"

    def __init__(self, content: bytes) -> None:
        self.files: dict[str, bytes] = {}
        """Content of the files by URL."""
        self.asked: list[str] = []
        self.down = False
        self.expires = datetime.now(UTC) + timedelta(days=30)
        self.signer = CryptoSigner.generate_ed25519()
        self.root = Root(expires=self.expires)
        self.version = 0
        for role in ("root", "timestamp", "snapshot", "targets"):
            self.root.add_key(self.signer.public_key, role)
        self.anchor = self._sign(self.root)
        """TUF root.json in place of the one that is bundled with Assay."""
        self._put("1.root.json", self.anchor)
        self.publish(content)

    def publish(self, content: bytes) -> None:
        """Publish `content` as the new target."""
        self.version += 1
        target = TargetFile.from_data(TARGET, content, ["sha256"])
        targets = Targets(version=self.version, expires=self.expires, targets={TARGET: target})
        snapshot = Snapshot(
            version=self.version, expires=self.expires, meta={"targets.json": MetaFile(version=self.version)}
        )
        stamp = Timestamp(version=self.version, expires=self.expires, snapshot_meta=MetaFile(version=self.version))
        self._put(f"{self.version}.targets.json", self._sign(targets))
        self._put(f"{self.version}.snapshot.json", self._sign(snapshot))
        self._put("timestamp.json", self._sign(stamp))
        self._put(f"targets/{target.hashes['sha256']}.{TARGET}", content)

    def rotate_root(self) -> None:
        """Publish a new root version with a new key, signed by the old and the new key."""
        old, self.signer = self.signer, CryptoSigner.generate_ed25519()
        for role in ("root", "timestamp", "snapshot", "targets"):
            self.root.revoke_key(old.public_key.keyid, role)
            self.root.add_key(self.signer.public_key, role)
        self.root.version += 1
        metadata = Metadata(self.root)
        metadata.sign(old)
        metadata.sign(self.signer, append=True)
        self._put(f"{self.root.version}.root.json", metadata.to_bytes())

    def fetch(self, url: str) -> Iterable[bytes]:
        """Return the content of a URL in two chunks, as a blocking GET does."""
        self.asked.append(url)
        if self.down:
            raise UpstreamUnavailableError(f"{url}: connection refused")
        if url not in self.files:
            raise NotFoundError(url)
        content = self.files[url]
        yield content[: len(content) // 2]
        yield content[len(content) // 2 :]

    def _put(self, path: str, content: bytes) -> None:
        self.files[f"{self.URL}/{path}"] = content

    def _sign(self, role: Root | Timestamp | Snapshot | Targets) -> bytes:
        metadata: Metadata[Any] = Metadata(role)
        metadata.sign(self.signer)
        return metadata.to_bytes()
