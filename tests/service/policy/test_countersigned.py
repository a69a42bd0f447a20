"""Tests of a running proxy whose policy requires reviews, which are in a directory or in GitHub's store."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from assay.policy.language.document import load_policy
from tests.service.provenance.test_files import FAST, reviews, seen, write
from tests.world.github.attestation_store import AttestationStore
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import make_configuration, run_test_proxy
from tests.world.sigstore.bundles import make_bundle
from tests.world.sigstore.key_bundles import KeyKind, ReviewKey
from tests.world.sigstore.private_sigstore import SIGNING_TIME, GitHub, PrivateSigstore

__all__ = ["reviews"]

SIGSTORE = PrivateSigstore(seed=1)
REVIEW = "https://acme.example/review/v1"
WIDGET = wheel("widget", "1.0")
BY_KEY = f'{{ key = "security", predicate = "{REVIEW}", where = {{ verdict = "ok" }} }}'
BY_ACME = f'{{ kind = "GitHub", repository = "acme/reviews", predicate = "{REVIEW}" }}'


def reviewed(*signers: str) -> str:
    return (
        'version = 1\n[defaults]\nmin-age = "0 days"\n[[rules]]\nname = "reviewed"\nprojects = ["*"]\n'
        f"countersigned = [{', '.join(signers)}]\n"
    )


@pytest.mark.parametrize("kind", ["P-256", "P-384", "Ed25519"])
@pytest.mark.parametrize("workers", [0, 1])
async def test_a_review_approves_while_it_is_there_and_another_verdict_withholds(
    reviews: Path, kind: KeyKind, workers: int
) -> None:
    key = ReviewKey("security", kind)
    (reviews.parent / "security.pub").write_bytes(key.pem)
    good = json.dumps(key.bundle(WIDGET.filename, WIDGET.sha256, REVIEW, {"verdict": "ok"}))
    bad = json.dumps(key.bundle(WIDGET.filename, WIDGET.sha256, REVIEW, {"verdict": "bad"}))
    place = reviews / f"{WIDGET.sha256}.jsonl"
    async with Index() as index:
        listed = index.add(WIDGET, upload_time=SIGNING_TIME)
        configuration = make_configuration(
            index,
            reviews.parent / "assay",
            evidence=[{"name": "reviews", "kind": "files", "path": str(reviews)}],
            trust={
                "root": str(_write_root(reviews.parent)),
                "refresh": False,
                "keys": {"security": {"path": str(reviews.parent / "security.pub")}},
            },
            verification={"workers": workers},
        )
        policy = load_policy(reviewed(BY_KEY), "policy.toml")
        async with run_test_proxy(
            index, reviews.parent, policy=policy, configuration=configuration, tuning=FAST
        ) as proxy:
            assert await proxy.fetch_withheld("widget") == {WIDGET.filename: ["countersigned"]}
            async with seen(proxy, reviews):
                write(place, good)
            assert (await proxy.get(proxy.files_path(listed))).status == 200
            async with seen(proxy, reviews):
                write(place, f"{good}\n{bad}")
            assert await proxy.fetch_withheld("widget") == {WIDGET.filename: ["countersigned"]}
            async with seen(proxy, reviews):
                write(place, good)
            assert await proxy.fetch_listed("widget") == {WIDGET.filename}
            async with seen(proxy, reviews):
                place.unlink()
            assert (await proxy.get(proxy.files_path(listed))).status == 403


async def test_a_removed_or_replaced_key_ends_the_approval_and_nothing_else_is_verified_again(reviews: Path) -> None:
    key, other, place = ReviewKey("security"), ReviewKey("other"), reviews.parent / "security.pub"
    place.write_bytes(key.pem)
    review = key.bundle(WIDGET.filename, WIDGET.sha256, REVIEW, {"verdict": "ok"})
    write(reviews / f"{WIDGET.sha256}.jsonl", json.dumps(review))
    async with Index() as index:
        own = SIGSTORE.provenance(WIDGET.filename, WIDGET.sha256, GitHub(repository="acme/widget"))
        listed = index.add(WIDGET, upload_time=SIGNING_TIME, provenance=own)
        configuration = make_configuration(
            index,
            reviews.parent / "assay",
            evidence=[{"name": "reviews", "kind": "files", "path": str(reviews)}],
            trust={
                "root": str(_write_root(reviews.parent)),
                "refresh": False,
                "keys": {"security": {"path": str(place)}},
            },
        )
        async with run_test_proxy(
            index, reviews.parent, policy=reviewed(BY_KEY), configuration=configuration, tuning=FAST
        ) as proxy:
            verifier = proxy.assembly.verifier

            async def change(content: bytes | None) -> None:
                before = verifier.keys_digest
                if content is None:
                    await asyncio.to_thread(place.unlink)
                else:
                    await asyncio.to_thread(place.write_bytes, content)
                async with asyncio.timeout(10):
                    while verifier.keys_digest == before:  # noqa: ASYNC110 - the watch reports no event
                        await asyncio.sleep(0.005)

            assert (await proxy.get(proxy.files_path(listed))).status == 200
            for content in (None, other.pem, b"no key"):
                await change(content)
                assert (await proxy.get(proxy.files_path(listed))).status == 403
                await change(key.pem)
                assert (await proxy.get(proxy.files_path(listed))).status == 200
            assert index.count(listed.provenance_path) == 1


def _write_root(directory: Path) -> Path:
    path = directory / "root.json"
    path.write_bytes(SIGSTORE.trusted_root())
    return path


@pytest.mark.parametrize(("repository", "approved"), [("acme/reviews", True), ("evil/reviews", False)])
async def test_a_workflow_countersigns_in_the_store_of_its_repository(
    tmp_path: Path, repository: str, approved: bool
) -> None:
    def sign(**predicate: Any) -> dict[str, Any]:
        signer = GitHub(repository=repository)
        made = SIGSTORE.attestation(WIDGET.filename, WIDGET.sha256, signer, predicate_type=REVIEW, predicate=predicate)
        return make_bundle(made)

    async with Index() as index, AttestationStore() as github:
        own = SIGSTORE.provenance(WIDGET.filename, WIDGET.sha256, GitHub(repository="acme/widget"))
        index.add(WIDGET, upload_time=SIGNING_TIME, provenance=own)
        github.add("acme/reviews", WIDGET.sha256, sign(verdict="ok"))
        configuration = make_configuration(index, tmp_path / "assay", SIGSTORE, evidence=[github.settings()])
        async with run_test_proxy(
            index, tmp_path, policy=reviewed(BY_ACME), configuration=configuration, tuning=FAST
        ) as proxy:
            withheld = {} if approved else {WIDGET.filename: ["countersigned"]}
            assert await proxy.fetch_withheld("widget") == withheld
        assert {each.path.split("/")[3] for each in github.requests} == {"reviews"}


async def test_a_file_that_needs_a_review_waits_for_its_source(tmp_path: Path) -> None:
    async with Index() as index, AttestationStore() as github:
        listed = index.add(WIDGET, upload_time=SIGNING_TIME)
        await github.api.down()
        configuration = make_configuration(index, tmp_path / "assay", SIGSTORE, evidence=[github.settings()])
        async with run_test_proxy(
            index, tmp_path, policy=reviewed(BY_ACME), configuration=configuration, tuning=FAST
        ) as proxy:
            assert (await proxy.get(proxy.files_path(listed))).status == 424
