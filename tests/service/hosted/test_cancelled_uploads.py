"""An upload whose client disconnects while a step of it runs in a thread is published whole, or not at all."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from assay.store.hosted import directory as hosted_directory
from assay.store.hosted.directory import HostedDirectory
from tests.contract.hosted_contract import ACME, CONTENT, INDEX, make_file, publish, read_file


async def test_a_cancelled_upload_is_published_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await HostedDirectory.open(tmp_path / "hosted", [INDEX])
    begun, proceed, write = threading.Event(), threading.Event(), hosted_directory._write_durably

    def write_later(path: Path, content: Any) -> None:
        write(path, content)
        if path.name == "entry.json" and not proceed.is_set():
            begun.set()
            proceed.wait(10)

    def remove_first_part(path: Path, *, ignore_errors: bool) -> None:
        assert ignore_errors
        (path / "content").unlink(missing_ok=True)

    monkeypatch.setattr(hosted_directory, "_write_durably", write_later)
    monkeypatch.setattr(shutil, "rmtree", remove_first_part)
    file = make_file()
    upload = asyncio.create_task(publish(store, file))
    assert await asyncio.to_thread(begun.wait, 10)

    upload.cancel()
    await asyncio.wait([upload], timeout=0.2)  # the staged file is removed now, or waits for the step
    proceed.set()
    await asyncio.wait([upload])
    monkeypatch.undo()
    await publish(store, make_file("acme-1.0.tar.gz"))
    await store.close()

    again = await HostedDirectory.open(tmp_path / "hosted", [INDEX])
    project = again.find_project(INDEX, ACME)
    assert project is not None
    if file.filename in {each.filename for each in project.files}:
        assert await read_file(again, file.filename) == CONTENT
        assert await again.read_document(INDEX, ACME, file.filename, "metadata") == b"metadata"
    else:
        await publish(again, file)
    assert list((tmp_path / "hosted" / INDEX / "incoming").iterdir()) == []
    await again.close()
