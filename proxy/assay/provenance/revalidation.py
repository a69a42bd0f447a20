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
from assay.ports import RecordStore
from assay.provenance.documents import DocumentCache, file_key, hash_document
from assay.provenance.resolver import ProvenanceResolver
from assay.simple.model import File, NormalizedName

_MAX_DOCUMENTS_PER_RENEWAL = 50
"""Documents asked for after one renewal of a page."""


def _is_json(document: bytes) -> bool:
    """Whether it is a document at all: a login page in the place of one replaces nothing that was proven."""
    try:
        json.loads(document)
    except (ValueError, RecursionError):
        return False
    return True


class ProvenanceRevalidator:
    """Revalidates the documents of one project at a time, each at most once at a time."""

    def __init__(
        self, *, provenance_resolver: ProvenanceResolver, records: RecordStore, clock: Callable[[], datetime]
    ) -> None:
        self._proofs = provenance_resolver
        self._documents = DocumentCache(records)
        self._clock = clock
        self._tasks: dict[NormalizedName, asyncio.Task[None]] = {}
        self._listeners: list[Callable[[NormalizedName], None]] = []

    def add_listener(self, listener: Callable[[NormalizedName], None]) -> None:
        """Call `listener` with each project of which a document was replaced: every view's gate must know."""
        self._listeners.append(listener)

    def start(self, index: IndexSettings, project: NormalizedName, files: Sequence[File]) -> None:
        """Look, in the background, whether documents of `files` were replaced, unless another view's look runs."""
        if project in self._tasks or not files:
            return
        task = asyncio.create_task(self._revalidate(index, project, files), name=f"revalidate {project}")
        self._tasks[project] = task
        task.add_done_callback(lambda _: self._tasks.pop(project, None))

    async def wait_until_idle(self) -> None:
        """Wait until nothing runs."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def close(self) -> None:
        """End what runs."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _revalidate(self, index: IndexSettings, project: NormalizedName, files: Sequence[File]) -> None:
        changed = 0
        try:
            pointers = await self._documents.load_pointers(files)
            now = self._clock().timestamp()
            age = index.freshness.page.total_seconds()
            due = [
                file
                for file in files
                if file_key(file) in pointers and now - pointers[file_key(file)].checked_at >= age
            ]
            for file in sorted(due, key=lambda each: pointers[file_key(each)].checked_at)[:_MAX_DOCUMENTS_PER_RENEWAL]:
                before = pointers[file_key(file)]
                document = await self._proofs.fetch_current_document(index, project, file)
                if document is None or not _is_json(document) or hash_document(document) == before.document:
                    await self._documents.save_pointer(file, before.advance(before.document, now))
                    continue
                await self._proofs.record_replacement(index, project, file, document, before)
                changed += 1
                telemetry.warning(
                    "provenance-replaced",
                    index=index.name,
                    project=project,
                    filename=file.filename,
                    before=before.document,
                    after=hash_document(document),
                )
        except AssayError as error:
            telemetry.event("provenance-not-revalidated", index=index.name, project=project, error=str(error))
        except Exception as error:  # noqa: BLE001 - a background task has nobody else to tell
            telemetry.failure("provenance-not-revalidated", error, project=project)
        if changed:
            for replaced in self._listeners:
                replaced(project)
