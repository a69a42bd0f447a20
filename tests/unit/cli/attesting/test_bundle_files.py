"""Files of bundles: lines are added, and others stay as they are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.attestation.verification.strict_json import MAX_LISTED_BUNDLES
from assay.cli.attesting.bundle_files import add_bundle, get_bundle_path, has_bundle
from assay.errors import ConfigurationError
from assay.simple.model import Sha256

SHA256 = Sha256("ab" * 32)


def add(directory: Path, line: bytes) -> bool:
    return add_bundle(directory, SHA256, line, line.__eq__)


def test_lines_are_added_once(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "reviews"
    assert not has_bundle(directory, SHA256, b"{}".__eq__)
    assert [add(directory, line) for line in (b"{}", b'{"a":1}', b"{}", b'{"a":1}')] == [True, True, False, False]
    assert has_bundle(directory, SHA256, b"{}".__eq__)
    assert get_bundle_path(directory, SHA256).read_bytes() == b'{}\n{"a":1}\n'
    assert [path.name for path in directory.iterdir()] == [f"{SHA256}.jsonl"], "nothing else is left"


@given(st.lists(st.binary(min_size=1, max_size=8).filter(lambda line: line.strip() and len(line.splitlines()) == 1)))
def test_the_lines_of_others_stay_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    directory = tmp_path_factory.mktemp("reviews")
    before = [line.rstrip(b"\r\n") for line in lines]
    path = get_bundle_path(directory, SHA256)
    path.write_bytes(b"\n".join(before))
    assert add(directory, b'{"new":1}')
    assert path.read_bytes() == b"".join(line + b"\n" for line in [*before, b'{"new":1}'] if line.strip())


def test_concurrent_writers_lose_no_line(tmp_path: Path) -> None:
    lines = [b'{"number":%d}' % number for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda line: add(tmp_path, line), lines))
    assert sorted(get_bundle_path(tmp_path, SHA256).read_bytes().splitlines()) == sorted(lines)


def test_no_more_is_written_than_a_proxy_reads(tmp_path: Path) -> None:
    path = get_bundle_path(tmp_path, SHA256)
    path.write_bytes(b"{}\n" * (MAX_LISTED_BUNDLES - 1))
    assert add(tmp_path, b'{"last":1}')
    full = path.read_bytes()
    with pytest.raises(ConfigurationError, match="a proxy reads at most 256 bundles and 8388608 bytes about a file"):
        add(tmp_path, b'{"more":1}')
    assert path.read_bytes() == full


def test_permissions_are_those_of_a_new_file_and_then_stay(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    add(tmp_path, b"{}")
    path = get_bundle_path(tmp_path, SHA256)
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o640)
    add(tmp_path, b'{"a":1}')
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    with pytest.raises(ConfigurationError, match="file: cannot be opened: "):
        add(place, b"{}")
