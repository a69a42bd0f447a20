"""Commands that judge (`explain`, `audit`) know the stored advisories, while no proxy runs."""

from __future__ import annotations

import json

import pytest

from tests.world.advisories.feeds import make_zip
from tests.world.advisories.records import make_affected, make_record
from tests.world.advisories.snapshots import malware
from tests.world.proxy.cli_sandbox import LENIENT_POLICY, CliSandbox

RECORDS = (
    malware("gadget", "2.0"),
    make_record("GHSA-1", make_affected("widget", versions=["1.0"]), summary="Widgets\x1b leak"),
    malware("plain", "9.9", record="MAL-2026-2"),
)


@pytest.fixture
def advised(sandbox: CliSandbox) -> CliSandbox:
    (sandbox.directory / "all.zip").write_bytes(make_zip(*RECORDS))
    path = sandbox.directory / "proxy.toml"
    path.write_text(f'{path.read_text()}ecosystem = "PyPI"\n[[advisories]]\nname = "osv"\nurl = "all.zip"\n')
    assert sandbox.run_assay("advisories", "refresh")[0] == 0
    return sandbox


def test_explain_shows_malware_as_the_reason_and_other_records_below(advised: CliSandbox) -> None:
    status, text = advised.run_assay("explain", "gadget")
    assert status == 1
    for part in ("[malicious]", "MAL-2026-1", "https://osv.dev/vulnerability/MAL-2026-1"):
        assert part in text
    status, text = advised.run_assay("explain", "widget")
    assert status == 0
    for part in ("GHSA-1", "vulnerability", r"Widgets\x1b leak", "https://osv.dev/vulnerability/GHSA-1"):
        assert part in text
    status, text = advised.run_assay("explain", "plain")
    assert (status, "MAL-2026-2" in text) == (0, False)


def test_the_json_of_explain_has_the_advisories(advised: CliSandbox) -> None:
    _, text = advised.run_assay("explain", "gadget", "--json")
    found = json.loads(text)
    assert [(each["id"], each["malware"], each["versions"]) for each in found["advisories"]] == [
        ("MAL-2026-1", True, ["2.0"])
    ]
    assert [reason["code"] for each in found["files"] for reason in each["reasons"]] == ["malicious"]


def test_the_policy_decides_what_counts_and_what_is_shown(advised: CliSandbox) -> None:
    advised.policy.write_text(f'advisories = "off"\nmalware = "note"\n{LENIENT_POLICY}')
    status, text = advised.run_assay("explain", "gadget")
    assert (status, "despite [malicious]" in text) == (0, True)
    assert "GHSA-1" not in advised.run_assay("explain", "widget")[1]


def test_audit_withholds_malware(advised: CliSandbox) -> None:
    status, text = advised.run_assay("audit", advised.write_lockfile("requirements.txt"))
    assert (status, "malicious" in text) == (1, True)
