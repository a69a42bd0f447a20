"""Reading hostile feeds: each zip, file or directory gives a result, or one error."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from assay.advisories.archive import ArchiveError, ArchiveWriter
from assay.advisories.record import MAX_RECORD_BYTES, parse_record
from assay.advisories.snapshot import FeedSnapshot
from assay.advisory_feeds.reader import ReaderLimits, ReadResult, load_archive, read_feed
from assay.errors import InvalidResponseError
from tests.world.advisories.feeds import NOW, make_zip
from tests.world.advisories.records import encode_record, make_affected, make_range, make_record

FOO = make_record("MAL-1", make_affected("foo"))
BAR = make_record("MAL-2", make_affected("bar"))
DEEP = b'{"id": "MAL-9", "affected": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"


def _read(path: Path, content: bytes | None = None, previous: Path | None = None, **limits: int) -> ReadResult:
    if content is not None:
        path.write_bytes(content)
    return read_feed(path, previous, path.with_suffix(".archive"), NOW, ReaderLimits(**limits))


def _load(path: Path) -> FeedSnapshot:
    archive = load_archive(path.with_suffix(".archive"))
    assert archive is not None
    return FeedSnapshot(archive)


def test_a_zip_of_records_becomes_an_archive(tmp_path: Path) -> None:
    source = tmp_path / "all.zip"
    result = _read(source, make_zip(FOO, BAR, more={"README.md": b"text", "npm.json": encode_record(_npm())}))
    assert result == ReadResult(count=2, skipped=0, unrelated=1, missing=0, problems=())
    assert set(_load(source).ids) == {"MAL-1", "MAL-2"}
    assert source.with_suffix(".archive").stat().st_mode & 0o777 == 0o600


def _npm() -> dict[str, object]:
    return make_record("MAL-3", make_affected("foo", ecosystem="npm"))


def test_a_directory_and_a_single_file_are_read_too(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    (folder / "more").mkdir(parents=True)
    (folder / "a.json").write_bytes(encode_record(FOO))
    (folder / "more" / "b.json").write_bytes(encode_record(BAR))
    (folder / "notes.txt").write_text("ignored")
    os.mkfifo(folder / "fifo.json")
    assert (_read(folder).count, _read(folder).skipped) == (2, 1)
    assert _read(tmp_path / "one.json", encode_record(FOO)).count == 1
    (tmp_path / "none").mkdir()
    assert _read(tmp_path / "none").count == 0


@pytest.mark.parametrize(
    "broken",
    [b"", b"{", b"[]", DEEP, b'{"id": "MAL-9"}' + b" " * (2 << 20), encode_record(FOO | {"id": 7}), b"\xff\xfe"],
    ids=lambda broken: f"{broken[:20]!r}",
)
def test_a_broken_record_is_skipped_and_counted(tmp_path: Path, broken: bytes) -> None:
    source = tmp_path / "all.zip"
    result = _read(source, make_zip(FOO, BAR, more={"MAL-9.json": broken}))
    assert (result.count, result.skipped) == (2, 1)
    assert result.problems[0].startswith("'MAL-9.json': ")
    assert _load(source).skipped_count == 1


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ({"x": 1e300}, '{"x":1e999}'),
        ({"x": "\u00e9" * 300_000}, json.dumps({"x": "\u00e9" * 900_000}, ensure_ascii=False)),
    ],
    ids=["number", "length"],
)
def test_a_record_that_cannot_be_stored_and_read_again_is_skipped(
    tmp_path: Path, good: dict[str, object], bad: str
) -> None:
    source = tmp_path / "all.zip"
    text = json.dumps(make_record("MAL-9", make_affected("baz")) | {"database_specific": good})
    assert _read(source, make_zip(FOO, more={"MAL-9.json": text.encode()})).count == 2
    assert _load(source).find(canonicalize_name("baz"))
    broken = text.replace(json.dumps(good), bad).encode()
    assert len(broken) < MAX_RECORD_BYTES
    result = _read(source, make_zip(FOO, more={"MAL-9.json": broken}))
    assert (result.count, result.skipped) == (1, 1)
    assert not _load(source).find(canonicalize_name("baz"))


def test_a_stored_record_that_cannot_be_read_does_not_stop_later_refreshes(tmp_path: Path) -> None:
    writer = ArchiveWriter()
    for record, raw in [(FOO, encode_record(FOO)), (BAR, b'{"x":Infinity}')]:
        advisory = parse_record(record)
        assert advisory is not None
        writer.add(advisory, raw)
    previous = tmp_path / "previous"
    previous.write_bytes(writer.finish(NOW))
    result = _read(tmp_path / "all.zip", make_zip(make_record("MAL-4", make_affected("baz"))), previous)
    assert (result.count, result.missing) == (1, 1)


def test_the_records_and_events_about_one_project_are_limited(tmp_path: Path) -> None:
    bounds = make_range(*(("introduced", f"{number}.0") for number in range(10)))
    records = [make_record(f"GHSA-{number}", make_affected("foo", ranges=[bounds] * 2)) for number in range(3)]
    source, content = tmp_path / "all.zip", make_zip(*records, BAR)
    assert _read(source, content, project_events=63).count == 4
    with pytest.raises(InvalidResponseError, match="at most 62 records and events about foo, found 63"):
        _read(source, content, project_events=62)
    assert _load(source).find(canonicalize_name("foo"))[0].event_count == 20


def test_the_affected_packages_and_the_missing_records_of_a_feed_are_limited(tmp_path: Path) -> None:
    source = tmp_path / "all.zip"
    both = make_zip(make_record("MAL-3", make_affected("foo"), make_affected("bar"), make_affected("foo")), FOO)
    assert _read(source, both, packages=3).count == 2
    with pytest.raises(InvalidResponseError, match="at most 2 affected packages, found 3"):
        _read(source, both, packages=2)

    previous = tmp_path / "previous"
    for number in range(3):
        content = make_zip(make_record(f"MAL-{number}0", make_affected("foo")))
        assert _read(source, content, previous if number else None, records=2).missing == number
        source.with_suffix(".archive").rename(previous)
    with pytest.raises(InvalidResponseError, match="at most 2 missing malware records, found 3"):
        _read(source, make_zip(make_record("MAL-30", make_affected("foo"))), previous, records=2)


def test_a_damaged_entry_of_a_zip_is_a_broken_record(tmp_path: Path) -> None:
    content = bytearray(make_zip(FOO, BAR))
    place = content.index(b"MAL-1.json") + len("MAL-1.json") + 20
    content[place] ^= 0xFF
    result = _read(tmp_path / "all.zip", bytes(content))
    assert (result.count, result.skipped) == (1, 1)


def test_the_cut_of_a_zip_at_any_place_is_refused(tmp_path: Path) -> None:
    content = make_zip(FOO, BAR)
    for length in range(0, len(content), 7):
        with pytest.raises(InvalidResponseError):
            _read(tmp_path / "all.zip", content[:length])


def test_a_zip_bomb_is_stopped_by_the_total_size(tmp_path: Path) -> None:
    bomb = {f"{number}.json": b'{"id": "' + b"x" * 1_000_000 + b'"}' for number in range(20)}
    content = make_zip(FOO, more=bomb)
    assert len(content) < 100_000
    with pytest.raises(InvalidResponseError, match="at most 5000000 bytes after decompression"):
        _read(tmp_path / "all.zip", content, total_bytes=5_000_000)
    assert _read(tmp_path / "all.zip", content).count == 1


@given(
    changes=st.lists(
        st.tuples(st.integers(0, 10_000), st.binary(max_size=3), st.integers(0, 3)), min_size=1, max_size=3
    )
)
@example(changes=[(make_zip(FOO, BAR).rindex(b"PK\x01\x02") + 6, b"\xff", 1)])  # a zip of a later version
def test_any_change_of_a_zip_gives_a_result_or_an_error(
    changes: list[tuple[int, bytes, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = make_zip(FOO, BAR)
    for place, new, removed in changes:
        start = place % len(content)
        content = content[:start] + new + content[start + removed :]
    try:
        result = _read(tmp_path_factory.getbasetemp() / "changed.zip", content)
    except InvalidResponseError:
        return
    assert 1 <= result.count <= 2


def test_an_entry_of_another_compression_method_is_broken(tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("MAL-1.json", encode_record(FOO))
        archive.writestr("MAL-2.json", encode_record(BAR), compress_type=zipfile.ZIP_LZMA)
    result = _read(tmp_path / "all.zip", made.getvalue())
    assert (result.count, result.skipped) == (1, 1)


def test_an_entry_that_states_a_smaller_size_than_it_has_is_broken(tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("MAL-1.json", encode_record(FOO))
        archive.writestr("bomb.json", b" " * (3 << 20))
    content = made.getvalue().replace((3 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    result = _read(tmp_path / "all.zip", content)
    assert (result.count, result.skipped) == (1, 1)


def test_too_many_records_are_refused(tmp_path: Path) -> None:
    assert _read(tmp_path / "all.zip", make_zip(FOO, BAR), records=2).count == 2
    with pytest.raises(InvalidResponseError, match="at most 1 records"):
        _read(tmp_path / "all.zip", records=1)


@pytest.mark.parametrize("content", [b"", b"<html>login</html>", make_zip(), make_zip(more={"a.json": b"{"})])
def test_a_feed_without_any_record_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InvalidResponseError):
        _read(tmp_path / "all.zip", content)


def test_missing_malware_stays_until_it_is_withdrawn(tmp_path: Path) -> None:
    source, note = tmp_path / "all.zip", make_record("GHSA-1", make_affected("foo"))
    _read(source, make_zip(FOO, BAR, note))
    previous = source.with_suffix(".archive").rename(tmp_path / "previous")
    assert _read(source, make_zip(FOO), previous).missing == 1
    assert set(_load(source).ids) == {"MAL-1", "MAL-2"}
    assert _load(source).missing_ids == {"MAL-2"}

    previous = source.with_suffix(".archive").rename(tmp_path / "previous")
    _read(source, make_zip(FOO), previous)
    assert _load(source).missing_ids == {"MAL-2"}

    withdrawn = BAR | {"withdrawn": "2026-11-25T00:00:00Z", "modified": "2026-11-25T00:00:00Z"}
    _read(source, make_zip(FOO, withdrawn), previous)
    assert (len(_load(source).missing_ids), len(_load(source).ids)) == (0, 2)
    previous = source.with_suffix(".archive").rename(tmp_path / "previous")
    assert _read(source, make_zip(FOO), previous).missing == 0


def test_a_record_that_became_broken_stays_as_it_was(tmp_path: Path) -> None:
    source = tmp_path / "all.zip"
    _read(source, make_zip(FOO, BAR))
    previous = source.with_suffix(".archive").rename(tmp_path / "previous")
    result = _read(source, make_zip(FOO, more={"MAL-2.json": b"{"}), previous)
    assert (result.skipped, result.missing) == (1, 1)


def test_a_damaged_archive_is_an_error_and_an_absent_one_is_none(tmp_path: Path) -> None:
    assert load_archive(tmp_path / "absent") is None
    (tmp_path / "damaged").write_bytes(b"damaged")
    with pytest.raises(ArchiveError):
        load_archive(tmp_path / "damaged")
