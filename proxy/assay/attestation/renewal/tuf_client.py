"""Renewing trust roots from the proxy's side: who is asked, and nothing of how it is done.

Owns the addresses of the repositories and the process apart in which `refresh` does its work, once for each question:
a root is renewed daily, and what that takes must not stay in the memory of the process that answers requests.
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
"""Where each bundled root is renewed from."""
_PROCESS_TIMEOUT_SECONDS: Final = 300.0
"""Seconds for a renewal: a few small files."""
_MAX_ANSWER_BYTES: Final = 2 * MAX_ROOT_BYTES


class TrustRootRefresher(Protocol):
    """What renews one bundled root."""

    @property
    def name(self) -> str:
        """Of the root."""

    async def refresh(self, root: TrustRoot) -> TrustRoot | None:
        """`root` as it is now upstream; None where it could not be renewed, which is logged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubprocessRefresher:
    """Renews one bundled root in a process of its own: `refresh.Refresher`, asked through pipes."""

    name: str
    directory: Path
    """State of ours, kept between runs."""
    url: str
    anchor: bytes | None = None
    """The first TUF root.json; None: the one that comes with Assay."""
    bootstrap: Path = processes.BOOTSTRAP_FILE
    """Script that the process runs first."""

    async def refresh(self, root: TrustRoot) -> TrustRoot | None:
        """`root` as it is now upstream.

        Returns:
            A root with new content; the same content with a new `obtained` when nothing changed; None when it could not
            be renewed, which is logged.
        """
        match await self._run_process("refresh"):
            case {"content": str(content), "obtained": float(obtained), "source": str(source)}:
                when = datetime.fromtimestamp(obtained, UTC)
                return replace(root, content=base64.b64decode(content), obtained=when, source=source)
            case answer:
                self._log_failure("trust-root-not-renewed", answer)
                return None

    async def load_last_good(self) -> TrustRoot | None:
        """The root as last renewed, proven again without the network; None where there is none that can be proven."""
        if not await asyncio.to_thread(self.directory.exists):
            return None
        match await self._run_process("prove"):
            case {"content": str(content), "obtained": float(obtained), "source": str(source)}:
                when = datetime.fromtimestamp(obtained, UTC)
                return TrustRoot(name=self.name, content=base64.b64decode(content), obtained=when, source=source)
            case {"none": True}:
                return None
            case answer:
                self._log_failure("trust-root-not-proven", answer)
                return None

    def _log_failure(self, event: str, response: dict[str, Any]) -> None:
        telemetry.warning(
            event, root=self.name, directory=str(self.directory), error=response.get("error", str(response))
        )

    async def _run_process(self, action: str) -> dict[str, Any]:
        """The answer of a process that does this and ends; ``error`` where there is none."""
        question = {"action": action, "name": self.name, "directory": str(self.directory), "url": self.url}
        if self.anchor is not None:
            question["anchor"] = base64.b64encode(self.anchor).decode("ascii")
        try:
            process = await processes.spawn_process("assay.attestation.renewal.tuf_process", bootstrap=self.bootstrap)
        except OSError as error:
            return {"error": f"no process can be started for it: {error.strerror or error}"}
        try:
            said, _ = await asyncio.wait_for(
                process.communicate(json.dumps(question).encode()), _PROCESS_TIMEOUT_SECONDS
            )
            answer = json.loads(said) if len(said) <= _MAX_ANSWER_BYTES else None
        except (TimeoutError, ValueError) as error:
            return {"error": f"the process for it gave no answer: {type(error).__name__}"}
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        return answer if isinstance(answer, dict) else {"error": "the process for it gave no answer"}


def create_subprocess_refreshers(names: Sequence[str], state_directory: Path) -> tuple[SubprocessRefresher, ...]:
    """One for each bundled root among `names`, each with its directory under `state_directory`."""
    return tuple(
        SubprocessRefresher(name=name, directory=state_directory / "trust" / name, url=TUF_REPOSITORY_URLS[name])
        for name in names
        if name in TUF_REPOSITORY_URLS
    )
