"""Command ``assay attest`` for files on disk, lockfiles and releases, and its errors."""

from __future__ import annotations

import json
import re
import shlex
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from assay.cli import run
from assay.cli.commands.attest import make_secret_reader
from assay.errors import ConfigurationError
from tests.paths import DOCS
from tests.world.index.distributions import wheel
from tests.world.proxy.cli_sandbox import CliSandbox, each_lockfile_kind
from tests.world.sigstore.review_keys import write_key

REVIEW = "https://acme.example/review/v1"


class Reviewer:
    """Reviewer with a key and a directory of reviews."""

    def __init__(self, sandbox: CliSandbox) -> None:
        self.sandbox = sandbox
        self.reviews = sandbox.directory / "reviews"
        self.key = write_key(sandbox.directory, "security")

    def attest(self, *arguments: object, key: object | None = None) -> tuple[int, str]:
        signed_by = ("--predicate-type", REVIEW, "--key", key or self.key, "-o", self.reviews)
        return self.sandbox.run_assay("attest", *arguments, *signed_by)

    def read_statements(self) -> dict[str, list[dict[str, Any]]]:
        """Return the statements about each digest."""
        return {
            path.stem: [
                json.loads(b64decode(json.loads(line)["dsseEnvelope"]["payload"]))
                for line in path.read_bytes().splitlines()
            ]
            for path in sorted(self.reviews.iterdir())
        }

    def read_subjects(self) -> set[tuple[str, str]]:
        return {
            (subject["name"], digest)
            for digest, statements in self.read_statements().items()
            for statement in statements
            for subject in statement["subject"]
            if subject["digest"] == {"sha256": digest}
        }


@pytest.fixture
def reviewer(sandbox: CliSandbox) -> Reviewer:
    return Reviewer(sandbox)


def test_files_on_disk_are_attested_once(sandbox: CliSandbox, reviewer: Reviewer) -> None:
    built = [wheel("widget", "1.0"), wheel("gadget", "2.0")]
    paths = [sandbox.directory / each.filename for each in built]
    for path, each in zip(paths, built, strict=True):
        path.write_bytes(each.content)
    verdict = sandbox.write_file("ok.json", '{"verdict": "ok"}')
    status, text = reviewer.attest(*paths, "--predicate", verdict)
    place = reviewer.reviews / f"{built[0].sha256}.jsonl"
    assert status == 0
    assert text.splitlines()[0] == f"{built[0].filename}: written to {place}"
    assert reviewer.read_subjects() == {(each.filename, each.sha256) for each in built}
    (statement,) = reviewer.read_statements()[built[0].sha256]
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert (statement["predicateType"], statement["predicate"]) == (REVIEW, {"verdict": "ok"})

    before = place.read_bytes()
    assert reviewer.attest(paths[0], "--predicate", verdict) == (0, f"{built[0].filename}: already in {place}\n")
    assert place.read_bytes() == before

    other = write_key(sandbox.directory, "other", "Ed25519")
    assert reviewer.attest(paths[0], "--predicate", verdict, key=other)[0] == 0
    bad = sandbox.write_file("bad.json", '{"verdict": "bad"}')
    assert reviewer.attest(paths[0], "--predicate", bad)[0] == 0
    assert place.read_bytes().startswith(before)
    statements = reviewer.read_statements()[built[0].sha256]
    assert [each["predicate"]["verdict"] for each in statements] == ["ok", "ok", "bad"]


def test_the_documented_example_leads_from_the_key_to_the_approval(
    sandbox: CliSandbox, reviewer: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = (DOCS / "using-policies.md").read_text("utf-8").partition("### Write reviews\n")[2].partition("\n#")[0]
    section = section.replace("numpy", "plain").replace("1.26.4", "1.0")
    configuration, rule = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    attest, explain = (shlex.split(each) for each in re.findall(r"(?m)^\$ assay (.+)$", section))
    config = sandbox.directory / "proxy.toml"
    reviewer.reviews.mkdir()
    config.write_text(config.read_text() + configuration)
    sandbox.policy.write_text(f"version = 1\n{rule}")
    (sandbox.directory / "ok.json").write_text('{"verdict": "ok"}')
    monkeypatch.chdir(sandbox.directory)
    status, text = sandbox.run_assay(*explain)
    assert (status, "countersigned" in text) == (1, True), text
    assert sandbox.run_assay(*attest)[0] == 0
    status, text = sandbox.run_assay(*explain)
    assert (status, "approved" in text) == (0, True), text


@each_lockfile_kind
def test_all_pinned_files_of_a_lockfile_are_attested(sandbox: CliSandbox, reviewer: Reviewer, kind: str) -> None:
    status, _ = reviewer.attest(sandbox.write_lockfile(kind))
    assert status == 0
    assert reviewer.read_subjects() == {(each.built.filename, each.built.sha256) for each in sandbox.files}


def test_entries_that_pin_no_file_are_named(
    sandbox: CliSandbox, reviewer: Reviewer, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = f"gone==1.0 --hash=sha256:{'0' * 64}"
    widget = f"widget==1.0 --hash=sha256:{sandbox.files[0].built.sha256}"
    lockfile = sandbox.write_file("requirements.txt", f"{widget}\n{gone}\nplain\n")
    command = ["attest", str(lockfile), "--predicate-type", REVIEW, "--key", str(reviewer.key)]
    status = run([*command, "-o", str(reviewer.reviews), "--config", str(sandbox.directory / "proxy.toml")])
    errors = capsys.readouterr().err
    assert status == 3
    assert "not attested: gone 1.0 sha256:000000000000…: " in errors
    assert "not attested: plain" in errors
    assert reviewer.read_subjects() == {(sandbox.files[0].built.filename, sandbox.files[0].built.sha256)}


def test_all_files_of_a_release_are_attested(sandbox: CliSandbox, reviewer: Reviewer) -> None:
    status, _ = reviewer.attest("Widget==1.0.0")
    assert status == 0
    assert reviewer.read_subjects() == {(each.built.filename, each.built.sha256) for each in sandbox.files[:2]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["widget==9.9"], "test lists no file of widget 9.9"),
        (["nothing==1.0"], "no index of this proxy has the project nothing"),
        (["widget"], "expected a file, a lockfile, or NAME==VERSION such as numpy==1.26.4, found 'widget'"),
        (["gone-1.0.tar.gz"], "gone-1.0.tar.gz: cannot be read: No such file or directory"),
        (["widget-1.0 (1).whl"], "expected the filename of a distribution, as on the page of its index"),
        (["x" * 300], "expected a file, a lockfile, or NAME==VERSION"),
        (["widget==1.0", "--predicate-type", "review"], "--predicate-type: expected a URI such as "),
        (["widget==1.0", "--key-name", "a\nb"], "--key-name: expected 1 to 200 printable characters"),
        (["widget==1.0", "--predicate", "twice.json"], "a JSON object contains the same key twice"),
        (["widget==1.0", "--predicate", "list.json"], "list.json: expected a JSON object, found list"),
        (["widget==1.0", "--predicate", "deep.json"], "expected JSON with at most 32 levels of nesting"),
    ],
)
def test_what_cannot_be_attested_is_told_and_nothing_is_written(
    reviewer: Reviewer,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sandbox = reviewer.sandbox
    sandbox.write_file("twice.json", '{"a": 1, "a": 2}')
    sandbox.write_file("list.json", "[]")
    sandbox.write_file("deep.json", '{"a":' * 40 + "1" + "}" * 40)
    monkeypatch.chdir(sandbox.directory)
    command = ["attest", "--predicate-type", REVIEW, "--key", str(reviewer.key), "-o", str(reviewer.reviews)]
    assert run([*command, *arguments, "--config", "proxy.toml"]) == 2
    assert message in capsys.readouterr().err
    assert not reviewer.reviews.exists()


def test_the_passphrase_comes_from_the_environment(
    sandbox: CliSandbox, reviewer: Reviewer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = wheel("widget", "1.0")
    path = sandbox.directory / built.filename
    path.write_bytes(built.content)
    key = write_key(sandbox.directory, "locked", passphrase="open sesame")
    command = ["attest", str(path), "--predicate-type", REVIEW, "--key", str(key), "-o", str(reviewer.reviews)]
    assert run(command) == 2
    assert "the key needs a passphrase: set ASSAY_KEY_PASSPHRASE, or use a terminal" in capsys.readouterr().err
    monkeypatch.setenv("ASSAY_KEY_PASSPHRASE", "open sesame")
    assert run(command) == 0
    assert reviewer.read_subjects() == {(built.filename, built.sha256)}


def test_the_terminal_is_asked_once_for_the_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts: list[str] = []

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        if len(prompts) > 1:
            raise EOFError
        return "open sesame"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("assay.cli.commands.attest.getpass", answer)
    read_secret = make_secret_reader({})
    assert (read_secret("pin"), read_secret("pin")) == ("open sesame", "open sesame")
    assert prompts == ["pin of the key: "]
    with pytest.raises(ConfigurationError, match="the key needs a passphrase, and the terminal gave none"):
        make_secret_reader({})("passphrase")
    assert make_secret_reader({"ASSAY_KEY_PASSPHRASE": "other"})("pin") == "other"


def test_a_predicate_that_is_too_large_is_refused_before_it_is_written(
    sandbox: CliSandbox, reviewer: Reviewer, capsys: pytest.CaptureFixture[str]
) -> None:
    built = wheel("widget", "1.0")
    path: Path = sandbox.directory / built.filename
    path.write_bytes(built.content)
    large = sandbox.write_file("large.json", json.dumps({"text": "x" * (256 * 1024 - 100)}))
    command = ["attest", str(path), "--predicate-type", REVIEW, "--key", str(reviewer.key)]
    assert run([*command, "--predicate", str(large), "-o", str(reviewer.reviews)]) == 2
    assert "a proxy would refuse the statement: the statement is longer than 262144 bytes" in capsys.readouterr().err
    assert not reviewer.reviews.exists()


@pytest.mark.parametrize(("characters", "is_told"), [(16_000, False), (17_000, True)])
def test_a_predicate_that_no_condition_reads_is_told(
    reviewer: Reviewer, capsys: pytest.CaptureFixture[str], characters: int, is_told: bool
) -> None:
    sandbox, built = reviewer.sandbox, wheel("widget", "1.0")
    path = sandbox.directory / built.filename
    path.write_bytes(built.content)
    large = sandbox.write_file("large.json", json.dumps({"text": "x" * characters}))
    command = ["attest", str(path), "--predicate-type", REVIEW, "--key", str(reviewer.key)]
    assert run([*command, "--predicate", str(large), "-o", str(reviewer.reviews)]) == 0
    assert ("no condition (`where`) of a policy reads it" in capsys.readouterr().err) == is_told
    assert reviewer.read_subjects() == {(built.filename, built.sha256)}


def test_the_trouble_of_one_file_does_not_affect_the_others(
    reviewer: Reviewer, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox, first, second = reviewer.sandbox, *reviewer.sandbox.files[:2]
    full = reviewer.reviews / f"{first.built.sha256}.jsonl"
    full.parent.mkdir()
    full.write_text("{}\n" * 256)
    command = ["attest", str(sandbox.write_lockfile("uv.lock")), "--predicate-type", REVIEW]
    assert run([*command, "--key", str(reviewer.key), "-o", str(reviewer.reviews)]) == 2
    found = capsys.readouterr()
    assert f"not attested: {first.built.filename}: {full}: a proxy reads at most 256 bundles" in found.err
    assert f"{second.built.filename}: written to " in found.out
    assert len(found.out.splitlines()) == len(sandbox.files) - 1
    assert full.read_text() == "{}\n" * 256
