"""Renewing a bundled trust root by TUF, in the background, with the last good one kept.

Owns a directory of its own (`<state>/trust/<name>`, 0700) and the one place where verification's material comes from
the network. It blocks, and so runs apart (`refreshing`, asked by `renewer`) or for a command.

- The chain of trust starts at the TUF root that comes with Assay, never at one found on disk.
- What was fetched once is proven again whenever it is read back: `load_verified` follows the signatures from our TUF
root
  to the stored file, so that a stale or edited copy does not win. (Only their expiry is passed over: an old signed
  root is better than an older bundled one.)
- A root that doesn't parse, or from which no keys load, is not taken.

Reading, in order: the TUF specification 1.0 section 5 (client workflow), `tuf.ngclient`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, Root, Targets  # type: ignore[attr-defined]  # documented there, without __all__
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from assay.attestation.renewal.tuf_client import TUF_REPOSITORY_URLS
from assay.attestation.trust_roots import TrustRoot, check_root_content, read_bundled
from assay.attestation.verification.keys import load_keys
from assay.errors import AssayError, ConfigurationError, NotFoundError, PrivateApiChangedError

_TARGET_NAME: Final = "trusted_root.json"
_REFRESHED_MARKER: Final = "renewed"
"""An empty file; its time is when the root was last known to be current."""
_MAX_FILE_BYTES: Final = 5_000_000
_MAX_ROOT_ROTATIONS: Final = 256

BlockingFetch = Callable[[str], Iterable[bytes]]
"""A blocking GET, in chunks: raises `NotFoundError` for a 404, another `AssayError` or an `OSError` for the rest."""


class RefreshError(AssayError):
    """The trust root could not be renewed; the last good one stays in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TufRefresher:
    """Renews one bundled root."""

    name: str
    directory: Path
    """State of ours, kept between runs; made when it isn't there."""
    url: str
    fetch: BlockingFetch | None = None
    """None: by the urllib3 of TUF's own client, which honours ``HTTPS_PROXY`` and the system's certificate store."""
    anchor: bytes | None = None
    """The first TUF root.json; None: the one that comes with Assay."""

    def refresh(self, root: TrustRoot) -> TrustRoot:
        """`root` as it is now upstream: with new content, or with the same and a new `obtained`. Blocking.

        Raises:
            RefreshError: it could not be renewed.
        """
        try:
            _ensure_private_directory(self.directory)
            content = self._download()
            check_root_content(content, f"trust root {self.name}")
            load_keys(content)
            (self.directory / _REFRESHED_MARKER).touch()
        except (DownloadError, RepositoryError, OSError, ValueError, AssayError) as error:
            raise RefreshError(f"{self.name} from {self.url}: {type(error).__name__}: {error}") from error
        return replace(root, content=content, obtained=datetime.now(UTC), source=self.url)

    def _download(self) -> bytes:
        updater = Updater(
            metadata_dir=str(self.directory),
            metadata_base_url=self.url,
            target_dir=str(self.directory),
            target_base_url=f"{self.url.rstrip('/')}/targets/",
            fetcher=None if self.fetch is None else _FetcherAdapter(self.fetch),
            config=UpdaterConfig(app_user_agent="assay"),
            bootstrap=self._load_anchor(),
        )
        updater.refresh()
        target = updater.get_targetinfo(_TARGET_NAME)
        if target is None:
            raise RepositoryError(f"no {_TARGET_NAME} among the targets")
        path = updater.find_cached_target(target) or updater.download_target(target)
        return Path(path).read_bytes()

    def _load_anchor(self) -> bytes:
        return read_bundled(self.name, "root.json") if self.anchor is None else self.anchor

    def load_verified(self) -> TrustRoot | None:
        """The root as last renewed, proven again from our own TUF root without the network; None where there is none.

        Raises:
            RefreshError: what is there cannot be proven.
        """
        try:
            return self._load_verified()
        except FileNotFoundError:
            return None
        except (RepositoryError, OSError, ValueError, KeyError, ConfigurationError, PrivateApiChangedError) as error:
            raise RefreshError(str(error)) from error

    def _load_verified(self) -> TrustRoot:
        if stat.S_IMODE(self.directory.stat().st_mode) & 0o022:
            raise PermissionError(f"{self.directory} is writable by others")
        targets = Metadata[Targets].from_bytes(_read_limited(self.directory / "targets.json"))
        newest = None
        for root in self._walk_root_history():
            newest = root
        if newest is None:
            raise RepositoryError("no TUF root")
        newest.signed.verify_delegate(Targets.type, targets.signed_bytes, targets.signatures)
        content = _read_limited(self.directory / _TARGET_NAME)
        targets.signed.targets[_TARGET_NAME].verify_length_and_hashes(content)
        check_root_content(content, f"trust root {self.name}")
        load_keys(content)
        obtained = datetime.fromtimestamp((self.directory / _REFRESHED_MARKER).stat().st_mtime, UTC)
        return TrustRoot(name=self.name, content=content, obtained=obtained, source=f"{self.url}, as last renewed")

    def _walk_root_history(self) -> Iterator[Metadata[Root]]:
        """TUF specification 5.3: from version N to N+1, each signed by the keys of both."""
        current = Metadata[Root].from_bytes(self._load_anchor())
        current.signed.verify_delegate(Root.type, current.signed_bytes, current.signatures)
        yield current
        for _ in range(_MAX_ROOT_ROTATIONS):
            path = self.directory / "root_history" / f"{current.signed.version + 1}.root.json"
            if not path.exists():
                return
            following = Metadata[Root].from_bytes(_read_limited(path))
            if following.signed.version != current.signed.version + 1:
                raise RepositoryError(f"{path} is version {following.signed.version}")
            current.signed.verify_delegate(Root.type, following.signed_bytes, following.signatures)
            following.signed.verify_delegate(Root.type, following.signed_bytes, following.signatures)
            current = following
            yield current


class _FetcherAdapter(FetcherInterface):
    """TUF's port for fetching, over a function."""

    def __init__(self, fetch: BlockingFetch) -> None:
        self._fetch_chunks = fetch

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield from self._fetch_chunks(url)
        except NotFoundError as error:
            # How TUF's client learns that there is no newer root (specification 5.3.3).
            raise DownloadHTTPError(str(error), 404) from error
        except (AssayError, OSError) as error:
            raise DownloadError(str(error)) from error


def _ensure_private_directory(directory: Path) -> None:
    """A directory that only we can write to."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_uid != os.geteuid():
        raise PermissionError(f"{directory} belongs to somebody else")
    directory.chmod(0o700)


def _read_limited(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise ValueError(f"{path}: more than {_MAX_FILE_BYTES} bytes")
    return content


def create_tuf_refreshers(
    names: Sequence[str], state_directory: Path, *, fetch: BlockingFetch | None = None
) -> tuple[TufRefresher, ...]:
    """One for each bundled root among `names`, each with its directory under `state_directory`."""
    return tuple(
        TufRefresher(name=name, directory=state_directory / "trust" / name, url=TUF_REPOSITORY_URLS[name], fetch=fetch)
        for name in names
        if name in TUF_REPOSITORY_URLS
    )
