"""Earlier addresses of files: bounded, recorded, and never taken from a corrupt record or another URL of the index."""

from __future__ import annotations

import json
from typing import Any

import pytest

from assay.indexes import IndexSettings
from assay.pages.moved_files import MovedFiles
from assay.simple.model import File, NormalizedName
from tests.unit.policy.factories import HOST, a_file, a_project
from tests.unit.provenance.factories import MemoryRecords

INDEX = IndexSettings(name="test", url="https://index.example/")
WIDGET = NormalizedName("widget")
KEY = "moved:test:widget"


def at(path: str, version: str = "1.0", **changes: Any) -> File:
    filename = f"widget-{version}-py3-none-any.whl"
    return a_file(version, location=f"{HOST}/{path}/{filename}", **changes)


async def test_an_address_that_is_listed_no_more_is_remembered_with_its_digest() -> None:
    records = MemoryRecords()
    moved = MovedFiles(records)
    old, new, kept = at("old"), at("new"), at("kept", "2.0")
    await moved.record(INDEX, a_project(old, kept), a_project(new, kept))
    for memory in (moved, MovedFiles(records)):
        assert await memory.find_digest(INDEX, WIDGET, old.location) == old.sha256
        assert await memory.find_digest(INDEX, WIDGET, new.location) is None
        assert await memory.find_digest(INDEX, WIDGET, kept.location) is None
    await moved.record(INDEX, a_project(new, kept), None)
    for location in (old.location, new.location, kept.location):
        assert await MovedFiles(records).find_digest(INDEX, WIDGET, location) is not None


@pytest.mark.parametrize(
    "faulty",
    [
        at("old", sha256=None),
        at("old", distribution=None, refusal="no"),
        at("old", filename="widget-2.0-py3-none-any.whl"),
        at("o" * 1024),
    ],
)
async def test_an_entry_that_is_not_what_it_says_is_not_remembered(faulty: File) -> None:
    moved = MovedFiles(MemoryRecords())
    await moved.record(INDEX, a_project(faulty, at("good")), a_project())
    assert await moved.find_digest(INDEX, WIDGET, faulty.location) is None
    assert await moved.find_digest(INDEX, WIDGET, at("good").location) is not None


async def test_the_newest_addresses_are_kept() -> None:
    moved = MovedFiles(MemoryRecords())
    await moved.record(INDEX, a_project(at("first")), a_project())
    await moved.record(INDEX, a_project(*(at(f"{number}") for number in range(5000))), a_project())
    assert await moved.find_digest(INDEX, WIDGET, at("first").location) is None
    assert await moved.find_digest(INDEX, WIDGET, at("0").location) is not None
    assert await moved.find_digest(INDEX, WIDGET, at("4999").location) is not None


GOOD = {"schema": 1, "address": INDEX.url, "locations": {"h/x": "a" * 64}}


@pytest.mark.parametrize(
    "record",
    [
        b"{",
        b"[]",
        json.dumps({**GOOD, "schema": 2}).encode(),
        json.dumps({**GOOD, "address": "https://other.example/"}).encode(),
        json.dumps({**GOOD, "locations": ["h/x"]}).encode(),
        json.dumps({**GOOD, "locations": {"h/x": 1}}).encode(),
        json.dumps({**GOOD, "locations": {"h/x": "a"}}).encode(),
    ],
)
async def test_a_record_that_is_corrupt_or_of_another_url_tells_nothing(record: bytes) -> None:
    records = MemoryRecords()
    await records.put(KEY, record)
    assert await MovedFiles(records).find_digest(INDEX, WIDGET, "h/x") is None
    await records.put(KEY, json.dumps(GOOD).encode())
    assert await MovedFiles(records).find_digest(INDEX, WIDGET, "h/x") == "a" * 64
