"""A configuration in front of a small index with attested and other projects, and the commands run on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from assay.cli import run
from tests.world.clients import lockfile_writers
from tests.world.index.distributions import sdist, wheel
from tests.world.index.fake_index import Index, Listed
from tests.world.index.threaded_index import in_thread
from tests.world.proxy.loggers import restored
from tests.world.sigstore.private_sigstore import GitHub, GitLab, PrivateSigstore, Signer

LONG_AGO = datetime(2025, 3, 1, 12, tzinfo=UTC)
WIDGET = GitHub(repository="acme/widget", repository_id="4711", owner_id="17")
GADGET = GitLab(repository="tools/gadget")
LENIENT = 'version = 1\n[[rules]]\nname = "lenient"\nprojects = ["*"]\n'
STRICT = LENIENT.replace("lenient", "strict") + 'attestations = "required"\npublishers = "any"\n'
KINDS = pytest.mark.parametrize("kind", sorted(lockfile_writers.KINDS))


@dataclass
class House:
    """A configuration in a directory, in front of an index with three projects, two of them attested."""

    directory: Path
    index: Index
    sigstore: PrivateSigstore
    capsys: pytest.CaptureFixture[str]
    files: list[Listed]

    @property
    def policy(self) -> Path:
        return self.directory / "policy.toml"

    def publish(self, built: Any, signer: Signer | None, when: datetime = LONG_AGO) -> Listed:
        document = None if signer is None else self.sigstore.provenance(built.filename, built.sha256, signer, when)
        return self.index.add(built, upload_time=when, provenance=document)

    def lock(self, kind: str) -> Path:
        path = self.directory / kind
        path.write_text(lockfile_writers.KINDS[kind](self.files))
        return path

    def assay(self, *arguments: object) -> tuple[int, str]:
        """Exit status and standard output."""
        self.capsys.readouterr()
        status = run([*map(str, arguments), "--config", str(self.directory / "proxy.toml")])
        return status, self.capsys.readouterr().out

    def written(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path


@pytest.fixture(autouse=True)
def the_log_as_it_was() -> Iterator[None]:
    """The commands take the root logger for themselves."""
    with restored():
        yield


@pytest.fixture
def house(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[House]:
    sigstore = PrivateSigstore()
    (tmp_path / "root.json").write_bytes(sigstore.trusted_root())
    with in_thread() as index:
        (tmp_path / "proxy.toml").write_text(
            f'policy = "policy.toml"\n[storage]\ndirectory = "store"\n[trust]\nroot = "root.json"\nrefresh = false\n'
            f'[verification]\nworkers = 0\n[[indexes]]\nname = "test"\nurl = "{index.url}"\n'
        )
        (tmp_path / "policy.toml").write_text(LENIENT)
        built = House(tmp_path, index, sigstore, capsys, [])
        built.files = [
            built.publish(wheel("widget", "1.0"), WIDGET),
            built.publish(sdist("widget", "1.0"), WIDGET),
            built.publish(wheel("gadget", "2.0"), GADGET),
            built.publish(wheel("plain", "1.0"), None),
        ]
        yield built
