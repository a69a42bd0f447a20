"""Commands `assay audit` and `assay pin`: verdicts on a lockfile's files, and a policy for their publishers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assay.cli import run
from assay.lockfiles import read_lockfile
from assay.policy.language.document import load_policy
from assay.publishers.github import GitHub as GitHubTable
from tests.paths import CORPUS, LOCKFILES
from tests.world.clients import lockfile_writers
from tests.world.index.distributions import make_raw_file, wheel
from tests.world.index.fake_index import ABSENT
from tests.world.index.faulty_server import Reply
from tests.world.proxy.cli_sandbox import (
    GADGET_SIGNER,
    LENIENT_POLICY,
    LONG_AGO,
    STRICT_POLICY,
    WIDGET_SIGNER,
    CliSandbox,
    each_lockfile_kind,
)
from tests.world.sigstore.private_sigstore import GitHub


@each_lockfile_kind
def test_audit_tells_evidence_and_verdict_of_every_file_of_a_lockfile(sandbox: CliSandbox, kind: str) -> None:
    status, out = sandbox.run_assay("audit", sandbox.write_lockfile(kind), "--files")
    assert status == 0
    rows = {line.split()[0]: line.split() for line in out.splitlines()[1:5]}
    assert {name: row[1] for name, row in rows.items()} == dict.fromkeys(
        (each.built.filename for each in sandbox.files), "approved"
    )
    assert rows["widget-1.0.tar.gz"][3] == "acme/widget"
    assert rows["gadget-2.0-py3-none-any.whl"][3] == "tools/gadget"
    assert rows["plain-1.0-py3-none-any.whl"][3] == "none"
    assert "3 of 4 files prove their publisher." in out
    pasted = load_policy("version = 1\n" + out[out.index("[[rules]]") :], "pasted")
    assert {name for rule in pasted.rules for name in rule.projects} == {"widget", "gadget"}
    status, out = sandbox.run_assay(
        "audit", sandbox.write_lockfile(kind), "--policy", sandbox.write_file("strict.toml", STRICT_POLICY)
    )
    assert status == 1
    assert out.splitlines()[1].split()[:6] == ["plain", "1.0", "1", "withheld", "strict", "none"], "problems are first"
    assert [line.split()[:2] for line in out.splitlines()[2:4]] == [["gadget", "2.0"], ["widget", "1.0"]]
    assert "[unattested]" in out


@each_lockfile_kind
def test_real_lockfiles_are_audited_against_real_provenance_and_the_public_root(sandbox: CliSandbox, kind: str) -> None:
    lock = LOCKFILES / kind
    for pinned in read_lockfile((LOCKFILES / "uv.lock").read_text(), "uv.lock").files:
        assert pinned.filename is not None
        provenance = next(CORPUS.glob(f"provenance/{pinned.filename}*"), None)
        sandbox.index.add(
            make_raw_file(pinned.filename, project=pinned.project),
            upload_time="2024-11-06T22:37:10Z",
            provenance=None if provenance is None else provenance.read_bytes(),
            entry={"hashes": {"sha256": pinned.sha256}, "size": 1},
            metadata=False,
        )
    configuration = sandbox.directory / "proxy.toml"
    configuration.write_text(configuration.read_text().replace('root = "root.json"', 'root = "sigstore"'))
    status, out = sandbox.run_assay("audit", lock, "--files")
    assert status == 0
    evidence = {line.split()[0]: line.split()[3] for line in out.splitlines()[1:7]}
    assert evidence["sampleproject-4.0.0.tar.gz"] == "pypa/sampleproject"
    assert evidence["idna-3.20-py3-none-any.whl"] == "none"
    assert "6 files in" in out
    pinned_policy = sandbox.write_file("pinned.toml", sandbox.run_assay("pin", lock)[1])
    assert sandbox.run_assay("audit", lock, "--policy", pinned_policy)[0] == 0


@pytest.mark.parametrize("kind", ["requirements.txt", "uv.lock"], ids=["by digest", "by name"])
def test_pin_writes_a_policy_under_which_audit_passes_and_a_stranger_does_not(sandbox: CliSandbox, kind: str) -> None:
    status, text = sandbox.run_assay("pin", sandbox.write_lockfile(kind))
    assert status == 0
    pinned = sandbox.write_file("pinned.toml", text)
    policy = load_policy(text, "pinned")
    (github,) = (rule for rule in policy.rules if "widget" in rule.projects)
    assert isinstance(github.publishers, tuple)
    (publisher,) = github.publishers
    assert isinstance(publisher, GitHubTable)
    assert (publisher.repository_id, publisher.owner_id) == ("4711", "17"), "a name registered again is somebody else"
    assert sandbox.run_assay("audit", sandbox.write_lockfile(kind), "--policy", pinned)[0] == 0
    # The same name, registered again by another owner, and a file of the project without an attestation.
    sandbox.files = [
        sandbox.publish(wheel("widget", "1.1"), GitHub(repository="acme/widget", repository_id="9", owner_id="9")),
        sandbox.publish(wheel("plain", "1.1"), None),
    ]
    status, out = sandbox.run_assay("audit", sandbox.write_lockfile(kind), "--policy", pinned)
    assert status == 1
    assert "[publisher]" in out
    assert "[not-pinned]" in out


def test_explain_tells_what_a_lockfile_would_get(sandbox: CliSandbox) -> None:
    lock = sandbox.write_lockfile("pdm.lock")
    assert sandbox.run_assay("explain", lock) == sandbox.run_assay("audit", lock)
    sandbox.policy.write_text(STRICT_POLICY)
    assert sandbox.run_assay("explain", lock)[0] == 1
    assert sandbox.run_assay("explain", sandbox.directory / "nowhere.lock")[0] == 2


def test_pin_approves_nothing_that_is_withheld_today(sandbox: CliSandbox) -> None:
    forged = wheel("widget", "1.2")
    document = sandbox.sigstore.provenance(forged.filename, "00" * 32, WIDGET_SIGNER, LONG_AGO)
    sandbox.files.append(sandbox.index.add(forged, upload_time=LONG_AGO, provenance=document))
    status, text = sandbox.run_assay("pin", sandbox.write_lockfile("uv.lock"))
    assert status == 1
    assert "# left out, withheld: widget-1.2-py3-none-any.whl" in text
    assert forged.sha256 not in {pin for rule in load_policy(text, "pinned").rules for pin in rule.pins or ()}


@pytest.mark.parametrize(
    "policy", [f'mode = "audit"\n{LENIENT_POLICY}', f'{LENIENT_POLICY}ratchet = "warn"\n'], ids=["audit", "warn"]
)
def test_pin_makes_no_rule_of_an_exception(sandbox: CliSandbox, policy: str) -> None:
    """These policies approve the file of an unknown publisher, and a rule with this publisher would be permanent."""
    signer = GitHub(repository="mallory/widget")
    sandbox.files.append(sandbox.publish(wheel("widget", "1.1"), signer, datetime(2025, 6, 1, tzinfo=UTC)))
    sandbox.policy.write_text(policy)
    lock = sandbox.write_lockfile("uv.lock")
    assert sandbox.run_assay("audit", lock)[0] == 0
    status, text = sandbox.run_assay("pin", lock)
    assert status == 1
    assert "# left out, approved by exception: widget-1.1-py3-none-any.whl: " in text
    assert "publisher-changed" in text
    named = [rule for rule in load_policy(text, "pinned").rules if "widget" in rule.projects]
    assert "mallory" not in str([rule.publishers for rule in named])
    assert len(named) == 1, "the twin: its genuine files are named"


def test_audit_for_programs_and_for_code_scanning(sandbox: CliSandbox) -> None:
    strict = sandbox.write_file("strict.toml", STRICT_POLICY)
    lock = sandbox.write_lockfile("requirements.txt")
    status, out = sandbox.run_assay("audit", lock, "--policy", strict, "--json")
    document = json.loads(out)
    assert status == 1
    codes = {entry["filename"]: entry["codes"] for entry in document["files"]}
    assert codes["plain-1.0-py3-none-any.whl"] == ["unattested"]
    assert codes["widget-1.0.tar.gz"] == []
    status, out = sandbox.run_assay("audit", lock, "--policy", strict, "--sarif")
    (run_,) = json.loads(out)["runs"]
    (result,) = run_["results"]
    assert (result["ruleId"], result["level"]) == ("unattested", "error")
    line = result["locations"][0]["physicalLocation"]["region"]["startLine"]
    plain = sandbox.files[3].built.sha256
    assert plain in lock.read_text().splitlines()[line - 1]
    assert [rule["id"] for rule in run_["tool"]["driver"]["rules"]] == ["unattested"]


def test_audit_tells_what_is_gone_and_what_was_exchanged_from_what_cannot_be_had_now(sandbox: CliSandbox) -> None:
    lock = sandbox.write_lockfile("uv.lock")
    gone, exchanged = sandbox.files[3], sandbox.files[2]
    sandbox.index.remove(gone)
    sandbox.index.replace(exchanged, wheel("gadget", "2.0", padding=1))
    status, out = sandbox.run_assay("audit", lock, "--json")
    statuses = {entry["filename"]: entry["status"] for entry in json.loads(out)["files"]}
    assert status == 1
    assert statuses == {
        "widget-1.0-py3-none-any.whl": "approved",
        "widget-1.0.tar.gz": "approved",
        "gadget-2.0-py3-none-any.whl": "digest-differs",
        "plain-1.0-py3-none-any.whl": "missing",
    }
    sandbox.files = sandbox.files[:2]
    sandbox.index.inject_fault(sandbox.index.page_path("widget"), Reply(503))
    status, out = sandbox.run_assay("audit", sandbox.write_lockfile("uv.lock"))
    assert (status, "undecided" in out) == (3, True)


def test_audit_holds_files_to_the_publishers_that_a_pylock_recorded(sandbox: CliSandbox) -> None:
    honest = {"widget": [WIDGET_SIGNER.publisher()], "gadget": [GADGET_SIGNER.publisher()]}
    path = sandbox.write_file("pylock.toml", lockfile_writers.pylock(sandbox.files, honest))
    assert sandbox.run_assay("audit", path)[0] == 0
    other = {"widget": [GitHub(repository="acme/other").publisher()]}
    path = sandbox.write_file("pylock.toml", lockfile_writers.pylock(sandbox.files, other))
    status, out = sandbox.run_assay("audit", path)
    assert status == 1
    assert "is not a publisher recorded in the lockfile" in out


def test_a_pylock_that_recorded_a_publisher_notices_provenance_that_is_gone(sandbox: CliSandbox) -> None:
    sandbox.policy.write_text(f'{LENIENT_POLICY}ratchet = "off"\n')
    identities = {"widget": [WIDGET_SIGNER.publisher()], "gadget": [GADGET_SIGNER.publisher()]}
    # A file beside a signed one may never have had an attestation. The lockfile records identities for the package.
    sandbox.files.append(sandbox.publish(wheel("widget", "1.0", tag="py2-none-any"), None))
    path = sandbox.write_file("pylock.toml", lockfile_writers.pylock(sandbox.files, identities))
    assert sandbox.run_assay("audit", path)[0] == 0
    sandbox.files[2].provenance = None
    sandbox.index.bump_serial("gadget")
    status, out = sandbox.run_assay("audit", path, "--json")
    codes = {entry["filename"]: entry["codes"] for entry in json.loads(out)["files"] if entry["codes"]}
    assert (status, codes) == (1, {"gadget-2.0-py3-none-any.whl": ["lock-identity"]})


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ({"kind": "Google", "email": "jane@gmail.com"}, (1, ["lock-identity"])),
        ({"kind": "GitHub", "repository": "https://github.com/acme/widget"}, (1, ["lock-identity"])),
        ({"kind": "Gitea", "repository": "acme/widget"}, (0, [])),
        ({"kind": "GitHub", "repository": "acme/widget", "shoe-size": "43"}, (0, [])),
    ],
    ids=lambda part: str(part)[:40],
)
def test_a_recorded_publisher_that_no_certificate_can_prove_is_not_ignored(
    sandbox: CliSandbox, recorded: dict[str, str], expected: tuple[int, list[str]]
) -> None:
    """Only kinds and keys that this version does not know are ignored."""
    path = sandbox.write_file("pylock.toml", lockfile_writers.pylock(sandbox.files[:1], {"widget": [recorded]}))
    status, out = sandbox.run_assay("audit", path, "--json")
    assert (status, [code for entry in json.loads(out)["files"] for code in entry["codes"]]) == expected


def write_requirements(sandbox: CliSandbox, *more: str, name: str = "requirements.txt") -> Path:
    """Write a file that pins every file of the index, with more lines."""
    pinned = lockfile_writers.requirements(sandbox.files)
    return sandbox.write_file(name, pinned + "".join(f"{line}\n" for line in more))


@pytest.mark.parametrize(
    "line",
    [
        "other==1.0",
        "other>=1.0",
        "git+https://git.example/other",
        "other @ git+https://git.example/other@1.0",
        "other @ https://files.example/other-1.0-py3-none-any.whl",
        "./other-1.0-py3-none-any.whl",
        "-e .",
        "-r https://files.example/requirements.txt",
    ],
)
@pytest.mark.parametrize("command", ["audit", "pin"])
def test_an_entry_that_is_not_checked_is_not_approved(sandbox: CliSandbox, command: str, line: str) -> None:
    path = write_requirements(sandbox, line)
    status, out = sandbox.run_assay(command, path)
    assert status == 3
    assert "not checked: " in out
    assert sandbox.run_assay(command, path, "--allow-unchecked")[0] == 0
    assert sandbox.run_assay(command, write_requirements(sandbox))[0] == 0, "the twin: without the line"
    if command == "audit":
        assert f"4 files in {path}: 4 approved, 0 not approved, 1 not checked" in out.splitlines()[-1]


def test_a_withheld_file_is_more_than_an_entry_that_is_not_checked(sandbox: CliSandbox) -> None:
    sandbox.policy.write_text(STRICT_POLICY)
    path = write_requirements(sandbox, "other==1.0")
    for options in ((), ("--allow-unchecked",)):
        status, out = sandbox.run_assay("audit", path, *options)
        assert status == 1
        assert f"4 files in {path}: 3 approved, 1 not approved, 1 not checked" in out.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "text"),
    [("requirements.txt", "# nothing\n"), ("uv.lock", "version = 1\n"), ("Pipfile.lock", '{"default": {}}')],
)
def test_an_empty_lockfile_is_not_approved(sandbox: CliSandbox, name: str, text: str) -> None:
    path = sandbox.write_file(name, text)
    status, out = sandbox.run_assay("audit", path)
    assert status == 3
    assert out.splitlines()[0] == "not checked: the lockfile names no file"
    assert out.splitlines()[-1] == f"0 files in {path}: 0 approved, 0 not approved, 1 not checked"
    assert "publisher" not in out
    assert sandbox.run_assay("audit", path, "--allow-unchecked")[0] == 0


def test_an_index_that_is_down_is_not_an_approval(sandbox: CliSandbox) -> None:
    path = write_requirements(sandbox)
    for project in ("widget", "gadget", "plain"):
        sandbox.index.inject_fault(sandbox.index.page_path(project), Reply(503))
    status, out = sandbox.run_assay("audit", path, "--allow-unchecked")
    assert status == 3
    assert "publisher" not in out
    assert "[[rules]]" not in out
    assert out.splitlines()[-1] == f"4 files in {path}: 0 approved, 4 not approved, 0 not checked"
    sandbox.index.clear_faults()
    status, out = sandbox.run_assay("audit", path)
    assert status == 0
    assert "3 of 4 files prove their publisher." in out


@pytest.mark.parametrize("option", ["-r", "-c"])
def test_included_files_are_judged(sandbox: CliSandbox, option: str) -> None:
    (sandbox.directory / "dev").mkdir()
    pinned = lockfile_writers.requirements(sandbox.files)
    sandbox.write_file("dev/locked.txt", f"{option} ../constraints.txt\n")
    sandbox.write_file("constraints.txt", pinned)
    path = sandbox.write_file("requirements.txt", "-r dev/locked.txt\n")
    status, out = sandbox.run_assay("audit", path)
    assert status == 0
    assert out.splitlines()[-1] == f"# 4 files in {path}: 4 approved, 0 not approved, 0 not checked"
    strict = sandbox.write_file("strict.toml", STRICT_POLICY)
    status, out = sandbox.run_assay("audit", path, "--policy", strict, "--sarif")
    assert status == 1
    (result,) = json.loads(out)["runs"][0]["results"]
    location = result["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"].endswith("constraints.txt")
    assert sandbox.files[3].built.sha256 in pinned.splitlines()[location["region"]["startLine"] - 1]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("-r missing.txt", "missing.txt does not exist or is not a regular file"),
        ("-r folder.txt", "folder.txt does not exist or is not a regular file"),
        (f"-r {'long' * 200}.txt", "does not exist or is not a regular file"),
        ("-r requirements.txt", "files include each other"),
    ],
)
def test_an_included_file_that_cannot_be_read_is_an_error(
    sandbox: CliSandbox, capsys: pytest.CaptureFixture[str], line: str, problem: str
) -> None:
    (sandbox.directory / "folder.txt").mkdir()
    path = write_requirements(sandbox, line)
    assert run(["audit", str(path), "--config", str(sandbox.directory / "proxy.toml")]) == 2
    assert problem in capsys.readouterr().err


def test_programs_see_what_is_not_checked(sandbox: CliSandbox) -> None:
    path = write_requirements(sandbox, "other==1.0")
    status, out = sandbox.run_assay("audit", path, "--json")
    document = json.loads(out)
    assert (status, document["path"]) == (3, str(path))
    assert document["not-judged"] == ["other==1.0: has no SHA-256, so any file of this version matches"]
    status, out = sandbox.run_assay("audit", path, "--sarif")
    (result,) = json.loads(out)["runs"][0]["results"]
    assert (status, result["ruleId"], result["level"]) == (3, "not-checked", "warning")


def test_pin_names_what_it_does_not_check(sandbox: CliSandbox) -> None:
    status, text = sandbox.run_assay("pin", write_requirements(sandbox, "other==1.0"))
    assert status == 3
    assert "# left out, not checked: other==1.0: has no SHA-256" in text
    assert {name for rule in load_policy(text, "pinned").rules for name in rule.projects} == {
        "widget",
        "gadget",
        "plain",
    }


@pytest.mark.parametrize("command", ["audit", "pin", "explain"])
def test_an_index_that_carries_no_provenance_is_named(sandbox: CliSandbox, command: str) -> None:
    problem = "index test carries no provenance; set `provenance-from`"
    path = "plain" if command == "explain" else write_requirements(sandbox)
    assert problem not in sandbox.run_assay(command, path)[1], "the twin"
    for each in sandbox.files:
        each.entry["provenance"] = ABSENT
        sandbox.index.bump_serial(each.built.project)
    status, out = sandbox.run_assay(command, path)
    assert status == 0
    assert problem in out
    assert "no attestation" not in out
    if command != "pin":
        out = sandbox.run_assay(command, path, "--files")[1]
        assert [line.split()[3] for line in out.splitlines() if line.startswith("plain-1.0")] == ["unknown"]
    sandbox.policy.write_text(STRICT_POLICY)
    status, out = sandbox.run_assay(command, path)
    assert status == 1
    assert f"[unattested] {problem}" in out
