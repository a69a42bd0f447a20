"""The commands around a policy, over a real index and a private Sigstore."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import run
from proxy.lockfiles import read_lockfile
from proxy.policy import publishers
from proxy.policy.document import load_policy
from tests.world import lockfiles
from tests.world.alone import in_thread
from tests.world.distributions import raw, sdist, wheel
from tests.world.index import Index, Listed
from tests.world.proxy import configured, running
from tests.world.sigstore import GitHub, GitLab, PrivateSigstore, Signer
from tests.world.wire import Reply

LONG_AGO = datetime(2025, 3, 1, 12, tzinfo=UTC)
WIDGET = GitHub(repository="acme/widget", repository_id="4711", owner_id="17")
GADGET = GitLab(repository="tools/gadget")
LENIENT = 'version = 1\n[[rules]]\nname = "lenient"\nprojects = ["*"]\n'
STRICT = LENIENT.replace("lenient", "strict") + 'attestations = "required"\npublishers = "any"\n'
KINDS = pytest.mark.parametrize("kind", sorted(lockfiles.KINDS))


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
        path.write_text(lockfiles.KINDS[kind](self.files))
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
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


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


@KINDS
def test_audit_tells_evidence_and_verdict_of_every_file_of_a_lockfile(house: House, kind: str) -> None:
    status, out = house.assay("audit", house.lock(kind))
    assert status == 0
    rows = {line.split()[0]: line.split() for line in out.splitlines()[1:5]}
    assert {name: row[1] for name, row in rows.items()} == dict.fromkeys(
        (each.built.filename for each in house.files), "approved"
    )
    assert rows["widget-1.0.tar.gz"][3] == "acme/widget"
    assert rows["gadget-2.0-py3-none-any.whl"][3] == "tools/gadget"
    assert rows["plain-1.0-py3-none-any.whl"][3] == "none"
    assert "3 of 4 files prove who published them." in out
    pasted = load_policy("version = 1\n" + out[out.index("[[rules]]") :], "pasted")
    assert {name for rule in pasted.rules for name in rule.projects} == {"widget", "gadget"}
    status, out = house.assay("audit", house.lock(kind), "--policy", house.written("strict.toml", STRICT))
    assert status == 1
    assert "plain-1.0-py3-none-any.whl" in out
    assert "[unattested]" in out


REAL = Path(__file__).parents[1] / "unit" / "lockfiles" / "real"
CORPUS = Path(__file__).parents[1] / "corpus"


@KINDS
def test_real_lockfiles_are_audited_against_real_provenance_and_the_public_root(house: House, kind: str) -> None:
    lock = REAL / kind
    for pinned in read_lockfile((REAL / "uv.lock").read_text(), "uv.lock").files:
        assert pinned.filename is not None
        provenance = next(CORPUS.glob(f"provenance/{pinned.filename}*"), None)
        house.index.add(
            raw(pinned.filename, project=pinned.project),
            upload_time="2024-11-06T22:37:10Z",
            provenance=None if provenance is None else provenance.read_bytes(),
            entry={"hashes": {"sha256": pinned.sha256}, "size": 1},
            metadata=False,
        )
    configuration = house.directory / "proxy.toml"
    configuration.write_text(configuration.read_text().replace('root = "root.json"', 'root = "sigstore"'))
    status, out = house.assay("audit", lock)
    assert status == 0
    evidence = {line.split()[0]: line.split()[3] for line in out.splitlines()[1:7]}
    assert evidence["sampleproject-4.0.0.tar.gz"] == "pypa/sampleproject"
    assert evidence["idna-3.20-py3-none-any.whl"] == "none"
    assert "6 files in" in out
    pinned_policy = house.written("pinned.toml", house.assay("pin", lock)[1])
    assert house.assay("audit", lock, "--policy", pinned_policy)[0] == 0


@pytest.mark.parametrize("kind", ["requirements.txt", "uv.lock"], ids=["by digest", "by name"])
def test_pin_writes_a_policy_under_which_audit_passes_and_a_stranger_does_not(house: House, kind: str) -> None:
    status, text = house.assay("pin", house.lock(kind))
    assert status == 0
    pinned = house.written("pinned.toml", text)
    policy = load_policy(text, "pinned")
    (github,) = (rule for rule in policy.rules if "widget" in rule.projects)
    assert isinstance(github.publishers, tuple)
    (publisher,) = github.publishers
    assert isinstance(publisher, publishers.GitHub)
    assert (publisher.repository_id, publisher.owner_id) == ("4711", "17"), "a name registered again is somebody else"
    assert house.assay("audit", house.lock(kind), "--policy", pinned)[0] == 0
    # The same name, registered again by another owner; and another file of the project that proves nothing.
    house.files = [
        house.publish(wheel("widget", "1.1"), GitHub(repository="acme/widget", repository_id="9", owner_id="9")),
        house.publish(wheel("plain", "1.1"), None),
    ]
    status, out = house.assay("audit", house.lock(kind), "--policy", pinned)
    assert status == 1
    assert "[publisher]" in out
    assert "[not-pinned]" in out


def test_explain_tells_what_a_lockfile_would_get(house: House) -> None:
    lock = house.lock("pdm.lock")
    assert house.assay("explain", lock) == house.assay("audit", lock)
    house.policy.write_text(STRICT)
    assert house.assay("explain", lock)[0] == 1
    assert house.assay("explain", house.directory / "nowhere.lock")[0] == 2


def test_pin_approves_nothing_that_is_withheld_today(house: House) -> None:
    forged = wheel("widget", "1.2")
    document = house.sigstore.provenance(forged.filename, "00" * 32, WIDGET, LONG_AGO)
    house.files.append(house.index.add(forged, upload_time=LONG_AGO, provenance=document))
    status, text = house.assay("pin", house.lock("uv.lock"))
    assert status == 1
    assert "# left out, withheld: widget-1.2-py3-none-any.whl" in text
    assert forged.sha256 not in {pin for rule in load_policy(text, "pinned").rules for pin in rule.pins or ()}


@pytest.mark.parametrize(
    "policy", [f'mode = "audit"\n{LENIENT}', f'{LENIENT}ratchet = "warn"\n'], ids=["audit", "warn"]
)
def test_pin_makes_no_rule_of_an_exception(house: House, policy: str) -> None:
    """A stranger's file is approved all the same under these; a rule that names him would let him in for good."""
    signer = GitHub(repository="mallory/widget")
    house.files.append(house.publish(wheel("widget", "1.1"), signer, datetime(2025, 6, 1, tzinfo=UTC)))
    house.policy.write_text(policy)
    lock = house.lock("uv.lock")
    assert house.assay("audit", lock)[0] == 0
    status, text = house.assay("pin", lock)
    assert status == 1
    assert "# left out, approved by exception: widget-1.1-py3-none-any.whl: " in text
    assert "publisher-changed" in text
    named = [rule for rule in load_policy(text, "pinned").rules if "widget" in rule.projects]
    assert "mallory" not in str([rule.publishers for rule in named])
    assert len(named) == 1, "the twin: its genuine files are named"


def test_audit_for_programs_and_for_code_scanning(house: House) -> None:
    strict = house.written("strict.toml", STRICT)
    lock = house.lock("requirements.txt")
    status, out = house.assay("audit", lock, "--policy", strict, "--json")
    document = json.loads(out)
    assert status == 1
    codes = {entry["filename"]: entry["codes"] for entry in document["files"]}
    assert codes["plain-1.0-py3-none-any.whl"] == ["unattested"]
    assert codes["widget-1.0.tar.gz"] == []
    status, out = house.assay("audit", lock, "--policy", strict, "--sarif")
    (run_,) = json.loads(out)["runs"]
    (result,) = run_["results"]
    assert (result["ruleId"], result["level"]) == ("unattested", "error")
    line = result["locations"][0]["physicalLocation"]["region"]["startLine"]
    plain = house.files[3].built.sha256
    assert plain in lock.read_text().splitlines()[line - 1]
    assert [rule["id"] for rule in run_["tool"]["driver"]["rules"]] == ["unattested"]


def test_audit_tells_what_is_gone_and_what_was_exchanged_from_what_cannot_be_had_now(house: House) -> None:
    lock = house.lock("uv.lock")
    gone, exchanged = house.files[3], house.files[2]
    house.index.remove(gone)
    house.index.replace(exchanged, wheel("gadget", "2.0", padding=1))
    status, out = house.assay("audit", lock, "--json")
    statuses = {entry["filename"]: entry["status"] for entry in json.loads(out)["files"]}
    assert status == 1
    assert statuses == {
        "widget-1.0-py3-none-any.whl": "approved",
        "widget-1.0.tar.gz": "approved",
        "gadget-2.0-py3-none-any.whl": "digest-differs",
        "plain-1.0-py3-none-any.whl": "missing",
    }
    house.files = house.files[:2]
    house.index.fault(house.index.page_path("widget"), Reply(503))
    status, out = house.assay("audit", house.lock("uv.lock"))
    assert (status, "undecided" in out) == (3, True)


def test_audit_holds_files_to_the_publishers_that_a_pylock_recorded(house: House) -> None:
    honest = {"widget": [WIDGET.publisher()], "gadget": [GADGET.publisher()]}
    path = house.written("pylock.toml", lockfiles.pylock(house.files, honest))
    assert house.assay("audit", path)[0] == 0
    other = {"widget": [GitHub(repository="acme/other").publisher()]}
    path = house.written("pylock.toml", lockfiles.pylock(house.files, other))
    status, out = house.assay("audit", path)
    assert status == 1
    assert "none of those whom the lockfile recorded" in out


def test_a_pylock_that_recorded_a_publisher_notices_provenance_that_is_gone(house: House) -> None:
    house.policy.write_text(f'{LENIENT}ratchet = "off"\n')
    identities = {"widget": [WIDGET.publisher()], "gadget": [GADGET.publisher()]}
    # A file beside a signed one may never have had an attestation: the identities are the package's, not each file's.
    house.files.append(house.publish(wheel("widget", "1.0", tag="py2-none-any"), None))
    path = house.written("pylock.toml", lockfiles.pylock(house.files, identities))
    assert house.assay("audit", path)[0] == 0
    house.files[2].provenance = None
    house.index.touch("gadget")
    status, out = house.assay("audit", path, "--json")
    codes = {entry["filename"]: entry["codes"] for entry in json.loads(out)["files"] if entry["codes"]}
    assert (status, codes) == (1, {"gadget-2.0-py3-none-any.whl": ["lock-identity"]})


def test_waive_writes_a_waiver_for_exactly_these_files_and_the_policy_obeys_it(house: House) -> None:
    house.policy.write_text(STRICT)
    plain, twin = house.files[3], house.publish(wheel("plain", "1.1"), None)
    arguments = ("waive", plain.built.filename, "--reason", 'built "by hand"', "--expires", "2999-12-31")
    status, text = house.assay(*arguments, "--approved-by", "security@acme.example")
    assert status == 0
    (waiver,) = load_policy(STRICT + text, "with the waiver").waivers
    assert waiver.sha256 == (plain.built.sha256,)
    assert waiver.reason == 'built "by hand"'
    assert [lift.value for lift in waiver.lifts] == ["attestations"]
    assert house.policy.read_text() == STRICT, "nothing is written unasked"
    assert house.assay(*arguments, "--append")[0] == 0
    assert house.assay("explain", "plain", plain.built.filename)[0] == 0
    assert house.assay("explain", "plain", twin.built.filename)[0] == 1


@pytest.mark.parametrize(
    ("filename", "expires", "policy"),
    [
        ("plain-1.0-py3-none-any.whl", "2999-12-31", LENIENT),
        ("plain-9.0-py3-none-any.whl", "2999-12-31", STRICT),
        ("plain-1.0-py3-none-any.whl", "2020-01-01", STRICT),
        ("plain-1.0-py3-none-any.whl", "soon", STRICT),
        ("plain-1.0-py3-none-any.whl", "2999-12-31", LENIENT + 'deny = "no"\n'),
    ],
    ids=["approved", "not listed", "over", "no date", "denied"],
)
def test_waive_refuses_what_needs_no_waiver_or_can_have_none(
    house: House, filename: str, expires: str, policy: str
) -> None:
    house.policy.write_text(policy)
    assert house.assay("waive", filename, "--reason", "why not", "--expires", expires) == (2, "")


def test_policy_diff_names_exactly_the_files_that_change(house: House) -> None:
    old, new = house.written("old.toml", LENIENT), house.written("new.toml", STRICT)
    lock = house.lock("poetry.lock")
    status, out = house.assay("policy", "diff", old, new, "--lockfile", lock, "--json")
    (change,) = json.loads(out)["changes"]
    assert status == 1
    assert (change["filename"], change["old"], change["new"]) == ("plain-1.0-py3-none-any.whl", "approved", "withheld")
    assert "[unattested]" in change["because"]
    status, out = house.assay("policy", "diff", new, old, "--lockfile", lock)
    assert (status, out.splitlines()[-1]) == (0, "4 files compared: 0 would be withheld, 1 would be approved")
    assert house.assay("policy", "diff", old, old, "--lockfile", lock)[1].startswith("4 files compared: 0 would")


def test_policy_diff_without_a_lockfile_compares_everything_ever_seen(house: House) -> None:
    old, new = house.written("old.toml", LENIENT), house.written("new.toml", STRICT)
    assert house.assay("policy", "diff", old, new)[1].startswith("0 files compared"), "nothing was seen yet"
    text = '{"assay-ledger": 1}\n' + "".join(
        json.dumps({"kind": "project", "index": "test", "project": project, "serial": None}) + "\n"
        for project in ("plain", "widget")
    )
    assert house.assay("ledger", "import", house.written("ledger.txt", text))[0] == 0
    status, out = house.assay("policy", "diff", old, new)
    assert (status, out.splitlines()[-1]) == (1, "3 files compared: 1 would be withheld, 0 would be approved")


def test_policy_test_holds_a_policy_to_expectations(house: House) -> None:
    house.policy.write_text(STRICT)
    good = house.written(
        "good.toml",
        """
        [[expect]]
        project = "Widget"
        verdict = "approved"
        [[expect]]
        project = "plain"
        version = "1.0"
        verdict = "withheld"
        reason = "unattested"
        """,
    )
    status, out = house.assay("policy", "test", good)
    assert (status, out.splitlines()[-1]) == (0, "2 expectations: 0 not met, 0 not decided")
    status, out = house.assay("policy", "test", good, "--policy", house.written("lenient.toml", LENIENT))
    assert status == 1
    assert "FAIL  plain 1.0: withheld" in out
    assert "plain-1.0-py3-none-any.whl is approved" in out
    nothing = house.written("none.toml", '[[expect]]\nproject = "plain"\nversion = "7"\nverdict = "approved"\n')
    assert house.assay("policy", "test", nothing)[0] == 1, "an expectation of no file is not met"
    wrong = house.written("wrong.toml", '[[expect]]\nproject = "plain"\nverdict = "approved"\nreason = "denied"\n')
    assert house.assay("policy", "test", wrong)[0] == 2


def test_the_ledger_is_exported_and_imported_as_the_same_text(house: House, tmp_path: Path) -> None:
    text = '{"assay-ledger": 1}\n' + json.dumps({"kind": "project", "index": "test", "project": "plain", "serial": 7})
    assert house.assay("ledger", "import", house.written("in.txt", text + "\n"))[0] == 0
    assert house.assay("ledger", "export") == (0, text + "\n")
    assert house.assay("ledger", "export", tmp_path / "out.txt")[0] == 0
    assert (tmp_path / "out.txt").read_text() == text + "\n"
    assert house.assay("ledger", "import", house.written("bad.txt", "what?\n"))[0] == 3


def test_check_tells_which_waivers_are_over_and_which_soon_will_be(house: House) -> None:
    def waiver(expires: str, reason: str) -> str:
        return (
            f'[[waivers]]\nprojects = ["plain"]\nuploaded-before = 2020-01-01\nlifts = ["yanked"]\n'
            f'expires = {expires}\nreason = "{reason}"\n'
        )

    soon = datetime.now(UTC).date().isoformat()
    house.policy.write_text(
        LENIENT + waiver("2020-05-01", "long ago") + waiver(soon, "today") + waiver("2999-01-01", "far")
    )
    status, out = house.assay("check")
    assert status == 0
    warnings = [line for line in out.splitlines() if line.startswith("warning: waivers")]
    assert len(warnings) == 2
    assert "long ago: expired on 2020-05-02 00:00 UTC" in warnings[0]
    assert "today: expires on" in warnings[1]


async def test_what_a_running_proxy_remembers_is_not_asked_for_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sigstore, store = PrivateSigstore(), tmp_path / "store"
    async with Index() as index:
        built = wheel("widget", "1.0")
        listed = index.add(
            built, upload_time=LONG_AGO, provenance=sigstore.provenance(built.filename, built.sha256, WIDGET, LONG_AGO)
        )
        chosen = configured(index, store, sigstore, freshness={"page": "365000 days"})
        (tmp_path / "uv.lock").write_text(lockfiles.uv_lock([listed]))
        (tmp_path / "proxy.toml").write_text(
            f'[storage]\ndirectory = "store"\n[trust]\nroot = "store-trusted-root.json"\nrefresh = false\n'
            f'[verification]\nworkers = 0\n[freshness]\npage = "365000 days"\n'
            f'[[indexes]]\nname = "test"\nurl = "{index.url}"\n'
        )
        command = ["audit", str(tmp_path / "uv.lock"), "--config", str(tmp_path / "proxy.toml")]
        async with running(index, tmp_path, configuration=chosen, sigstore=sigstore) as proxy:
            assert await proxy.listed("widget") == {built.filename}
            asked = len(index.requests)
            assert await asyncio.to_thread(run, command) == 0
            assert len(index.requests) == asked
            assert "acme/widget" in capsys.readouterr().out
        # The twin: without the proxy's records it asks.
        await asyncio.to_thread(shutil.rmtree, store / "records")
        assert await asyncio.to_thread(run, command) == 0
        assert len(index.requests) > asked
