"""The commands around a policy, over a real index and a private Sigstore."""

from __future__ import annotations

import asyncio
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assay.cli import run
from assay.policy.language.document import load_policy
from tests.world.clients import lockfile_writers
from tests.world.index.distributions import wheel
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
    ("filename", "expires", "policy"),
    [
        ("plain-1.0-py3-none-any.whl", "2999-12-31", LENIENT_POLICY),
        ("plain-9.0-py3-none-any.whl", "2999-12-31", STRICT_POLICY),
        ("plain-1.0-py3-none-any.whl", "2020-01-01", STRICT_POLICY),
        ("plain-1.0-py3-none-any.whl", "soon", STRICT_POLICY),
        ("plain-1.0-py3-none-any.whl", "2999-12-31", LENIENT_POLICY + 'deny = "no"\n'),
    ],
    ids=["approved", "not listed", "over", "no date", "denied"],
)
def test_waive_refuses_what_needs_no_waiver_or_can_have_none(
    sandbox: CliSandbox, filename: str, expires: str, policy: str
) -> None:
    sandbox.policy.write_text(policy)
    assert sandbox.run_assay("waive", filename, "--reason", "why not", "--expires", expires) == (2, "")


def test_policy_diff_names_exactly_the_files_that_change(sandbox: CliSandbox) -> None:
    old, new = sandbox.write_file("old.toml", LENIENT_POLICY), sandbox.write_file("new.toml", STRICT_POLICY)
    lock = sandbox.write_lockfile("poetry.lock")
    status, out = sandbox.run_assay("policy", "diff", old, new, "--lockfile", lock, "--json")
    (change,) = json.loads(out)["changes"]
    assert status == 1
    assert (change["filename"], change["old"], change["new"]) == ("plain-1.0-py3-none-any.whl", "approved", "withheld")
    assert "[unattested]" in change["because"]
    status, out = sandbox.run_assay("policy", "diff", new, old, "--lockfile", lock)
    assert (status, out.splitlines()[-1]) == (0, "4 files compared: 0 would be withheld, 1 would be approved")
    assert sandbox.run_assay("policy", "diff", old, old, "--lockfile", lock)[1].startswith("4 files compared: 0 would")


def test_policy_diff_without_a_lockfile_compares_everything_ever_seen(sandbox: CliSandbox) -> None:
    old, new = sandbox.write_file("old.toml", LENIENT_POLICY), sandbox.write_file("new.toml", STRICT_POLICY)
    assert sandbox.run_assay("policy", "diff", old, new)[1].startswith("0 files compared"), "nothing was seen yet"
    text = '{"assay-ledger": 1}\n' + "".join(
        json.dumps({"kind": "project", "index": "test", "project": project, "serial": None}) + "\n"
        for project in ("plain", "widget")
    )
    assert sandbox.run_assay("ledger", "import", sandbox.write_file("ledger.txt", text))[0] == 0
    status, out = sandbox.run_assay("policy", "diff", old, new)
    assert (status, out.splitlines()[-1]) == (1, "3 files compared: 1 would be withheld, 0 would be approved")


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
    assert (status, out.splitlines()[-1]) == (0, "2 expectations: 0 not met, 0 not decided")
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


def test_the_ledger_is_exported_and_imported_as_the_same_text(sandbox: CliSandbox, tmp_path: Path) -> None:
    text = '{"assay-ledger": 1}\n' + json.dumps({"kind": "project", "index": "test", "project": "plain", "serial": 7})
    assert sandbox.run_assay("ledger", "import", sandbox.write_file("in.txt", text + "\n"))[0] == 0
    assert sandbox.run_assay("ledger", "export") == (0, text + "\n")
    assert sandbox.run_assay("ledger", "export", tmp_path / "out.txt")[0] == 0
    assert (tmp_path / "out.txt").read_text() == text + "\n"
    assert sandbox.run_assay("ledger", "import", sandbox.write_file("bad.txt", "what?\n"))[0] == 3


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
        chosen = make_configuration(index, store, sigstore, freshness={"page": "365000 days"})
        (tmp_path / "uv.lock").write_text(lockfile_writers.uv_lock([listed]))
        (tmp_path / "proxy.toml").write_text(
            f'[storage]\ndirectory = "store"\n[trust]\nroot = "store-trusted-root.json"\nrefresh = false\n'
            f'[verification]\nworkers = 0\n[freshness]\npage = "365000 days"\n'
            f'[[indexes]]\nname = "test"\nurl = "{index.url}"\n'
        )
        command = ["audit", str(tmp_path / "uv.lock"), "--config", str(tmp_path / "proxy.toml")]
        async with run_test_proxy(index, tmp_path, configuration=chosen, sigstore=sigstore) as proxy:
            assert await proxy.fetch_listed("widget") == {built.filename}
            asked = len(index.requests)
            assert await asyncio.to_thread(run, command) == 0
            assert len(index.requests) == asked
            assert "acme/widget" in capsys.readouterr().out
        # The twin: without the proxy's records it asks.
        await asyncio.to_thread(shutil.rmtree, store / "records")
        assert await asyncio.to_thread(run, command) == 0
        assert len(index.requests) > asked
