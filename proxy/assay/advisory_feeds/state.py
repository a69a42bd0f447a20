"""State of a feed on disk, in one directory for each feed. Blocking.

    snapshot     archive in force
    refused      archive that a person must accept
    new          archive that is being written
    download     zip that is being received
    state.json   facts about these files

`state.json` is replaced as a whole. If it cannot be read, the feed is fetched again; hits that were on hold then count
as new again. It also lists the hits in force, so that they do not count as new if only the snapshot is damaged.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from assay.advisories.snapshot import Hit
from assay.errors import StorageError
from assay.ports import Validators
from assay.simple.model import NormalizedName

DIRECTORY_NAME: Final = "advisories"
"""Name of the directory of all feeds in the storage directory."""
_MAX_STATE_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedSnapshot:
    """Snapshot that does not come into force before a person accepts it."""

    digest: str
    reason: str
    at: datetime
    """Time of the refusal, UTC."""
    count: int
    """Number of records in the feed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedState:
    """Facts about the files of a feed."""

    digest: str | None = None
    """Digest of the snapshot in force. If the file has another one, the validators do not belong to it."""
    obtained: datetime | None = None
    """Time at which the snapshot in force was last known to be current, UTC."""
    attempted: datetime | None = None
    """Time of the last refresh, UTC."""
    error: str | None = None
    """Error of the last refresh; None if it succeeded."""
    validators: Validators = field(default_factory=Validators)
    """Validators of the last response that was read, also of a refused one."""
    refused: RefusedSnapshot | None = None
    on_hold: frozenset[Hit] = frozenset()
    in_force: frozenset[Hit] = frozenset()
    """Hits in force on versions that clients got, as of the last change of the snapshot in force or of `on_hold`."""


@dataclass(frozen=True, slots=True)
class FeedFiles:
    """Paths of the files of one feed."""

    directory: Path

    @property
    def snapshot(self) -> Path:
        """Archive in force."""
        return self.directory / "snapshot"

    @property
    def refused(self) -> Path:
        """Archive that a person must accept."""
        return self.directory / "refused"

    @property
    def new(self) -> Path:
        """Archive that is being written."""
        return self.directory / "new"

    @property
    def download(self) -> Path:
        """Zip that is being received."""
        return self.directory / "download"

    @property
    def state(self) -> Path:
        """Facts about the files."""
        return self.directory / "state.json"

    def prepare(self) -> None:
        """Create the directory, and remove unfinished files. Blocking.

        Raises:
            StorageError: the directory cannot be used.
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.remove_unfinished()
        except OSError as error:
            raise StorageError(f"{self.directory}: {error.strerror}") from error

    def remove_unfinished(self) -> None:
        """Remove the files of a refresh that has ended. Blocking."""
        self.new.unlink(missing_ok=True)
        self.download.unlink(missing_ok=True)

    def read_state(self) -> FeedState:
        """Return the stored state; the empty state if the file is missing or malformed. Blocking."""
        try:
            if self.state.stat().st_size > _MAX_STATE_BYTES:
                return FeedState()
            return _decode(json.loads(self.state.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return FeedState()

    def write_state(self, state: FeedState) -> None:
        """Replace the stored state durably. Blocking.

        Raises:
            StorageError: writing failed.
        """
        write_atomically(self.state, json.dumps(_encode(state)).encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file at `path` durably. Blocking.

    Raises:
        StorageError: writing failed.
    """
    temporary = path.with_name(f"{path.name}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - opened by descriptor, for its mode
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def encode_hits(hits: Iterable[Hit]) -> list[list[str]]:
    """Return hits as JSON."""
    return [list(hit) for hit in sorted(hits)]


def decode_hits(value: Any) -> frozenset[Hit]:  # noqa: ANN401 - JSON
    """Return the hits that `encode_hits` has encoded.

    Raises:
        ValueError: the value is malformed.
        TypeError: the value is malformed.
    """
    return frozenset((str(advisory_id), NormalizedName(str(project))) for advisory_id, project in value)


def _encode(state: FeedState) -> dict[str, Any]:
    refused = state.refused
    return {
        "digest": state.digest,
        "obtained": _format_time(state.obtained),
        "attempted": _format_time(state.attempted),
        "error": state.error,
        "etag": state.validators.etag,
        "last-modified": state.validators.last_modified,
        "refused": None
        if refused is None
        else {
            "digest": refused.digest,
            "reason": refused.reason,
            "at": refused.at.isoformat(),
            "count": refused.count,
        },
        "on-hold": encode_hits(state.on_hold),
        "in-force": encode_hits(state.in_force),
    }


def _decode(value: dict[str, Any]) -> FeedState:
    """Return the state that `_encode` has encoded.

    Raises:
        KeyError: a key is missing.
        TypeError: a value has another type.
        ValueError: a time is malformed.
    """
    refused = value["refused"]
    return FeedState(
        digest=_get_text(value, "digest"),
        obtained=_parse_time(value["obtained"]),
        attempted=_parse_time(value["attempted"]),
        error=_get_text(value, "error"),
        validators=Validators(etag=_get_text(value, "etag"), last_modified=_get_text(value, "last-modified")),
        refused=None if refused is None else _decode_refused(refused),
        on_hold=decode_hits(value["on-hold"]),
        in_force=decode_hits(value.get("in-force", ())),
    )


def _decode_refused(value: dict[str, Any]) -> RefusedSnapshot:
    digest, reason, at, count = _get_text(value, "digest"), _get_text(value, "reason"), value["at"], value["count"]
    moment = _parse_time(at)
    if digest is None or reason is None or moment is None or type(count) is not int:
        raise TypeError("expected a refused snapshot")
    return RefusedSnapshot(digest=digest, reason=reason, at=moment, count=count)


def _get_text(value: dict[str, Any], key: str) -> str | None:
    text = value[key]
    if text is not None and not isinstance(text, str):
        raise TypeError(f"{key}: expected a string")
    return text


def _format_time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _parse_time(text: str | None) -> datetime | None:
    moment = None if text is None else datetime.fromisoformat(text)
    if moment is not None and moment.tzinfo is None:
        raise ValueError("expected a time with an offset")
    return moment
