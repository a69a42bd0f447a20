"""Command ``assay cache``: its output as text and JSON, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay.cli import run
from tests.world.index.distributions import BuiltDistribution, wheel
from tests.world.index.fake_index import Index
from tests.world.index.threaded_index import run_index_in_thread
from tests.world.proxy.cli_sandbox import write_configuration
from tests.world.sigstore.private_sigstore import PrivateSigstore

GOOD = wheel("gadget", padding=100_000)
WITHHELD = wheel("widget")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "proxy.toml"


def lockfile(directory: Path, *pinned: BuiltDistribution) -> Path:
    path = directory / "requirements.txt"
    lines = [f"{each.project}=={each.version} --hash=sha256:{each.sha256}" for each in pinned]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def warm(directory: Path, index: Index, *pinned: BuiltDistribution) -> int:
    config = write_configuration(directory, index.url, index.files_host, PrivateSigstore(seed=3))
    return run(["cache", "warm", str(lockfile(directory, *pinned)), "--config", str(config)])


def cache(config: Path, *arguments: str) -> int:
    return run(["cache", *arguments, "--config", str(config)])


def test_warm_fetches_what_a_lockfile_pins_and_says_what_it_does_not(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with run_index_in_thread() as index:
        listed = index.add(GOOD)
        index.add(WITHHELD)
        assert warm(tmp_path, index, GOOD) == 0
        assert "1 of 1 files are in the cache" in capsys.readouterr().out
        assert warm(tmp_path, index, GOOD, WITHHELD) == 1
        said = capsys.readouterr()
        assert "1 of 2 files are in the cache" in said.out
        assert "unattested" in said.err
        assert index.count(listed.path) == 1, "what is here is not fetched again"
        assert warm(tmp_path, index, wheel("gadget", "9.9")) != 0
    blob = tmp_path / "storage" / "blobs" / GOOD.sha256[:2] / f"{GOOD.sha256}.{GOOD.size}"
    assert blob.read_bytes() == GOOD.content
    assert cache(config, "warm") == 2


def test_stats_verify_and_prune(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with run_index_in_thread() as index:
        index.add(GOOD)
        assert warm(tmp_path, index, GOOD) == 0
    capsys.readouterr()
    assert cache(config, "stats") == 0
    assert "files" in capsys.readouterr().out
    assert cache(config, "stats", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["blobs"]["count"], said["blobs"]["size"]) == (1, GOOD.size)
    assert said["records"]["count"] > 0
    assert cache(config, "verify") == 0
    assert "0 corrupt files removed" in capsys.readouterr().out
    blob = tmp_path / "storage" / "blobs" / GOOD.sha256[:2] / f"{GOOD.sha256}.{GOOD.size}"
    blob.write_bytes(b"x" * GOOD.size)
    assert cache(config, "verify") == 1
    assert GOOD.sha256 in capsys.readouterr().out
    assert not blob.exists()
    with run_index_in_thread() as index:
        index.add(GOOD)
        assert warm(tmp_path, index, GOOD) == 0
    capsys.readouterr()
    assert cache(config, "prune", "--to", "1 GiB") == 0
    assert "0 files removed" in capsys.readouterr().out
    assert cache(config, "prune", "--to", "1 KiB") == 0
    assert "1 files removed" in capsys.readouterr().out
    assert cache(config, "prune", "--to", "much") == 2


def test_a_directory_that_is_in_use_or_was_never_used_is_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import fcntl  # noqa: PLC0415 - used by this test only

    config = write_configuration(tmp_path, "https://index.example/simple/", "index.example", PrivateSigstore(seed=3))
    for action in ("stats", "verify", "prune"):
        assert cache(config, action) == 2
        assert "has no storage yet" in capsys.readouterr().err
    with run_index_in_thread() as index:
        index.add(GOOD)
        assert warm(tmp_path, index, GOOD) == 0
    with (tmp_path / "storage" / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for action in ("stats", "verify", "prune"):
            assert cache(config, action) == 2
            said = capsys.readouterr().err
            assert "in use" in said
            assert "/metrics" in said
    assert cache(config, "stats") == 0
