"""Commands about policies, with a test index and a private Sigstore."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from assay.cli import run
from assay.cli.commands.waive import parse_expiry
from assay.policy.language.document import load_policy
from tests.world.clients import lockfile_writers
from tests.world.index.distributions import sdist, wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.cli_sandbox import (
    LENIENT_POLICY,
    LONG_AGO,
    STRICT_POLICY,
    WIDGET_SIGNER,
    CliSandbox,
)
from tests.world.proxy.running_proxy import make_configuration, run_test_proxy
from tests.world.sigstore.private_sigstore import PrivateSigstore


def test_waive_writes_a_waiver_for_exactly_these_files_and_the_policy_obeys_it(sandbox: CliSandbox) -> None:
    sandbox.policy.write_text(STRICT_POLICY)
    plain, twin = sandbox.files[3], sandbox.publish(wheel("plain", "1.1"), None)
    arguments = ("waive", plain.built.filename, "--reason", 'built "by hand"', "--expires", "2999-12-31")
    status, text = sandbox.run_assay(*arguments, "--approved-by", "security@acme.example")
    assert status == 0
    (waiver,) = load_policy(STRICT_POLICY + text, "with the waiver").waivers
    assert waiver.sha256 == (plain.built.sha256,)
    assert waiver.reason == 'built "by hand"'
    assert [lift.value for lift in waiver.lifts] == ["attestations"]
    assert sandbox.policy.read_text() == STRICT_POLICY, "nothing is written unasked"
    assert sandbox.run_assay(*arguments, "--append")[0] == 0
    assert sandbox.run_assay("explain", "plain", plain.built.filename)[0] == 0
    assert sandbox.run_assay("explain", "plain", twin.built.filename)[0] == 1


@pytest.mark.parametrize(
    ("wanted", "expires", "policy", "message"),
    [
        ("plain-1.0-py3-none-any.whl", "2999-12-31", LENIENT_POLICY, "is approved and needs no waiver"),
        ("plain-9.0-py3-none-any.whl", "2999-12-31", STRICT_POLICY, "no index of this proxy lists plain-9.0"),
        ("plain-1.0-py3-none-any.whl", "2020-01-01", STRICT_POLICY, "--expires: expected today or a later date (UTC)"),
        ("plain-1.0-py3-none-any.whl", "soon", STRICT_POLICY, "--expires: expected a date such as 2026-12-15, or a"),
        ("plain-1.0-py3-none-any.whl", "0 days", STRICT_POLICY, "--expires: expected a duration of more than zero"),
        (
            "plain-1.0-py3-none-any.whl",
            "2999-12-31",
            LENIENT_POLICY + 'deny = "no"\n',
            "no waiver can approve plain-1.0-py3-none-any.whl: [denied] denied by the policy: no; if the denial",
        ),
        (
            "plain==1.0",
            "1 day",
            LENIENT_POLICY + '[[revocations]]\nprojects = ["plain"]\nreason = "INC-1"\n',
            "no waiver can approve plain-1.0-py3-none-any.whl: [revoked] ",
        ),
        ("plain==1.0", "1 day", LENIENT_POLICY.replace('"*"', '"widget"'), "add a rule that covers the project"),
        ("plain==1.0", "1 day", LENIENT_POLICY, "every file of plain 1.0 is approved and needs no waiver"),
        ("plain==9.0", "1 day", STRICT_POLICY, "test lists no file of plain 9.0"),
        ("unknown==1.0", "1 day", STRICT_POLICY, "no index of this proxy has the project unknown"),
        ("plain", "1 day", STRICT_POLICY, "expected a filename, or NAME==VERSION such as numpy==1.26.4, found 'plain'"),
        ("plain==", "1 day", STRICT_POLICY, "expected a filename, or NAME==VERSION"),
        ("plain==1.*", "1 day", STRICT_POLICY, "expected a filename, or NAME==VERSION"),
        ("pl ain==1.0", "1 day", STRICT_POLICY, "expected a filename, or NAME==VERSION"),
    ],
)
def test_waive_refuses_what_needs_no_waiver_or_can_have_none(
    sandbox: CliSandbox, wanted: str, expires: str, policy: str, message: str
) -> None:
    sandbox.policy.write_text(policy)
    sandbox.capsys.readouterr()
    arguments = ["waive", wanted, "--reason", "why not", "--expires", expires]
    assert run([*arguments, "--config", str(sandbox.directory / "proxy.toml")]) == 2
    printed = sandbox.capsys.readouterr()
    assert (printed.out, message in printed.err, printed.err.count("\n")) == ("", True, 1), printed.err


def test_waive_expands_a_release_to_its_withheld_files_and_no_others(
    sandbox: CliSandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.policy.write_text(STRICT_POLICY)
    built = sdist("plain", "1.0")
    sandbox.publish(built, None)
    attested, other = (
        sandbox.publish(wheel("plain", "1.0", tag="cp311-cp311-any"), WIDGET_SIGNER),
        wheel("plain", "1.1"),
    )
    sandbox.publish(other, None)
    config = ["--config", str(sandbox.directory / "proxy.toml")]
    command = ["waive", "Plain==1.0.0", "--reason", "x", "--expires", "2 weeks", "--append", *config]
    capsys.readouterr()
    assert run(command) == 0
    assert "1 of 3 files of plain 1.0.0 are approved and need no waiver" in capsys.readouterr().err
    (waiver,) = load_policy(sandbox.policy.read_text(), "policy.toml").waivers
    assert set(waiver.sha256 or ()) == {sandbox.files[3].built.sha256, built.sha256}
    assert attested.built.sha256 not in (waiver.sha256 or ())
    assert waiver.expires > datetime.now(UTC) + timedelta(days=13)
    assert run(["explain", "plain", "1.0", *config]) == 0
    assert run(["explain", "plain", "1.1", *config]) == 1


def test_a_waiver_is_written_for_a_policy_that_is_not_in_use_yet(sandbox: CliSandbox) -> None:
    sandbox.policy.write_text(LENIENT_POLICY)
    planned = sandbox.directory / "planned.toml"
    planned.write_text(STRICT_POLICY)
    arguments = ("waive", "plain==1.0", "--reason", "x", "--expires", "2999-12-31")
    assert sandbox.run_assay(*arguments)[0] == 2, "the policy in use approves the file"
    status, text = sandbox.run_assay(*arguments, "--policy", str(planned))
    assert status == 0
    assert sandbox.run_assay(*arguments, "--policy", str(planned), "--append") == (0, "")
    assert (sandbox.policy.read_text(), planned.read_text()) == (LENIENT_POLICY, STRICT_POLICY + text)
    assert sandbox.run_assay(*arguments, "--policy", str(planned))[0] == 2, "the waiver approves the file"


def test_a_waiver_also_lifts_reasons_that_appear_after_the_first(sandbox: CliSandbox) -> None:
    """The evidence of a file that is too young is not fetched, so `unattested` appears only after `too-young`."""
    policy = STRICT_POLICY + 'min-age = "36000 days"\n'
    sandbox.policy.write_text(policy)
    assert "unattested" not in sandbox.run_assay("explain", "plain")[1]
    status, text = sandbox.run_assay("waive", "plain==1.0", "--reason", "x", "--expires", "1 day", "--append")
    assert (status, text) == (0, "")
    (waiver,) = load_policy(sandbox.policy.read_text(), "policy.toml").waivers
    assert {lift.value for lift in waiver.lifts} == {"attestations", "min-age"}
    assert sandbox.run_assay("explain", "plain")[0] == 0


def test_a_file_whose_forgery_appears_only_after_the_first_reason_gets_no_waiver(
    sandbox: CliSandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    built = wheel("forged", "1.0")
    document = sandbox.sigstore.provenance(built.filename, "0" * 64, WIDGET_SIGNER, LONG_AGO)
    sandbox.index.add(built, upload_time=LONG_AGO, provenance=document)
    sandbox.policy.write_text(STRICT_POLICY + 'min-age = "36000 days"\n')
    before = sandbox.policy.read_text()
    config = ["--config", str(sandbox.directory / "proxy.toml")]
    assert run(["waive", "forged==1.0", "--reason", "x", "--expires", "1 day", "--append", *config]) == 2
    said = capsys.readouterr().err
    assert "no waiver can approve forged-1.0-py3-none-any.whl: [forged] " in said
    assert "if you trust exactly these bytes, add their SHA-256 to the pins of the rule" in said
    assert sandbox.policy.read_text() == before


@pytest.mark.parametrize(
    ("text", "expires"),
    [
        ("2026-12-15", date(2026, 12, 15)),
        ("2026-11-29", date(2026, 11, 29)),
        ("2 weeks", date(2026, 12, 13)),
        ("P3D", date(2026, 12, 2)),
        ("24 hours", date(2026, 11, 30)),
        ("12 hours", datetime(2026, 11, 30, 1, 31, tzinfo=UTC)),
        ("1.5 days", datetime(2026, 12, 1, 1, 31, tzinfo=UTC)),
        ("36500 days", date(2126, 11, 5)),
    ],
)
def test_a_waiver_ends_with_a_day_or_after_a_duration(text: str, expires: date) -> None:
    found = parse_expiry(text, datetime(2026, 11, 29, 13, 30, 1, tzinfo=UTC))
    assert (found, type(found)) == (expires, type(expires))


def test_policy_diff_names_exactly_the_files_that_change(sandbox: CliSandbox) -> None:
    old, new = sandbox.write_file("old.toml", LENIENT_POLICY), sandbox.write_file("new.toml", STRICT_POLICY)
    lock = sandbox.write_lockfile("poetry.lock")
    status, out = sandbox.run_assay("policy", "diff", old, new, "--lockfile", lock, "--json")
    (change,) = json.loads(out)["changes"]
    assert status == 1
    assert (change["filename"], change["old"], change["new"]) == ("plain-1.0-py3-none-any.whl", "approved", "withheld")
    assert "[unattested]" in change["because"]
    status, out = sandbox.run_assay("policy", "diff", new, old, "--lockfile", lock)
    assert (status, out.splitlines()[-1]) == (0, "4 files compared: 0 newly withheld, 1 newly approved")
    assert sandbox.run_assay("policy", "diff", old, old, "--lockfile", lock)[1].startswith("4 files compared: 0 newly")


def test_policy_diff_lists_newly_withheld_files_first(sandbox: CliSandbox) -> None:
    only = '[[rules]]\nname = "not {0}"\nprojects = ["{0}"]\ndeny = "no"\n'
    policies = [
        sandbox.write_file(f"{name}.toml", f"version = 1\n{only.format(name)}{LENIENT_POLICY.partition(chr(10))[2]}")
        for name in ("gadget", "plain")
    ]
    status, out = sandbox.run_assay("policy", "diff", *policies, "--lockfile", sandbox.write_lockfile("uv.lock"))
    assert status == 1
    assert [line.split()[:3] for line in out.splitlines()[1:3]] == [
        ["plain-1.0-py3-none-any.whl", "approved", "withheld"],
        ["gadget-2.0-py3-none-any.whl", "withheld", "approved"],
    ]


def test_policy_diff_without_a_lockfile_compares_everything_ever_seen(sandbox: CliSandbox) -> None:
    old, new = sandbox.write_file("old.toml", LENIENT_POLICY), sandbox.write_file("new.toml", STRICT_POLICY)
    assert sandbox.run_assay("policy", "diff", old, new)[1].startswith("0 files compared"), "nothing was seen yet"
    text = '{"assay-ledger": 1}\n' + "".join(
        json.dumps({"kind": "project", "index": "test", "project": project, "serial": None}) + "\n"
        for project in ("plain", "widget")
    )
    assert sandbox.run_assay("ledger", "import", sandbox.write_file("ledger.txt", text))[0] == 0
    status, out = sandbox.run_assay("policy", "diff", old, new)
    assert (status, out.splitlines()[-1]) == (1, "3 files compared: 1 newly withheld, 0 newly approved")


def test_policy_test_holds_a_policy_to_expectations(sandbox: CliSandbox) -> None:
    sandbox.policy.write_text(STRICT_POLICY)
    good = sandbox.write_file(
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
    status, out = sandbox.run_assay("policy", "test", good)
    assert (status, out.splitlines()[-1]) == (0, "2 expected verdicts: 0 not met, 0 undecided")
    status, out = sandbox.run_assay(
        "policy", "test", good, "--policy", sandbox.write_file("lenient.toml", LENIENT_POLICY)
    )
    assert status == 1
    assert "FAIL  plain 1.0: withheld" in out
    assert "plain-1.0-py3-none-any.whl is approved" in out
    nothing = sandbox.write_file("none.toml", '[[expect]]\nproject = "plain"\nversion = "7"\nverdict = "approved"\n')
    assert sandbox.run_assay("policy", "test", nothing)[0] == 1, "an expectation of no file is not met"
    wrong = sandbox.write_file("wrong.toml", '[[expect]]\nproject = "plain"\nverdict = "approved"\nreason = "denied"\n')
    assert sandbox.run_assay("policy", "test", wrong)[0] == 2


@pytest.mark.parametrize(("count", "ending"), [(5, None), (6, "and 1 more file"), (9, "and 4 more files")])
def test_a_failed_expectation_has_at_most_five_examples(sandbox: CliSandbox, count: int, ending: str | None) -> None:
    for number in range(count):
        sandbox.publish(wheel("many", f"1.{number}"), None)
    expected = sandbox.write_file("expect.toml", '[[expect]]\nproject = "many"\nverdict = "withheld"\n')
    status, out = sandbox.run_assay("policy", "test", expected)
    lines = [line.strip() for line in out.splitlines() if line.startswith("      ")]
    assert status == 1
    assert sum(" is approved: " in line for line in lines) == 5
    assert lines[5:] == ([] if ending is None else [ending])


def test_the_ledger_is_exported_and_imported_as_the_same_text(sandbox: CliSandbox, tmp_path: Path) -> None:
    text = '{"assay-ledger": 3}\n' + json.dumps({"kind": "project", "index": "test", "project": "plain", "serial": 7})
    assert sandbox.run_assay("ledger", "import", sandbox.write_file("in.txt", text + "\n"))[0] == 0
    assert sandbox.run_assay("ledger", "export") == (0, text + "\n")
    assert sandbox.run_assay("ledger", "export", tmp_path / "out.txt")[0] == 0
    assert (tmp_path / "out.txt").read_text() == text + "\n"
    assert sandbox.run_assay("ledger", "import", sandbox.write_file("bad.txt", "what?\n"))[0] == 3
    # A file without line ends is rejected after its first mebibyte; reading a whole line would never end.
    assert sandbox.run_assay("ledger", "import", Path("/dev/zero"))[0] == 3


def _encode_serial(index: str, project: str) -> bytes:
    fact = {"kind": "project", "index": index, "project": project, "serial": 7}
    return json.dumps(fact, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([b'{"kind": "project"}'], "line 2: 'index' is missing"),
        ([_encode_serial("ä", "x"), _encode_serial("t", "x").replace(b"x", b"\xe4")], "line 3: not UTF-8"),
        ([_encode_serial("t", project) for project in "xyx"], "line 4: the lines of project x"),
        ([_encode_serial("ä", project) for project in "xyz"], None),
    ],
    ids=["malformed", "not UTF-8", "not consecutive", "accepted"],
)
@pytest.mark.parametrize("is_file", [True, False])
def test_an_error_of_an_import_names_file_and_line(
    sandbox: CliSandbox, lines: list[bytes], message: str | None, is_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b"".join(line + b"\n" for line in (b'{"assay-ledger": 3}', *lines))
    path = sandbox.directory / "in.txt"
    path.write_bytes(text)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text), encoding="ascii"))
    sandbox.capsys.readouterr()
    options = ["--config", str(sandbox.directory / "proxy.toml")]
    status = run(["ledger", "import", *([str(path)] if is_file else []), *options])
    assert status == (0 if message is None else 3)
    found = f"assay: {path if is_file else 'standard input'}: {message}"
    assert (found in sandbox.capsys.readouterr().err) == (message is not None)


def test_an_export_is_imported_into_a_directory_that_lost_its_ledger(sandbox: CliSandbox, tmp_path: Path) -> None:
    text = '{"assay-ledger": 3}\n' + json.dumps({"kind": "project", "index": "test", "project": "plain", "serial": 7})
    backup = sandbox.write_file("in.txt", text + "\n")
    for part in ("blobs", "records"):
        (tmp_path / "store" / part).mkdir(parents=True)
    assert sandbox.run_assay("ledger", "import", backup)[0] == 3
    assert sandbox.run_assay("explain", "plain")[0] == 3
    assert sandbox.run_assay("ledger", "import", backup, "--new-ledger")[0] == 0
    assert sandbox.run_assay("ledger", "export") == (0, text + "\n")
    assert sandbox.run_assay("explain", "plain")[0] == 0


def test_check_tells_which_waivers_are_over_and_which_soon_will_be(sandbox: CliSandbox) -> None:
    def waiver(expires: str, reason: str) -> str:
        return (
            f'[[waivers]]\nprojects = ["plain"]\nuploaded-before = 2020-01-01\nlifts = ["yanked"]\n'
            f'expires = {expires}\nreason = "{reason}"\n'
        )

    soon = datetime.now(UTC).date().isoformat()
    sandbox.policy.write_text(
        LENIENT_POLICY + waiver("2020-05-01", "long ago") + waiver(soon, "today") + waiver("2999-01-01", "far")
    )
    status, out = sandbox.run_assay("check")
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
            built,
            upload_time=LONG_AGO,
            provenance=sigstore.provenance(built.filename, built.sha256, WIDGET_SIGNER, LONG_AGO),
        )
        chosen = make_configuration(index, store, sigstore, freshness={"page": "36500 days"})
        (tmp_path / "uv.lock").write_text(lockfile_writers.uv_lock([listed]))
        (tmp_path / "proxy.toml").write_text(
            f'[storage]\ndirectory = "store"\n[trust]\nroot = "store-trusted-root.json"\nrefresh = false\n'
            f'[verification]\nworkers = 0\n[freshness]\npage = "36500 days"\n'
            f'[[indexes]]\nname = "test"\nurl = "{index.url}"\n'
        )
        command = ["audit", str(tmp_path / "uv.lock"), "--config", str(tmp_path / "proxy.toml")]
        async with run_test_proxy(index, tmp_path, configuration=chosen, sigstore=sigstore) as proxy:
            assert await proxy.fetch_listed("widget") == {built.filename}
            asked = len(index.requests)
            assert await asyncio.to_thread(run, command) == 0
            assert len(index.requests) == asked
            assert "acme/widget" in capsys.readouterr().out
        # The counterexample: without the proxy's records, the command makes a request.
        await asyncio.to_thread(shutil.rmtree, store / "records")
        assert await asyncio.to_thread(run, command) == 0
        assert len(index.requests) > asked


def test_a_corrected_export_replaces_what_an_import_alone_would_keep(sandbox: CliSandbox) -> None:
    header = '{"assay-ledger": 3}\n'

    def tell(serial: int) -> str:
        return header + json.dumps({"kind": "project", "index": "test", "project": "plain", "serial": serial}) + "\n"

    assert sandbox.run_assay("ledger", "import", sandbox.write_file("wrong.txt", tell(10**12)))[0] == 0
    right = sandbox.write_file("right.txt", tell(7))
    assert sandbox.run_assay("ledger", "import", right)[0] == 0
    assert sandbox.run_assay("ledger", "export") == (0, tell(10**12))
    assert sandbox.run_assay("ledger", "import", right, "--reason", "without the other option")[0] == 2
    status, said = sandbox.run_assay("ledger", "import", right, "--replace", "--reason", "INC-7")
    assert (status, said) == (0, "1 projects imported; 1 statements that earlier facts no longer count\n")
    lines = [json.loads(line) for line in sandbox.run_assay("ledger", "export")[1].splitlines()]
    assert [(line["kind"], line.get("serial"), line.get("found"), line.get("reason")) for line in lines[1:]] == [
        ("project", 7, None, None),
        ("forgotten", None, "1000000000000", "INC-7"),
    ]
    assert sandbox.run_assay("ledger", "import", right, "--replace")[1].endswith(
        "0 statements that earlier facts no longer count\n"
    )
