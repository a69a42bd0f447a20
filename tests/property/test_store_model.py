"""Blobs and records against a model of them: any sequence of use, damage and restarts gives the right bytes or none."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Coroutine
from contextlib import closing
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from assay.errors import DigestMismatchError, StorageError
from assay.simple.model import Sha256
from assay.store.blobs import DiskBlob, DiskBlobStore, DiskPartialBlob
from assay.store.records import DiskcacheRecordStore
from tests.contract.blobs_contract import digest, whole

LIMIT = 4000
KEYS = st.sampled_from(["a", "b", "../c", "d\x00"])
CONTENTS = st.tuples(st.integers(0, 7), st.integers(0, 1500)).map(lambda pair: bytes([pair[0]]) * pair[1])
Result = TypeVar("Result")


class StoreModel(RuleBasedStateMachine):
    """The model: which contents were published, which blobs are open, which records were put."""

    partials: Bundle[tuple[DiskPartialBlob, bytearray]] = Bundle("partials")
    opened: Bundle[tuple[DiskBlob, bytes]] = Bundle("opened")

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(mkdtemp(prefix="assay-model-"))
        self.runner = asyncio.Runner()
        self.published: dict[Sha256, bytes] = {}
        self.held: dict[int, tuple[DiskBlob, bytes]] = {}
        self.going: dict[int, tuple[DiskPartialBlob, bytearray]] = {}
        self.put: dict[str, bytes] = {}
        self.start()

    def run(self, action: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(action)

    def start(self) -> None:
        self.blobs = DiskBlobStore(self.directory / "blobs", LIMIT)
        self.records = DiskcacheRecordStore(self.directory / "records", 2**24)
        self.run(self.blobs.scan())

    def teardown(self) -> None:
        for blob, _ in self.held.values():
            self.run(blob.close())
        self.run(self.blobs.close())
        self.run(self.records.close())
        self.runner.close()
        shutil.rmtree(self.directory)

    @rule(target=partials)
    def begin(self) -> tuple[DiskPartialBlob, bytearray]:
        partial = self.run(self.blobs.create_partial())
        self.going[id(partial)] = (partial, bytearray())
        return self.going[id(partial)]

    @rule(one=partials, piece=CONTENTS)
    def append(self, one: tuple[DiskPartialBlob, bytearray], piece: bytes) -> None:
        partial, content = one
        if id(partial) not in self.going:
            with pytest.raises(StorageError):
                self.run(partial.append(piece))
            return
        try:
            self.run(partial.append(piece))
        except StorageError:
            self.run(partial.discard())  # no room: what is open and unfinished fills it
            del self.going[id(partial)]
            return
        content += piece
        assert partial.bytes_written == len(content)
        assert self.run(partial.digest()) == digest(bytes(content))

    @rule(one=consumes(partials), good=st.booleans())
    def commit(self, one: tuple[DiskPartialBlob, bytearray], good: bool) -> None:
        partial, content = one
        alive = self.going.pop(id(partial), None) is not None
        expected = digest(bytes(content) if good else b"other" + bytes(content))
        if not alive:
            with pytest.raises(StorageError):
                self.run(partial.commit(expected))
        elif not good:
            with pytest.raises(DigestMismatchError):
                self.run(partial.commit(expected))
        else:
            self.run(partial.commit(expected))
            self.published[expected] = bytes(content)
            self.check_blob(bytes(content), must_be_there=True)

    @rule(one=consumes(partials))
    def discard(self, one: tuple[DiskPartialBlob, bytearray]) -> None:
        self.going.pop(id(one[0]), None)
        self.run(one[0].discard())

    @rule(target=opened, content=CONTENTS)
    def open(self, content: bytes) -> Any:
        blob = self.run(self.blobs.open(digest(content)))
        if blob is None:
            return multiple()
        assert digest(content) in self.published
        self.held[id(blob)] = (blob, content)
        return blob, content

    @rule(one=consumes(opened))
    def close(self, one: tuple[DiskBlob, bytes]) -> None:
        blob, content = one
        assert whole(blob) == content
        self.run(blob.close())
        del self.held[id(blob)]

    @rule(content=CONTENTS)
    def remove(self, content: bytes) -> None:
        self.run(self.blobs.remove(digest(content)))
        self.published.pop(digest(content), None)
        self.check_blob(content, must_be_there=False)

    @rule(content=CONTENTS, damage=st.sampled_from(["truncate", "lengthen", "unlink"]))
    def damage_blob(self, content: bytes, damage: str) -> None:
        place = self.directory / "blobs" / digest(content)[:2] / f"{digest(content)}.{len(content)}"
        if not place.exists() or any(blob.sha256 == digest(content) for blob, _ in self.held.values()):
            return
        match damage:
            case "truncate":
                place.write_bytes(content[:-1] if content else b"x")
            case "lengthen":
                place.write_bytes(content + b"x")
            case _:
                place.unlink()
        del self.published[digest(content)]
        self.check_blob(content, must_be_there=False)

    @rule()
    def restart(self) -> None:
        for blob, content in self.held.values():
            assert whole(blob) == content
        self.run(self.blobs.close())
        self.run(self.records.close())
        self.going.clear()
        self.start()

    @rule(key=KEYS, value=st.binary(max_size=50))
    def put_record(self, key: str, value: bytes) -> None:
        self.run(self.records.put(key, value))
        self.put[key] = value

    @rule(key=KEYS)
    def delete_record(self, key: str) -> None:
        self.run(self.records.delete(key))
        self.put.pop(key, None)

    @rule(key=KEYS, damage=st.binary(max_size=60))
    def damage_record(self, key: str, damage: bytes) -> None:
        with closing(sqlite3.connect(self.directory / "records/cache.db", isolation_level=None)) as database:
            tables = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'Cache'").fetchall()
            if tables:
                database.execute("UPDATE Cache SET value = ? WHERE key = ?", (damage, key))
        if key in self.put:
            assert self.run(self.records.get(key)) is None
            del self.put[key]

    @invariant()
    def records_are_as_they_were_put(self) -> None:
        keys = ["a", "b", "../c", "d\x00"]
        assert self.run(self.records.get_many(keys)) == self.put

    @invariant()
    def the_limit_holds_and_the_count_is_right(self) -> None:
        usage = self.run(self.blobs.stats())
        assert usage.size + usage.unfinished <= LIMIT
        assert usage.unfinished == sum(len(content) for _, content in self.going.values())

    @rule()
    def count_what_is_on_the_disk(self) -> None:
        usage = self.run(self.blobs.stats())
        files = [path for path in (self.directory / "blobs").rglob("*") if path.is_file()]
        finished = [path for path in files if path.parent.name != "unfinished"]
        assert usage.size == sum(path.stat().st_size for path in finished)
        assert usage.count == len(finished)
        assert len(files) - len(finished) == len(self.going)

    @invariant()
    def what_is_open_can_be_read(self) -> None:
        for blob, content in self.held.values():
            assert whole(blob) == content

    def check_blob(self, content: bytes, *, must_be_there: bool) -> None:
        blob = self.run(self.blobs.open(digest(content)))
        assert (blob is not None) == must_be_there
        if blob is not None:
            assert whole(blob) == content
            self.run(blob.close())


StoreModel.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
test_any_use_of_blobs_and_records_gives_the_right_bytes_or_none = StoreModel.TestCase
