"""Watcher of the public keys of `[trust.keys]`: a replaced file changes the key, and a removed one withdraws its trust.

Unlike for other watched files, invalid contents have an effect: a key that cannot be read no longer counts, so that its
removal ends approvals within about a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from assay import telemetry
from assay.attestation.config import KeySettings
from assay.attestation.trust_roots import TrustKey, make_trust_key
from assay.errors import ConfigurationError
from assay.file_watch import FileState, FileWatch


class KeyWatch(FileWatch[tuple[TrustKey, ...]]):
    """Watcher of the files of all keys.

    Args:
        keys: settings of the keys, by name.
        replace_keys: puts keys in force; returns True if they differ from the previous ones.
        poll_interval_seconds: seconds between two checks.
    """

    def __init__(
        self,
        keys: Mapping[str, KeySettings],
        replace_keys: Callable[[tuple[TrustKey, ...]], bool],
        *,
        poll_interval_seconds: float | None = None,
    ) -> None:
        super().__init__([Path(key.path) for key in keys.values()], poll_interval_seconds=poll_interval_seconds)
        self._names = tuple(keys)
        self._replace_keys = replace_keys

    def _load(self, state: FileState) -> tuple[TrustKey, ...]:
        keys: list[TrustKey] = []
        for name, content in zip(self._names, state.contents, strict=True):
            try:
                if isinstance(content, ConfigurationError):
                    raise content
                keys.append(make_trust_key(name, content))
            except ConfigurationError as error:
                telemetry.warning("trust-key-unusable", key=name, error=str(error))
        return tuple(keys)

    def _apply(self, loaded: tuple[TrustKey, ...]) -> bool:
        return self._replace_keys(loaded)

    def _on_checked(self, *, has_changed: bool, requested: bool) -> None:  # noqa: ARG002 - requested checks are reported in the same way
        if has_changed:
            telemetry.event("file-reloaded", setting="trust.keys", files=[str(path) for path in self._paths])

    def _on_refused(self, error: ConfigurationError) -> None:
        telemetry.warning("file-invalid", setting="trust.keys", error=str(error))

    def _on_fault(self, error: Exception) -> None:
        telemetry.failure("file-watch-failed", error, setting="trust.keys")
