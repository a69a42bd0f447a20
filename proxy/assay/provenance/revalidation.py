"""Provenance asked for again on the rhythm of its page, in the background (PEP 740: it may change).

Owns which documents are due. At most so many for each renewal of a page, the longest unasked first, one request at a
time: a project of a thousand attested files is no burden on its index. A replaced document's evidence stays beside the
new one's; that an index has none any more changes nothing, since evidence once recorded counts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import datetime

from assay import telemetry
from assay.errors import AssayError
from assay.indexes import IndexSettings
from assay.ports import Records
from assay.provenance.documents import Documents, key_of, sha256_of
from assay.provenance.resolver import Proofs
from assay.simple.model import File, NormalizedName

_MOST = 50
"""Documents asked for after one renewal of a page."""


def _is_json(document: bytes) -> bool:
    """Whether it is a document at all: a login page in the place of one replaces nothing that was proven."""
    try:
        json.loads(document)
    except (ValueError, RecursionError):
        return False
    return True


class Revalidation:
    """Revalidates the documents of one project at a time, each at most once at a time."""

    def __init__(self, *, proofs: Proofs, records: Records, clock: Callable[[], datetime]) -> None:
        self._proofs = proofs
        self._documents = Documents(records)
        self._clock = clock
        self._running: dict[NormalizedName, asyncio.Task[None]] = {}
        self._listeners: list[Callable[[NormalizedName], None]] = []

    def listen(self, replaced: Callable[[NormalizedName], None]) -> None:
        """Call `replaced` with each project of which a document was replaced: every view's gate must know."""
        self._listeners.append(replaced)

    def begin(self, index: IndexSettings, project: NormalizedName, files: Sequence[File]) -> None:
        """Look, in the background, whether documents of `files` were replaced, unless another view's look runs."""
        if project in self._running or not files:
            return
        task = asyncio.create_task(self._run(index, project, files), name=f"revalidate {project}")
        self._running[project] = task
        task.add_done_callback(lambda _: self._running.pop(project, None))

    async def settled(self) -> None:
        """Wait until nothing runs."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def close(self) -> None:
        """End what runs."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, index: IndexSettings, project: NormalizedName, files: Sequence[File]) -> None:
        changed = 0
        try:
            pointers = await self._documents.pointers(files)
            now = self._clock().timestamp()
            age = index.freshness.page.total_seconds()
            due = [file for file in files if key_of(file) in pointers and now - pointers[key_of(file)].checked >= age]
            for file in sorted(due, key=lambda each: pointers[key_of(each)].checked)[:_MOST]:
                before = pointers[key_of(file)]
                document = await self._proofs.offered(index, project, file)
                if document is None or not _is_json(document) or sha256_of(document) == before.document:
                    await self._documents.point(file, before.followed_by(before.document, now))
                    continue
                await self._proofs.learn(index, project, file, document, before)
                changed += 1
                telemetry.warning(
                    "provenance-replaced",
                    index=index.name,
                    project=project,
                    filename=file.filename,
                    before=before.document,
                    after=sha256_of(document),
                )
        except AssayError as error:
            telemetry.event("provenance-not-revalidated", index=index.name, project=project, error=str(error))
        except Exception as error:  # noqa: BLE001 - a background task has nobody else to tell
            telemetry.failure("provenance-not-revalidated", error, project=project)
        if changed:
            for replaced in self._listeners:
                replaced(project)
