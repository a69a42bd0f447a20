"""Tests of a running proxy whose evidence comes from GitHub's attestation store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from assay.assembly import Tuning
from assay.cli.verdicts import summarize_evidence, verdict_json
from assay.policy.language.document import load_policy
from assay.provenance.sources.github.api import GitHubTiming
from assay.simple.model import NormalizedName
from tests.world.github.attestation_store import AttestationStore
from tests.world.index.distributions import BuiltDistribution, sdist, wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.index.faulty_server import Hang, Reply
from tests.world.proxy.running_proxy import NOW, RunningProxy, make_configuration, run_test_proxy
from tests.world.sigstore.bundles import make_bundle
from tests.world.sigstore.private_sigstore import (
    SIGNING_TIME,
    SLSA_PREDICATE,
    GitHub,
    PrivateSigstore,
    make_slsa_predicate,
)

SIGSTORE = PrivateSigstore(seed=1)
ACME = GitHub(repository="acme/widget")
POLICY = """
version = 1
[defaults]
min-age = "0 days"
[[rules]]
name = "signed by acme"
projects = ["widget", "gadget"]
publishers = [{ kind = "GitHub", repository = "Acme/Widget" }]
[[rules]]
name = "the rest"
projects = ["*"]
attestations = "required"
publishers = "any"
"""
FAST = Tuning(github=GitHubTiming(retry_pause_seconds=0.001, gather_seconds=0.001))


def bundle(built: BuiltDistribution, signer: GitHub = ACME, **changes: Any) -> dict[str, Any]:
    """Return a bundle about a distribution; the keywords are those of `PrivateSigstore.attestation`."""
    chosen = {"predicate_type": SLSA_PREDICATE, "predicate": make_slsa_predicate(signer), **changes}
    return make_bundle(
        SIGSTORE.attestation(
            chosen.pop("filename", built.filename), chosen.pop("sha256", built.sha256), signer, **chosen
        )
    )


@asynccontextmanager
async def run_proxy(
    index: Index, github: AttestationStore, directory: Path, policy: str = POLICY, **keys: Any
) -> AsyncIterator[RunningProxy]:
    evidence = [github.settings(**keys)]
    configuration = make_configuration(index, directory / "assay", SIGSTORE, evidence=evidence)
    async with run_test_proxy(
        index, directory, policy=policy, sigstore=SIGSTORE, configuration=configuration, tuning=FAST
    ) as proxy:
        yield proxy


def add(index: Index, built: BuiltDistribution, **keys: Any) -> ListedFile:
    return index.add(built, upload_time=SIGNING_TIME, **keys)


@pytest.mark.parametrize("bundles", ["inline", "url"])
@pytest.mark.parametrize("page_size", [100, 1])
async def test_a_project_without_provenance_is_approved_through_github(
    tmp_path: Path, bundles: Any, page_size: int
) -> None:
    built = wheel("widget", "1.0")
    async with Index() as index, AttestationStore() as github:
        github.bundles, github.page_size = bundles, page_size
        listed = add(index, built)
        scan = bundle(built, predicate_type="https://acme.example/scan/v1", predicate={"verdict": "ok"})
        github.add("acme/widget", built.sha256, scan, bundle(built))
        async with run_proxy(index, github, tmp_path) as proxy:
            assert await proxy.fetch_listed("widget") == {built.filename}
            assert (await proxy.get(proxy.files_path(listed))).status == 200
            await proxy.get("/simple/widget/")
        assert [each.path for each in github.requests] == [f"/repos/acme/widget/attestations/sha256:{built.sha256}"] * (
            1 if page_size == 100 else 2
        )
        assert {each.headers["x-github-api-version"] for each in github.requests} == {"2022-11-28"}
        assert len(github.downloads) == (0 if bundles == "inline" else 2)


async def test_what_github_said_is_recorded(tmp_path: Path) -> None:
    built = wheel("widget", "1.0")
    async with Index() as index, AttestationStore() as github:
        add(index, built)
        github.add("acme/widget", built.sha256, bundle(built))
        async with run_proxy(index, github, tmp_path) as proxy:
            assert await proxy.fetch_listed("widget") == {built.filename}
        await github.api.down()
        async with run_proxy(index, github, tmp_path) as proxy:
            assert await proxy.fetch_listed("widget") == {built.filename}
        assert len(github.requests) == 1


@pytest.mark.parametrize("bulk_form", ["object", "list"])
@pytest.mark.parametrize("users", [set[str](), {"acme"}])
@pytest.mark.parametrize("page_size", [100, 2])
async def test_many_digests_of_one_owner_are_requested_in_bulk(
    tmp_path: Path, bulk_form: Any, users: set[str], page_size: int
) -> None:
    built = [wheel("widget", f"1.{number}") for number in range(5)]
    async with Index() as index, AttestationStore() as github:
        github.bulk_form, github.users, github.page_size = bulk_form, users, page_size
        for each in built:
            add(index, each)
        for each in built[:4]:
            github.add("acme/widget", each.sha256, bundle(each))
        async with run_proxy(index, github, tmp_path) as proxy:
            assert await proxy.fetch_listed("widget") == {each.filename for each in built[:4]}
            assert await proxy.fetch_withheld("widget") == {built[4].filename: ["unattested"]}
        assert {each.method for each in github.requests} == {"POST"}
        assert len(github.requests) <= 3
        assert github.list_asked_digests() == {each.sha256 for each in built}


OTHER = wheel("widget", "9.9")
_FIRST = wheel("widget", "1.0")
WITHHELD: dict[str, tuple[list[dict[str, Any]], str]] = {
    "no bundle": ([], "unattested"),
    "by another repository": ([bundle(_FIRST, GitHub(repository="evil/widget"))], "publisher"),
    "of another digest": ([bundle(_FIRST, sha256=OTHER.sha256)], "unattested"),
    "under another name": ([bundle(_FIRST, filename=OTHER.filename)], "unverifiable"),
    "of another predicate": ([bundle(_FIRST, predicate_type="https://spdx.dev/Document", predicate={})], "unattested"),
    "tampered": ([{**bundle(_FIRST), "dsseEnvelope": bundle(OTHER)["dsseEnvelope"]}], "unattested"),
}


@pytest.mark.parametrize("case", WITHHELD)
async def test_a_bundle_that_does_not_count_leaves_the_file_withheld(tmp_path: Path, case: str) -> None:
    bundles, code = WITHHELD[case]
    async with Index() as index, AttestationStore() as github:
        add(index, _FIRST)
        github.add("acme/widget", _FIRST.sha256, *bundles)
        async with run_proxy(index, github, tmp_path) as proxy:
            assert await proxy.fetch_withheld("widget") == {_FIRST.filename: [code]}
            page = await proxy.fetch_page("widget")
            assert "github" in page["_withheld"][0]["reasons"][0]["message"], "the reason names the source"
    async with Index() as index, AttestationStore() as github:  # the accepted twin: a good bundle beside it
        add(index, _FIRST)
        github.add("acme/widget", _FIRST.sha256, *bundles, bundle(_FIRST))
        (tmp_path / "twin").mkdir()
        async with run_proxy(index, github, tmp_path / "twin") as proxy:
            assert await proxy.fetch_listed("widget") == {_FIRST.filename}


async def test_only_files_that_need_github_wait_for_it(tmp_path: Path) -> None:
    own, foreign = wheel("widget", "1.0"), wheel("widget", "2.0")
    async with Index() as index, AttestationStore() as github:
        listed = add(index, own, provenance=SIGSTORE.provenance(own.filename, own.sha256, ACME))
        needing = add(index, foreign)
        github.add("acme/widget", foreign.sha256, bundle(foreign))
        await github.api.down()
        async with run_proxy(index, github, tmp_path) as proxy:
            assert (await proxy.get(proxy.files_path(listed))).status == 200
            answer = await proxy.get(proxy.files_path(needing))
            assert answer.status == 424
            assert "evidence-unavailable" in answer.reason
            assert "github" in answer.body.decode()
            await github.api.up()
            proxy.clock.now += timedelta(minutes=1, seconds=1)
            assert (await proxy.get(proxy.files_path(needing))).status == 200
        assert github.list_asked_digests() == {foreign.sha256}, "the other file needs no answer"


@pytest.mark.parametrize(
    "fault",
    [Reply(500), Reply(502), Reply(401), Reply(403), Reply(418), Reply(200, body=b"<html>"), Reply(200, body=b"[]")],
    ids=["500", "502", "401", "403", "418", "html", "list"],
)
async def test_an_unusable_answer_of_github_is_no_statement_about_the_file(tmp_path: Path, fault: Reply) -> None:
    built = wheel("widget", "1.0")
    async with Index() as index, AttestationStore() as github:
        listed = add(index, built)
        github.add("acme/widget", built.sha256, bundle(built))
        github.api.inject_fault("*", fault, None, None)
        async with run_proxy(index, github, tmp_path) as proxy:
            assert (await proxy.get(proxy.files_path(listed))).status == 424
            assert await proxy.fetch_withheld("widget") == {}
            github.api.clear_faults(None)
            proxy.clock.now += timedelta(minutes=1, seconds=1)
            assert (await proxy.get(proxy.files_path(listed))).status == 200


@pytest.mark.parametrize("retry_after", [None, 1800])
async def test_rate_limits_are_obeyed(tmp_path: Path, retry_after: int | None) -> None:
    first, second = wheel("widget", "1.0"), wheel("gadget", "1.0")
    async with Index() as index, AttestationStore() as github:
        listed = [add(index, each) for each in (first, second)]
        for each in (first, second):
            github.add("acme/widget", each.sha256, bundle(each))
        github.limit_rate(0, NOW + timedelta(minutes=30))
        github.retry_after = retry_after
        async with run_proxy(index, github, tmp_path) as proxy:
            assert (await proxy.get(proxy.files_path(listed[0]))).status == 424
            assert len(github.requests) == 1
            answer = await proxy.get(proxy.files_path(listed[1]))
            assert answer.status == 424
            assert "rate limit" in answer.body.decode()
            proxy.clock.now += timedelta(minutes=29)
            assert (await proxy.get(proxy.files_path(listed[0]))).status == 424
            assert len(github.requests) == 1, "no request before the reset"
            github.limit_rate(None)
            proxy.clock.now += timedelta(minutes=2)
            for file in listed:
                assert (await proxy.get(proxy.files_path(file))).status == 200


async def test_the_token_goes_to_the_api_and_to_no_other_host(tmp_path: Path) -> None:
    built = wheel("widget", "1.0")
    token = tmp_path / "token"
    token.write_text("secret\n")
    async with Index() as index, AttestationStore() as github:
        listed = add(index, built)
        github.bundles, github.token = "url", "secret"
        github.add("acme/widget", built.sha256, bundle(built))
        async with run_proxy(index, github, tmp_path, **{"token-file": str(token)}) as proxy:
            assert (await proxy.get(proxy.files_path(listed))).status == 200
        assert [each.headers.get("authorization") for each in github.requests] == ["Bearer secret"]
        assert len(github.downloads) == 1
        assert not any("authorization" in each.headers for each in github.downloads)


@pytest.mark.parametrize(
    ("blob", "hosts"),
    [(b"\xff\xff\xff\xff\x0f" + b"\xfe\x01\x00" * 100, None), (b"\x10truncated", None), (None, ["blobs.example"])],
    ids=["too large", "truncated", "another host"],
)
async def test_a_bundle_that_cannot_be_downloaded_makes_the_file_unavailable(
    tmp_path: Path, blob: bytes | None, hosts: list[str] | None
) -> None:
    built = wheel("widget", "1.0")
    async with Index() as index, AttestationStore() as github:
        listed = add(index, built)
        github.bundles = "url"
        github.add("acme/widget", built.sha256, bundle(built) if blob is None else blob)
        keys: dict[str, Any] = {} if hosts is None else {"bundle-hosts": hosts}
        async with run_proxy(index, github, tmp_path, **keys) as proxy:
            assert (await proxy.get(proxy.files_path(listed))).status == 424
        assert len(github.downloads) == (1 if hosts is None else 0)


@pytest.mark.parametrize("fault", ["blob", "host", "count", "size"])
async def test_unusable_bundles_of_one_file_in_a_bulk_listing_concern_that_file_alone(
    tmp_path: Path, fault: str
) -> None:
    built = [wheel("widget", f"1.{number}") for number in range(5)]
    async with Index() as index, AttestationStore() as github:
        listed = [add(index, each) for each in built]
        for each in built[1:]:
            github.add("acme/widget", each.sha256, bundle(each))
        match fault:
            case "blob":
                github.bundles = "url"
                github.add("acme/other", built[0].sha256, bundle(built[0]), b"\x10truncated")
            case "size":  # each bundle is within the limit, and all together are not
                github.bundles = "url"
                large = {**bundle(built[0]), "more": "x" * 1_000_000}
                github.add("acme/other", built[0].sha256, *[large] * 10)
            case "host":
                github.add("acme/other", built[0].sha256, {})
                github.page_size = 2
            case _:
                github.add("acme/other", built[0].sha256, *[bundle(built[0])] * 201)
        async with run_proxy(index, github, tmp_path) as proxy:
            assert [(await proxy.get(proxy.files_path(each))).status for each in listed] == [424, 200, 200, 200, 200]
        assert {each.method for each in github.requests} == {"POST"}


NAMED = """
version = 1
[defaults]
min-age = "0 days"
attestations = "required"
publishers = "any"
[[rules]]
name = "named"
projects = ["widget"]
publishers = [{ kind = "GitHub", repository = "acme/widget" }, { kind = "GitHub", repository = "acme/w*" }]
[[rules]]
name = "other issuer"
projects = ["enterprise"]
publishers = [{ kind = "GitHub", issuer = "https://ghe.example/_services/token", repository = "acme/enterprise" }]
[[rules]]
name = "pattern"
projects = ["pattern", "configured-pattern"]
publishers = [{ kind = "GitHub", repository = "acme/*" }]
[[rules]]
name = "only the index"
projects = ["index-only"]
publishers = [{ kind = "GitHub", repository = "acme/index-only" }]
evidence = ["index"]
[[rules]]
name = "young"
projects = ["young"]
publishers = [{ kind = "GitHub", repository = "acme/young" }]
min-age = "900 days"
[[rules]]
name = "anything"
projects = ["anything"]
attestations = "required"
[[rules]]
name = "denied"
projects = ["denied"]
publishers = [{ kind = "GitHub", repository = "acme/denied" }]
deny = "no"
[[rules]]
name = "the rest"
projects = ["*"]
"""


async def test_digests_go_to_github_only_for_repositories_that_a_rule_or_a_setting_names(
    tmp_path: Path,
) -> None:
    names = (
        *("widget", "enterprise", "pattern", "configured-pattern", "index-only"),
        *("young", "anything", "configured", "denied", "attested"),
    )
    built = {name: wheel(name.replace("-", "_"), "1.0") for name in names}
    async with Index() as index, AttestationStore() as github:
        for name, each in built.items():
            proof = SIGSTORE.provenance(each.filename, each.sha256, ACME) if name == "attested" else None
            add(index, each, **({} if proof is None else {"provenance": proof}))
        repositories = {
            "configured": "acme/configured",
            "Configured.Pattern": "acme/pattern",
            "attested": "acme/attested",
            "denied": "acme/denied",
        }
        async with run_proxy(index, github, tmp_path, NAMED, repositories=repositories) as proxy:
            for name in names:
                await proxy.get(f"/simple/{name}/")
        asked = {each.path.split("/attestations/")[0]: each.path.rpartition(":")[2] for each in github.requests}
        assert asked == {
            "/repos/acme/widget": built["widget"].sha256,
            "/repos/acme/pattern": built["configured-pattern"].sha256,
            "/repos/acme/configured": built["configured"].sha256,
        }
        assert len(github.requests) == 3


async def test_a_missing_bundle_is_requested_again_after_an_hour(tmp_path: Path) -> None:
    built = sdist("widget", "1.0")
    async with Index() as index, AttestationStore() as github:
        add(index, built)
        async with run_proxy(index, github, tmp_path) as proxy:
            assert await proxy.fetch_withheld("widget") == {built.filename: ["unattested"]}
            github.add("acme/widget", built.sha256, bundle(built))
            proxy.clock.now += timedelta(minutes=50)
            assert await proxy.fetch_withheld("widget") == {built.filename: ["unattested"]}
            assert len(github.requests) == 1
            proxy.clock.now += timedelta(minutes=11)
            await proxy.get("/simple/widget/")
            assert await proxy.fetch_listed("widget") == {built.filename}
            assert len(github.requests) == 2


async def test_two_views_ask_about_their_own_repositories(tmp_path: Path) -> None:
    built = wheel("widget", "1.0")
    other = POLICY.replace("Acme/Widget", "acme/other")
    async with Index() as index, AttestationStore() as github:
        add(index, built)
        github.add("acme/other", built.sha256, bundle(built, GitHub(repository="acme/other")))
        (tmp_path / "other.toml").write_text(other)
        configuration = make_configuration(
            index,
            tmp_path / "assay",
            SIGSTORE,
            evidence=[github.settings()],
            views=[{"name": "other", "path": "/other/", "policy": str(tmp_path / "other.toml")}],
        )
        async with run_test_proxy(
            index,
            tmp_path,
            policy=POLICY,
            policies={"other": load_policy(other, "other.toml")},
            configuration=configuration,
            tuning=FAST,
        ) as proxy:
            assert await proxy.fetch_withheld("widget") == {built.filename: ["unattested"]}
            assert await proxy.at_path("/other/").fetch_listed("widget") == {built.filename}
            assert await proxy.fetch_withheld("widget") == {built.filename: ["unattested"]}
        assert {each.path.split("/")[3] for each in github.requests} == {"widget", "other"}


async def test_in_audit_mode_github_delays_no_file(tmp_path: Path) -> None:
    built = wheel("widget", "1.0")
    async with Index() as index, AttestationStore() as github:
        listed = add(index, built)
        github.api.inject_fault("*", Reply(500), None, None)
        async with run_proxy(
            index, github, tmp_path, POLICY.replace("version = 1", 'version = 1\nmode = "audit"')
        ) as proxy:
            assert (await proxy.get(proxy.files_path(listed))).status == 200


async def test_a_github_that_hangs_delays_no_other_file(tmp_path: Path) -> None:
    own, foreign = wheel("widget", "1.0"), wheel("widget", "2.0")
    async with Index() as index, AttestationStore() as github:
        listed = add(index, own, provenance=SIGSTORE.provenance(own.filename, own.sha256, ACME))
        needing = add(index, foreign)
        github.api.inject_fault("*", Hang(), None, None)
        configuration = make_configuration(index, tmp_path / "assay", SIGSTORE, evidence=[github.settings()])
        async with run_test_proxy(
            index,
            tmp_path,
            policy=POLICY,
            configuration=configuration,
            tuning=FAST,
            patience=timedelta(seconds=0.4),
        ) as proxy:
            async with asyncio.timeout(10):
                while (response := await proxy.get(proxy.files_path(listed))).status == 503:
                    pass  # a slow machine may need more than one patience to verify the file
            assert response.status == 200
            assert (await proxy.get(proxy.files_path(needing))).status == 503


async def test_page_json_and_audit_trail_name_the_source(tmp_path: Path) -> None:
    own, foreign = wheel("widget", "1.0"), wheel("widget", "2.0")
    async with Index() as index, AttestationStore() as github:
        listed = [
            add(index, own, provenance=SIGSTORE.provenance(own.filename, own.sha256, ACME)),
            add(index, foreign),
        ]
        github.add("acme/widget", foreign.sha256, bundle(foreign))
        trail = tmp_path / "trail"
        configuration = make_configuration(
            index, tmp_path / "assay", SIGSTORE, evidence=[github.settings()], audit={"path": str(trail)}
        )
        async with run_test_proxy(index, tmp_path, policy=POLICY, configuration=configuration, tuning=FAST) as proxy:
            for each in listed:
                assert (await proxy.get(proxy.files_path(each))).status == 200
            shown = (await proxy.get("/project/widget", {"Accept": "text/html"})).body.decode()
            judged = await proxy.assembly.gate.get_page(NormalizedName("widget"))
        assert "<dt>evidence from</dt><dd>github</dd>" in shown.replace("\n", "")
        verdicts = {each.file.filename: each for each in judged.verdicts}
        assert summarize_evidence(verdicts[foreign.filename].evidence) == "acme/widget, from github"
        assert summarize_evidence(verdicts[own.filename].evidence) == "acme/widget"
        assert verdict_json(verdicts[foreign.filename])["evidence"]["attestations"][0]["source"] == "github"
        lines = [json.loads(line) for file in sorted(trail.parent.glob("trail*")) for line in read_lines(file)]
        sources = {each["filename"]: each["attestations"][0]["source"] for each in lines if each["event"] == "served"}
        assert sources == {own.filename: "index", foreign.filename: "github"}


def read_lines(path: Path) -> list[str]:
    files = [path] if path.is_file() else sorted(path.iterdir())
    return [line for file in files for line in file.read_text().splitlines()]
