"""Tests of ``/attestations/{sha256}``: the verified bundles about a file, for programs that verify them again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.service.provenance.test_files import FAST, reviews, seen, write
from tests.unit.policy.factories import a_file
from tests.world.github.attestation_store import AttestationStore
from tests.world.index.distributions import BuiltDistribution, wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy
from tests.world.proxy.views_world import CLOSED_POLICY
from tests.world.sigstore.bundles import BUNDLE_MEDIA_TYPES, make_bundle
from tests.world.sigstore.key_bundles import ReviewKey
from tests.world.sigstore.private_sigstore import SIGNING_TIME, GitHub, PrivateSigstore
from tests.world.sigstore.reference_verifier import is_bundle_accepted

__all__ = ["reviews"]

SIGSTORE = PrivateSigstore(seed=1)
ACME = GitHub(repository="acme/widget")
REVIEWER = GitHub(repository="acme/reviews")
REVIEW = "https://acme.example/review/v1"
WIDGET = wheel("widget", "1.0")
OPEN = 'version = 1\n[defaults]\nmin-age = "0 days"\n[[rules]]\nname = "open"\nprojects = ["*"]\n'
REQUIRED = f'{OPEN}attestations = "required"\npublishers = "any"\n'
BY_KEY = f'{{ key = "security", predicate = "{REVIEW}" }}'
BY_REVIEWER = f'{{ kind = "GitHub", repository = "acme/reviews", predicate = "{REVIEW}" }}'
REVIEWED = f"{REQUIRED}countersigned = [{BY_KEY}, {BY_REVIEWER}]\n"
VIEWS = [{"name": "strict", "path": "/strict/"}]


def path(sha256: str, project: str | None = "widget") -> str:
    return f"/attestations/{sha256}" + ("" if project is None else f"?project={project}")


def is_accepted(bundle: Any, built: BuiltDistribution) -> bool:
    """Return whether the sigstore library accepts a bundle for a distribution."""
    file = a_file(filename=built.filename, sha256=built.sha256)
    return is_bundle_accepted(json.dumps(bundle).encode(), file, SIGSTORE.trusted_root())


def publish(index: Index, built: BuiltDistribution, signer: GitHub | None = ACME) -> ListedFile:
    document = None if signer is None else SIGSTORE.provenance(built.filename, built.sha256, signer)
    return index.add(built, upload_time=SIGNING_TIME, provenance=document)


@asynccontextmanager
async def run_with_views(index: Index, directory: Path) -> AsyncIterator[RunningProxy]:
    """Run a proxy whose view at ``/`` requires attestations, and whose view ``strict`` lists nothing."""
    configuration = make_configuration(index, directory / "assay", SIGSTORE, views=VIEWS)
    policies = {"default": REQUIRED, "strict": CLOSED_POLICY}
    async with run_test_proxy(index, directory, policies=policies, configuration=configuration) as proxy:
        yield proxy


async def test_the_bundles_of_all_sources_are_listed_and_sigstore_accepts_them(reviews: Path) -> None:
    key = ReviewKey("security")
    (reviews.parent / "security.pub").write_bytes(key.pem)
    (reviews.parent / "root.json").write_bytes(SIGSTORE.trusted_root())
    review = make_bundle(
        SIGSTORE.attestation(WIDGET.filename, WIDGET.sha256, REVIEWER, predicate_type=REVIEW, predicate={"ok": True})
    )
    own = make_bundle(SIGSTORE.attestation(WIDGET.filename, WIDGET.sha256, ACME), "0.2")
    forged = make_bundle(SIGSTORE.attestation(WIDGET.filename, WIDGET.sha256, ACME))
    forged["dsseEnvelope"]["signatures"] = review["dsseEnvelope"]["signatures"]
    by_key = key.bundle(WIDGET.filename, WIDGET.sha256, REVIEW, {"verdict": "ok"})
    unknown = ReviewKey("other").bundle(WIDGET.filename, WIDGET.sha256, REVIEW, {"verdict": "ok"})
    lines = [json.dumps(each) for each in (forged, own, by_key, unknown)]
    write(reviews / f"{WIDGET.sha256}.jsonl", "\n".join(lines))
    async with Index() as index, AttestationStore() as github:
        listed = publish(index, WIDGET)
        github.add("acme/reviews", WIDGET.sha256, review)
        evidence = [github.settings(), {"name": "reviews", "kind": "files", "path": str(reviews)}]
        trust = {
            "root": str(reviews.parent / "root.json"),
            "refresh": False,
            "keys": {"security": {"path": str(reviews.parent / "security.pub")}},
        }
        configuration = make_configuration(index, reviews.parent / "assay", evidence=evidence, trust=trust)
        async with run_test_proxy(
            index, reviews.parent, policy=REVIEWED, configuration=configuration, tuning=FAST
        ) as proxy:
            [entry] = (await proxy.fetch_page("widget"))["files"]
            assert entry["_attestations"] == f"../..{path(WIDGET.sha256)}"
            requests = (len(index.requests), len(github.requests))
            answer = await proxy.get(path(WIDGET.sha256))
            assert (len(index.requests), len(github.requests)) == requests, "nothing is requested"
            assert answer.status == 200, answer.body
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.headers["Cache-Control"] == "private, no-cache"
            found = answer.json()
            assert {each["verdict"] for each in found} == {"verified"}
            assert {each["bundle"]["mediaType"] for each in found} == {BUNDLE_MEDIA_TYPES["0.3"]}
            by_source = {(each["source"], each["predicate-type"], each.get("key")): each["bundle"] for each in found}
            assert [each["source"] for each in found].count("reviews") == 2, (
                "neither the forged one nor the unknown key"
            )
            assert len(found) == len(by_source) == 4
            assert by_source["reviews", REVIEW, "security"]["dsseEnvelope"] == by_key["dsseEnvelope"]
            assert {source for source, *_ in by_source} == {"index", "github", "reviews"}
            assert all(is_accepted(each["bundle"], WIDGET) for each in found if "key" not in each)
            assert not is_accepted(forged, WIDGET)
            provenance = await proxy.get(listed.provenance_path)
            assert provenance.body == SIGSTORE.provenance(WIDGET.filename, WIDGET.sha256, ACME)
            async with seen(proxy, reviews):
                write(reviews / f"{WIDGET.sha256}.jsonl", lines[2])
            assert len((await proxy.get(path(WIDGET.sha256))).json()) == 3, "a removed bundle is gone"


@pytest.mark.parametrize("project", ["widget", "Widget", None])
async def test_a_listed_file_has_200_a_withheld_one_403_and_others_404(tmp_path: Path, project: str | None) -> None:
    listed, withheld, other = wheel("widget", "1.0"), wheel("widget", "2.0"), wheel("gadget", "1.0")
    async with Index() as index:
        publish(index, listed)
        publish(index, withheld, None)
        publish(index, other)
        async with run_with_views(index, tmp_path) as proxy:
            page = await proxy.fetch_page("widget")
            assert [each["filename"] for each in page["files"] if "_attestations" in each] == [listed.filename]
            assert (await proxy.get(path(listed.sha256, project))).status == 200
            assert (await proxy.head(path(listed.sha256, project))).status == 200
            refused = await proxy.get(path(withheld.sha256, project))
            assert (refused.status, b"unattested" in refused.body) == (403, True)
            assert (await proxy.get(path(other.sha256, project))).status == 404
            assert (await proxy.get(path("0" * 64, project))).status == 404
            assert (await proxy.get(path(listed.sha256, "gadget"))).status == 404
            assert (await proxy.get(path(listed.sha256, "none"))).status == 404
            strict = proxy.at_path("/strict/")
            await strict.get("/simple/widget/")
            assert (await strict.get(path(listed.sha256, project))).status == 403, "another view"


async def test_the_link_of_a_page_works_after_a_restart(tmp_path: Path) -> None:
    async with Index() as index:
        publish(index, WIDGET)
        async with run_with_views(index, tmp_path) as proxy:
            before = await proxy.get(path(WIDGET.sha256))
        async with run_with_views(index, tmp_path) as proxy:
            assert (await proxy.get(path(WIDGET.sha256, None))).status == 404, "nothing is in memory"
            assert (await proxy.get(path(WIDGET.sha256))).body == before.body
            assert (await proxy.get(path(WIDGET.sha256, None))).body == before.body


async def test_a_file_without_attestations_has_an_empty_list_and_no_link(tmp_path: Path) -> None:
    async with Index() as index:
        publish(index, WIDGET, None)
        async with run_test_proxy(index, tmp_path, policy=OPEN, sigstore=SIGSTORE) as proxy:
            [entry] = (await proxy.fetch_page("widget"))["files"]
            assert "_attestations" not in entry
            answer = await proxy.get(path(WIDGET.sha256))
            assert (answer.status, answer.json()) == (200, [])


async def test_a_source_that_fails_is_said_instead_of_a_shorter_list(reviews: Path) -> None:
    write(
        reviews / f"{WIDGET.sha256}.jsonl",
        json.dumps(make_bundle(SIGSTORE.attestation(WIDGET.filename, WIDGET.sha256))),
    )
    evidence = [{"name": "reviews", "kind": "files", "path": str(reviews)}]
    async with Index() as index:
        publish(index, WIDGET)
        configuration = make_configuration(index, reviews.parent / "assay", SIGSTORE, evidence=evidence)
        async with run_test_proxy(
            index, reviews.parent, policy=REQUIRED, configuration=configuration, tuning=FAST
        ) as proxy:
            assert len((await proxy.get(path(WIDGET.sha256))).json()) == 2
            async with seen(proxy, reviews):
                reviews.rename(reviews.parent / "away")  # noqa: ASYNC240 - atomic, like an unmount
            answer = await proxy.get(path(WIDGET.sha256))
            assert (answer.status, b"reviews" in answer.body) == (503, True)
            async with seen(proxy, reviews):
                (reviews.parent / "away").rename(reviews)
            assert (await proxy.get(path(WIDGET.sha256))).status == 200


async def test_an_undecided_file_has_no_list_yet(tmp_path: Path) -> None:
    async with Index() as index, AttestationStore() as github:
        publish(index, WIDGET)
        await github.api.down()
        configuration = make_configuration(index, tmp_path / "assay", SIGSTORE, evidence=[github.settings()])
        policy = f"{REQUIRED}countersigned = [{BY_REVIEWER}]\n"
        async with run_test_proxy(index, tmp_path, policy=policy, configuration=configuration, tuning=FAST) as proxy:
            answer = await proxy.get(path(WIDGET.sha256))
            assert (answer.status, b"evidence-unavailable" in answer.body) == (424, True)
            assert "_attestations" not in (await proxy.fetch_page("widget"))["files"][0]
