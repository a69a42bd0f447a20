"""Renewal of a bundled trust root by TUF (The Update Framework), with the last good root kept on disk.

This is the only place where trust roots come from the network. Each trust root has its own directory
(`<state>/trust/<name>`, mode 0700). The functions block. They run in a separate process (`tuf_process`, which
`tuf_client` starts) or in a command.

- The chain of trust starts at the TUF root.json that is bundled with Assay, never at a file found on disk.
- `load_verified` verifies a stored trust root each time it reads it. It follows the signatures from the bundled TUF
  root to the stored file, so it rejects a modified copy. It ignores only expiry dates, because an expired signed root
  is still newer than the bundled one.
- A trust root that cannot be parsed, or whose keys cannot be loaded, is rejected.

References: TUF specification 1.0 section 5 (client workflow), `tuf.ngclient`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
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
"""Name of an empty file. Its modification time is the time at which the trust root was last known to be current."""
_MAX_FILE_BYTES: Final = 5_000_000
_MAX_ROOT_ROTATIONS: Final = 256

BlockingFetch = Callable[[str], Iterable[bytes]]
"""Function that fetches a URL with a blocking GET and returns the body in chunks. It raises `NotFoundError` for a 404,
and another `AssayError` or an `OSError` for any other failure."""


class RefreshError(AssayError):
    """Failure to renew a trust root or to verify a stored one. The trust root in force stays in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TufRefresher:
    """TUF client that renews one bundled trust root. Its methods block."""

    name: str
    directory: Path
    """Directory of the TUF client's state, which later renewals read again. It is created if it is missing."""
    url: str
    fetch: BlockingFetch | None = None
    """Function that fetches a URL. None: the TUF client's own urllib3, which uses ``HTTPS_PROXY`` and the system's
    certificate store."""
    anchor: bytes | None = None
    """TUF root.json at which the chain of trust starts. None: the file that is bundled with Assay."""

    def refresh(self, root: TrustRoot) -> TrustRoot:
        """Fetch the current trust root and return it with the name and issuers of `root`. Blocking.

        The field `obtained` of the result is the current time, even if the fetched content is unchanged.

        Raises:
            RefreshError: the renewal failed.
        """
        try:
            _ensure_private_directory(self.directory)
            content = self._download()
            check_root_content(content, f"trust root {self.name}")
            load_keys(content)
            (self.directory / _REFRESHED_MARKER).touch()
        except (DownloadError, RepositoryError, OSError, ValueError, AssayError) as error:
            raise RefreshError(f"{self.name} from {self.url}: {_explain_failure(error)}") from error
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
            raise RepositoryError(f"the TUF repository lists no {_TARGET_NAME} among its targets")
        path = updater.find_cached_target(target) or updater.download_target(target)
        return Path(path).read_bytes()

    def _load_anchor(self) -> bytes:
        return read_bundled(self.name, "root.json") if self.anchor is None else self.anchor

    def load_verified(self) -> TrustRoot | None:
        """Return the trust root that the last renewal stored, after verifying it from the bundled TUF root.

        Return None if no trust root is stored. The method reads only the files in `directory` and uses no network.

        Raises:
            RefreshError: the stored trust root cannot be verified.
        """
        try:
            return self._load_verified()
        except FileNotFoundError:
            return None
        except (RepositoryError, OSError, ValueError, KeyError, ConfigurationError, PrivateApiChangedError) as error:
            raise RefreshError(_explain_failure(error)) from error

    def _load_verified(self) -> TrustRoot:
        if stat.S_IMODE(self.directory.stat().st_mode) & 0o022:
            raise PermissionError(f"{self.directory} is writable by other users")
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
        """Yield the TUF roots from the bundled one to the newest stored one (TUF specification section 5.3).

        The keys of version N and the keys of version N+1 must both have signed version N+1.

        Raises:
            RepositoryError: a stored TUF root has the wrong version, or its signatures do not verify.
        """
        current = Metadata[Root].from_bytes(self._load_anchor())
        current.signed.verify_delegate(Root.type, current.signed_bytes, current.signatures)
        yield current
        for _ in range(_MAX_ROOT_ROTATIONS):
            path = self.directory / "root_history" / f"{current.signed.version + 1}.root.json"
            if not path.exists():
                return
            following = Metadata[Root].from_bytes(_read_limited(path))
            if following.signed.version != current.signed.version + 1:
                found = f"found version {following.signed.version}"
                raise RepositoryError(f"{path}: expected version {current.signed.version + 1} of the TUF root, {found}")
            current.signed.verify_delegate(Root.type, following.signed_bytes, following.signatures)
            following.signed.verify_delegate(Root.type, following.signed_bytes, following.signatures)
            current = following
            yield current


class _FetcherAdapter(FetcherInterface):
    """Adapter that lets the TUF client fetch with a `BlockingFetch` function."""

    def __init__(self, fetch: BlockingFetch) -> None:
        self._fetch_chunks = fetch

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield from self._fetch_chunks(url)
        except NotFoundError as error:
            # A 404 tells the TUF client that there is no newer root (TUF specification section 5.3.3).
            raise DownloadHTTPError(str(error), 404) from error
        except (AssayError, OSError) as error:
            raise DownloadError(str(error)) from error


def _explain_failure(error: Exception) -> str:
    """Return the cause of a failed renewal or verification as a sentence without a full stop."""
    match error:
        case DownloadHTTPError():
            return f"the repository answered {error.status_code}"
        case DownloadLengthMismatchError():
            return "the repository sent more bytes than its metadata states"
        case DownloadError():
            return "the repository cannot be reached, or sends no data"
        case ExpiredMetadataError():
            return "the metadata of the repository has expired"
        case UnsignedMetadataError():
            return "the metadata of the repository is not signed by enough of its keys"
        case BadVersionNumberError():
            return "the metadata of the repository has an invalid version, or an older one than before"
        case LengthOrHashMismatchError():
            return "a file of the repository does not have the length or digest that its metadata states"
        case KeyError():
            return f"the metadata of the repository has no {error.args[0]}"
        case _:
            return str(error) or "unknown cause"


def _ensure_private_directory(directory: Path) -> None:
    """Create a directory that only the proxy's user can access (mode 0700). Set the mode if the directory exists.

    Raises:
        PermissionError: the directory belongs to another user.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_uid != os.geteuid():
        raise PermissionError(f"{directory} belongs to another user")
    directory.chmod(0o700)


def _read_limited(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise ValueError(f"{path}: expected at most {_MAX_FILE_BYTES} bytes, found more")
    return content


def create_tuf_refreshers(
    names: Sequence[str], state_directory: Path, *, fetch: BlockingFetch | None = None
) -> tuple[TufRefresher, ...]:
    """Return a TUF client for each name in `names` that is a bundled root.

    Each client has its own directory under `state_directory`.
    """
    return tuple(
        TufRefresher(name=name, directory=state_directory / "trust" / name, url=TUF_REPOSITORY_URLS[name], fetch=fetch)
        for name in names
        if name in TUF_REPOSITORY_URLS
    )
