"""Configuration for a small index with attested and other projects, and a runner for the commands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from assay.cli import run
from tests.world.clients import lockfile_writers
from tests.world.index.fake_index import Index, ListedFile
from tests.world.sigstore.private_sigstore import GitHub, GitLab, PrivateSigstore, Signer

LONG_AGO = datetime(2025, 3, 1, 12, tzinfo=UTC)
WIDGET_SIGNER = GitHub(repository="acme/widget", repository_id="4711", owner_id="17")
GADGET_SIGNER = GitLab(repository="tools/gadget")
LENIENT_POLICY = 'version = 1\n[[rules]]\nname = "lenient"\nprojects = ["*"]\n'
STRICT_POLICY = LENIENT_POLICY.replace("lenient", "strict") + 'attestations = "required"\npublishers = "any"\n'
ACME_WIDGETS_POLICY = """
version = 1
[[rules]]
name = "widgets come from acme"
projects = ["widget"]
publishers = [{ kind = "GitHub", repository = "acme/widget" }]
[[rules]]
name = "everything else"
projects = ["*"]
"""
each_lockfile_kind = pytest.mark.parametrize("kind", sorted(lockfile_writers.WRITERS_BY_FILENAME))


@dataclass
class CliSandbox:
    """Configuration in a directory, for an index with three projects, of which two are attested."""

    directory: Path
    index: Index
    sigstore: PrivateSigstore
    capsys: pytest.CaptureFixture[str]
    files: list[ListedFile]

    @property
    def policy(self) -> Path:
        return self.directory / "policy.toml"

    def publish(self, built: Any, signer: Signer | None, when: datetime = LONG_AGO) -> ListedFile:
        document = None if signer is None else self.sigstore.provenance(built.filename, built.sha256, signer, when)
        return self.index.add(built, upload_time=when, provenance=document)

    def write_lockfile(self, kind: str) -> Path:
        path = self.directory / kind
        path.write_text(lockfile_writers.WRITERS_BY_FILENAME[kind](self.files))
        return path

    def run_assay(self, *arguments: object) -> tuple[int, str]:
        """Run a command, and return the exit status and standard output."""
        self.capsys.readouterr()
        status = run([*map(str, arguments), "--config", str(self.directory / "proxy.toml")])
        return status, self.capsys.readouterr().out

    def write_file(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path


def write_configuration(directory: Path, url: str, host: str, sigstore: PrivateSigstore) -> Path:
    """Write a configuration for one index, with a policy and a trust root, and return its path."""
    (directory / "root.json").write_bytes(sigstore.trusted_root())
    (directory / "policy.toml").write_text(ACME_WIDGETS_POLICY, "utf-8")
    config = directory / "proxy.toml"
    config.write_text(
        f"""
policy = "policy.toml"
[storage]
directory = "storage"
[trust]
root = "root.json"
[verification]
workers = 0
[[indexes]]
name = "test"
url = "{url}"
file-hosts = ["{host}"]
""",
        "utf-8",
    )
    return config
