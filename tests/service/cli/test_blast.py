"""Command ``assay blast``: the clients that received files of a stolen publisher, from the audit trail alone."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from assay.cli import run
from assay.evidence import PUBLISH_PREDICATE_TYPE
from assay.publishers.base import PublisherKind
from assay.publishers.registry import PUBLISHER_KINDS
from assay.telemetry.audit_chain import list_parts
from tests.unit.publishers.factories import make_claims
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import ABSENT, Index
from tests.world.proxy.running_proxy import make_configuration, run_test_proxy
from tests.world.sigstore.bundles import make_bundle
from tests.world.sigstore.private_sigstore import GitHub, PrivateSigstore

POLICY = 'version = 1\n[[rules]]\nname = "all"\nprojects = ["*"]\nratchet = "off"\n'
VICTIM = GitHub(repository="victim/project", repository_id="42")
OTHER = GitHub(repository="other/project")


def june(day: int) -> datetime:
    return datetime(2026, 6, day, 12, tzinfo=UTC)


async def trail(tmp_path: Path) -> Path:
    """Return an audit trail with downloads of files that the victim signed on June 1st, 3rd (downloaded twice) and 5th.

    A file of another publisher, signed on June 3rd, was downloaded too.
    """
    sigstore, path = PrivateSigstore(), tmp_path / "audit.jsonl"
    async with Index() as index:
        chosen = make_configuration(index, tmp_path / "assay", sigstore, audit={"path": str(path)})
        async with run_test_proxy(index, tmp_path, policy=POLICY, configuration=chosen) as proxy:
            for project, day, signer in [
                ("early", 1, VICTIM),
                ("stolen", 3, VICTIM),
                ("late", 5, VICTIM),
                ("foreign", 3, OTHER),
            ]:
                built = wheel(project, "1.0")
                document = sigstore.provenance(built.filename, built.sha256, signer, june(day))
                listed = index.add(built, upload_time=june(day), provenance=document)
                assert (await proxy.get(proxy.files_path(listed))).status == 200
                if project == "stolen":
                    await proxy.get(f"{proxy.files_path(listed)}.metadata")
                    assert (await proxy.get(proxy.files_path(listed))).status == 200
    return path


def blast(path: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    status = run(["blast", *arguments, "--trail", str(path), "--json"])
    out = capsys.readouterr().out
    return status, json.loads(out) if out else None


async def test_it_names_what_was_signed_in_the_window_by_that_publisher_and_who_has_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = await trail(tmp_path)

    async def told(*arguments: str) -> tuple[int, dict[str, int]]:
        status, hits = await asyncio.to_thread(blast, path, capsys, *arguments)
        assert {hit["client"] for hit in hits} <= {"127.0.0.1"}
        return status, {hit["project"]: hit["times"] for hit in hits}

    window = ("--since", "2026-06-02", "--until", "2026-06-04")
    assert await told("GitHub:victim/project", *window) == (1, {"stolen": 2})
    assert await told("GitHub:victim/project", "--since", "2026-06-02") == (1, {"stolen": 2, "late": 1})
    assert await told('{ kind = "GitHub", repository_id = "42" }', "--since", "2026-06-01T13:00:00+00:00") == (
        1,
        {"stolen": 2, "late": 1},
    )
    assert await told("GitHub:somebody/else", *window) == (0, {})
    assert await told("GitHub:victim/project", "--since", "2026-07-01") == (0, {})


async def test_a_publisher_that_only_scanned_a_file_did_not_sign_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sigstore, path, built = PrivateSigstore(), tmp_path / "audit.jsonl", wheel("widget", "1.0")
    policy = f'{POLICY}publishers = [{{ kind = "GitHub", repository = "{OTHER.repository}" }}]\n'
    predicates = {OTHER: PUBLISH_PREDICATE_TYPE, VICTIM: "https://example.com/scan/v1"}
    bundles = [
        make_bundle(sigstore.attestation(built.filename, built.sha256, signer, june(3), predicate_type=predicate))
        for signer, predicate in predicates.items()
    ]
    (tmp_path / "reviews").mkdir()
    (tmp_path / "reviews" / f"{built.sha256}.jsonl").write_text("\n".join(json.dumps(each) for each in bundles))
    async with Index() as index:
        listed = index.add(built, upload_time=june(3))
        evidence = [{"name": "reviews", "kind": "files", "path": str(tmp_path / "reviews")}]
        audited = {"path": str(path)}
        chosen = make_configuration(index, tmp_path / "assay", sigstore, audit=audited, evidence=evidence)
        async with run_test_proxy(index, tmp_path, policy=policy, configuration=chosen) as proxy:
            assert (await proxy.get(proxy.files_path(listed))).status == 200
    (entry,) = [json.loads(line) for line in path.read_text().splitlines() if built.filename in line]
    assert [each["predicate"] for each in entry["attestations"]] == list(predicates.values())
    for signer, expected in ((VICTIM, 0), (OTHER, 1)):
        arguments = (f"GitHub:{signer.repository}", "--since", "2026-06-01")
        assert (await asyncio.to_thread(blast, path, capsys, *arguments))[0] == expected


async def test_a_trail_that_was_changed_is_no_all_clear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = await trail(tmp_path)

    def cut() -> tuple[int, Any]:
        (only,) = list_parts(path)
        lines = only.read_bytes().splitlines(keepends=True)
        only.write_bytes(b"".join(line for line in lines if b'"stolen' not in line))
        return blast(path, capsys, "GitHub:victim/project", "--since", "2026-06-02", "--until", "2026-06-04")

    assert await asyncio.to_thread(cut) == (3, [])


@pytest.mark.parametrize(
    ("more", "rule", "expected"),
    [
        ({"entry": {"provenance": ABSENT}}, "", 3),
        ({}, 'pins = ["{sha256}"]', 3),
        ({}, "", 0),
    ],
    ids=["index says nothing", "not examined", "unattested"],
)
async def test_a_served_file_of_unknown_publisher_is_no_all_clear(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: dict[str, Any], rule: str, expected: int
) -> None:
    path, built = tmp_path / "audit.jsonl", wheel("plain", "1.0")
    policy = POLICY + rule.format(sha256=built.sha256)
    async with Index() as index:
        listed = index.add(built, upload_time=june(1), **more)
        chosen = make_configuration(index, tmp_path / "assay", audit={"path": str(path)})
        async with run_test_proxy(index, tmp_path, policy=policy, configuration=chosen) as proxy:
            for _ in range(2):
                assert (await proxy.get(proxy.files_path(listed))).status == 200

    def told(since: str) -> tuple[int, str]:
        status = run(["blast", "GitHub:victim/project", "--since", since, "--trail", str(path)])
        return status, capsys.readouterr().err

    status, shown = await asyncio.to_thread(told, "2026-06-01")
    assert status == expected
    assert ("1 served files have an unknown publisher" in shown) == (expected == 3)
    assert (built.filename in shown) == (expected == 3)
    assert (await asyncio.to_thread(told, "2026-09-01"))[0] == 0, "the twin: it was served before the window"


@pytest.mark.parametrize("kind", PUBLISHER_KINDS, ids=lambda kind: kind.name)
def test_a_publisher_of_any_kind_is_named_by_kind_and_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: PublisherKind
) -> None:
    path = tmp_path / "audit.jsonl"
    path.touch()
    name = getattr(make_claims(kind), kind.name_claim)
    for spelled in (kind.name, kind.name.lower(), kind.name.upper()):
        assert blast(path, capsys, f"{spelled}:{name}", "--since", "2026-06-02") == (0, [])


@pytest.mark.parametrize(
    "arguments",
    [
        ("nobody", "--since", "2026-06-02"),
        ("GitHub:", "--since", "2026-06-02"),
        ('{ kind = "GitHub", workflow = "x.yml" }', "--since", "2026-06-02"),
        ("GitHub:a/b", "--since", "yesterday"),
        ("GitHub:a/b", "--since", "2026-06-02T12:00:00"),
    ],
)
def test_a_publisher_or_time_that_says_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert blast(tmp_path / "none.jsonl", capsys, *arguments) == (2, None)
