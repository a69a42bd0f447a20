"""Client for renewing a trust root: starts a process for each renewal and reads its response.

The process runs `tuf_process`, which calls `tuf` to renew the trust root. This module has the URLs of the TUF
repositories. A renewal happens once a day. It runs in a separate process, so that its libraries do not stay in the
memory of the process that answers requests.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from assay import telemetry
from assay.attestation.pool import processes
from assay.attestation.trust_roots import MAX_ROOT_BYTES, TrustRoot

TUF_REPOSITORY_URLS: Final = {
    "sigstore": "https://tuf-repo-cdn.sigstore.dev",
    "sigstore-staging": "https://tuf-repo-cdn.sigstage.dev",
}
"""URL of the TUF repository of each bundled root."""
_PROCESS_TIMEOUT_SECONDS: Final = 300.0
"""Time limit of one renewal process, in seconds. A renewal fetches a few small files."""
_MAX_ANSWER_BYTES: Final = 2 * MAX_ROOT_BYTES


class TrustRootRefresher(Protocol):
    """Client that renews one bundled trust root."""

    @property
    def name(self) -> str:
        """Name of the trust root."""

    async def refresh(self, root: TrustRoot) -> TrustRoot | None:
        """Return the renewed trust root. If the renewal fails, log the failure and return None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubprocessRefresher:
    """Client that renews one bundled trust root in a separate process, which runs a `TufRefresher`."""

    name: str
    directory: Path
    """Directory of the TUF client's state, which later renewals read again."""
    url: str
    anchor: bytes | None = None
    """TUF root.json at which the chain of trust starts. None: the file that is bundled with Assay."""
    bootstrap: Path = processes.BOOTSTRAP_FILE
    """Script that the process runs first."""

    async def refresh(self, root: TrustRoot) -> TrustRoot | None:
        """Renew the trust root in a new process. Log a failure.

        Returns:
            The trust root with the fetched content, which may be unchanged; its field `obtained` is the time of the
            renewal. None if the renewal failed.
        """
        match await self._run_process("refresh"):
            case {"content": str(content), "obtained": float(obtained), "source": str(source)}:
                when = datetime.fromtimestamp(obtained, UTC)
                return replace(root, content=base64.b64decode(content), obtained=when, source=source)
            case answer:
                self._log_failure("trust-root-renewal-failed", answer)
                return None

    async def load_last_good(self) -> TrustRoot | None:
        """Return the trust root that the last renewal stored, after verifying it in a new process without the network.

        Returns:
            The stored trust root. None if no trust root is stored. None, after logging a warning, if it cannot be
            verified.
        """
        if not await asyncio.to_thread(self.directory.exists):
            return None
        match await self._run_process("prove"):
            case {"content": str(content), "obtained": float(obtained), "source": str(source)}:
                when = datetime.fromtimestamp(obtained, UTC)
                return TrustRoot(name=self.name, content=base64.b64decode(content), obtained=when, source=source)
            case {"none": True}:
                return None
            case answer:
                self._log_failure("trust-root-unverified", answer)
                return None

    def _log_failure(self, event: str, response: dict[str, Any]) -> None:
        telemetry.warning(
            event, root=self.name, directory=str(self.directory), error=response.get("error", str(response))
        )

    async def _run_process(self, action: str) -> dict[str, Any]:
        """Run one action in a new process and return its response.

        If the process fails or gives no valid response, return an object with the key ``error``.
        """
        question = {"action": action, "name": self.name, "directory": str(self.directory), "url": self.url}
        if self.anchor is not None:
            question["anchor"] = base64.b64encode(self.anchor).decode("ascii")
        try:
            process = await processes.spawn_process("assay.attestation.renewal.tuf_process", bootstrap=self.bootstrap)
        except OSError as error:
            return {"error": f"the process that renews trust roots could not be started: {error.strerror or error}"}
        try:
            async with asyncio.timeout(_PROCESS_TIMEOUT_SECONDS):
                said, _ = await process.communicate(json.dumps(question).encode())
            answer = json.loads(said) if len(said) <= _MAX_ANSWER_BYTES else None
        except (TimeoutError, ValueError) as error:
            return {"error": f"the process that renews trust roots gave no valid response: {type(error).__name__}"}
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if isinstance(answer, dict):
            return answer
        return {"error": "the process that renews trust roots gave no valid response"}


def create_subprocess_refreshers(names: Sequence[str], state_directory: Path) -> tuple[SubprocessRefresher, ...]:
    """Return a client for each name in `names` that is a bundled root.

    Each client has its own directory under `state_directory`.
    """
    return tuple(
        SubprocessRefresher(name=name, directory=state_directory / "trust" / name, url=TUF_REPOSITORY_URLS[name])
        for name in names
        if name in TUF_REPOSITORY_URLS
    )
