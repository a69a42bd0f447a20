"""Attacks and accidents, each played once through a real proxy, with a counterpart that is legitimate.

The release workflow of acme/widget publishes the project widget with attestations, and the proxy has known it for
months. Each test changes one thing. A private Sigstore makes the signatures, and the test sets the clock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import pytest

from assay.policy_reload import PolicyWatch
from tests.world.index.distributions import BuiltDistribution, sdist, wheel
from tests.world.index.fake_index import ABSENT, Index, ListedFile
from tests.world.index.faulty_server import Reply
from tests.world.proxy.running_proxy import NOW, RunningProxy, run_test_proxy
from tests.world.sigstore.private_sigstore import GitHub, PrivateSigstore, Signer

ENFORCING = """
version = 1
[defaults]
min-age = "3 days"
ratchet = "enforce"
[[rules]]
name = "everything"
projects = ["*"]
"""
RATCHET_ONLY = ENFORCING.replace('min-age = "3 days"\n', "")
GENUINE = GitHub(repository="acme/widget", workflow="release.yml")


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@dataclass
class World:
    """Index, private Sigstore and proxy of one test."""

    index: Index
    sigstore: PrivateSigstore
    proxy: RunningProxy
    policy: Path
    watch: PolicyWatch

    def publish(
        self, built: BuiltDistribution, when: datetime, signer: Signer | None = GENUINE, **more: object
    ) -> ListedFile:
        """Upload a file, attested at the same time unless `signer` is None."""
        document = None
        if signer is not None:
            document = self.sigstore.provenance(built.filename, built.sha256, signer, when)
        return self.index.add(built, upload_time=when, provenance=document, **more)  # type: ignore[arg-type]  # passed on

    async def look_again(self) -> None:
        """Advance the clock past the page's freshness, so that the next request renews the page."""
        self.proxy.clock.now += timedelta(minutes=11)

    async def obey(self, policy: str) -> None:
        """Replace the policy, if it is another one."""
        if policy == self.policy.read_text():
            return
        self.policy.write_text(policy)
        assert await self.watch.reload_if_changed()

    async def why(self, listed: ListedFile) -> list[str]:
        """Return the reason codes of a file, on which page and download must agree; empty if it is approved."""
        project = listed.built.project
        withheld = (await self.proxy.fetch_withheld(project)).get(listed.built.filename, [])
        answer = await self.proxy.get(self.proxy.files_path(listed))
        assert (listed.built.filename in await self.proxy.fetch_listed(project)) == (not withheld)
        assert answer.status == (403 if withheld else 200), (withheld, answer.reason)
        if withheld:
            assert [reason["code"] for reason in answer.json()["reasons"]] == withheld
        else:
            assert answer.body == listed.built.content
        return withheld


@asynccontextmanager
async def world(tmp_path: Path, policy: str) -> AsyncIterator[World]:
    sigstore = PrivateSigstore()
    path = tmp_path / "policy.toml"
    path.write_text(policy)
    async with Index() as index, run_test_proxy(index, tmp_path, policy=policy, sigstore=sigstore) as proxy:
        yield World(index, sigstore, proxy, path, PolicyWatch(path, proxy.assembly.gate, settle_seconds=0))


async def test_a_stolen_token_uploads_without_an_attestation_where_there_always_was_one(tmp_path: Path) -> None:
    async with world(tmp_path, RATCHET_ONLY) as told:
        old = [told.publish(wheel("widget", f"1.{number}"), ago(200 - number)) for number in range(3)]
        genuine = told.publish(wheel("widget", "2.0"), ago(5))
        stolen = told.publish(wheel("widget", "2.1"), ago(4), signer=None)
        # Counterpart: a project that never had attestations is approved without them.
        told.publish(wheel("plain", "1.0"), ago(200), signer=None)
        plain = told.publish(wheel("plain", "2.0"), ago(4), signer=None)
        assert await told.why(stolen) == ["provenance-lost"]
        for listed in (*old, genuine, plain):
            assert await told.why(listed) == []
        reason = (await told.proxy.get(told.proxy.files_path(stolen))).reason
        assert 'ask for a waiver of "ratchet"' in reason
        assert "nearest approved version: 2.0" in reason


async def test_a_stolen_workflow_signs_and_is_revoked_by_its_window_cached_copies_too(tmp_path: Path) -> None:
    async with world(tmp_path, RATCHET_ONLY) as told:
        before = told.publish(wheel("widget", "1.0"), datetime(2026, 6, 1, tzinfo=UTC))
        stolen = told.publish(wheel("widget", "1.1"), datetime(2026, 6, 3, 12, tzinfo=UTC))
        after = told.publish(wheel("widget", "1.2"), datetime(2026, 6, 5, tzinfo=UTC))
        for listed in (before, stolen, after):
            assert await told.why(listed) == [], (
                "signed by the publisher, so there is no sign of the theft yet; all files are cached now"
            )
        asked = len(told.index.requests)
        await told.obey(
            RATCHET_ONLY
            + """
            [[revocations]]
            publishers = [{ kind = "GitHub", repository = "acme/widget" }]
            signed-from = 2026-06-03T00:00:00Z
            signed-until = 2026-06-05T00:00:00Z
            reason = "stolen workflow, INC-1234"
            """
        )
        assert await told.why(stolen) == ["revoked"]
        answer = await told.proxy.get(told.proxy.files_path(stolen), {"If-None-Match": f'"{stolen.built.sha256}"'})
        assert answer.status == 403, "clients with a cached copy get the refusal too"
        assert "INC-1234" in answer.reason
        assert await told.why(before) == []
        assert await told.why(after) == [], "`until` is exclusive, so the window has passed"
        assert len(told.index.requests) == asked, "judged by recorded evidence, without a request"


async def test_a_repository_that_is_transferred_stays_the_publisher_and_a_new_one_of_its_name_is_not(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, RATCHET_ONLY) as told:
        first = replace(GENUINE, repository_id="4711", owner_id="1")
        told.publish(wheel("widget", "1.0"), ago(100), first)
        moved = told.publish(
            wheel("widget", "2.0"), ago(5), replace(first, repository="widget-org/widget", owner_id="2")
        )
        # An attacker registers the account name that became free.
        squatted = told.publish(wheel("widget", "2.1"), ago(4), replace(first, repository_id="9999", owner_id="3"))
        assert await told.why(moved) == []
        assert await told.why(squatted) == ["publisher-changed"]


async def test_an_index_that_strips_provenance_is_not_believed(tmp_path: Path) -> None:
    async with world(tmp_path, RATCHET_ONLY) as told:
        known = told.publish(wheel("widget", "1.0"), ago(100))
        assert await told.why(known) == []
        known.provenance = None
        told.index.bump_serial("widget")
        # Listed without provenance from the start: only earlier files have recorded evidence.
        stripped = told.publish(wheel("widget", "1.1"), ago(4), signer=None)
        # The page promises a provenance document that the index does not have.
        omitted = told.publish(wheel("widget", "1.2"), ago(4))
        told.index.inject_fault(omitted.provenance_path, Reply(404))
        honest = told.publish(wheel("widget", "1.3"), ago(3))
        await told.look_again()
        assert await told.why(known) == [], "evidence once recorded counts"
        assert await told.why(stripped) == ["provenance-lost"]
        assert "provenance-missing" in await told.why(omitted)
        assert await told.why(honest) == []


async def test_a_backdated_upload_time_does_not_end_the_cool_down(tmp_path: Path) -> None:
    async with world(tmp_path, ENFORCING) as told:
        # The index gives a month ago as upload time, but the log received the attestation yesterday.
        built = wheel("widget", "1.1")
        signed = told.sigstore.provenance(built.filename, built.sha256, GENUINE, ago(1))
        backdated = told.index.add(built, upload_time=ago(30), provenance=signed)
        twin = wheel("gadget", "1.1")
        signed = told.sigstore.provenance(twin.filename, twin.sha256, GENUINE, ago(30))
        honest = told.index.add(twin, upload_time=ago(30), provenance=signed)
        # Without an attestation, a file first seen today is new, whatever upload time the index gives.
        plain = told.publish(wheel("plain", "1.0"), ago(100), signer=None)
        assert await told.why(plain) == []
        sudden = told.index.add(wheel("plain", "1.1"), upload_time=ago(90))
        await told.look_again()
        assert await told.why(backdated) == ["time-conflict", "too-young"]
        assert await told.why(honest) == []
        assert await told.why(sudden) == ["too-young"]
        told.proxy.clock.now += timedelta(days=3)
        assert await told.why(sudden) == [], "time resolves it"
        assert await told.why(backdated) == ["time-conflict"], "time does not resolve this"


async def test_the_publisher_of_a_malicious_release_that_is_soon_withdrawn_is_not_established(tmp_path: Path) -> None:
    thief = GitHub(repository="mallory/widget")
    async with world(tmp_path, RATCHET_ONLY) as told:
        # A project without attestations; a thief of its token uploads a release attested by another repository.
        plain = told.publish(wheel("widget", "1.0"), ago(300), signer=None)
        malicious = told.publish(wheel("widget", "1.1"), ago(5), thief)
        assert await told.why(malicious) == []
        told.index.remove(malicious)
        told.proxy.clock.now += timedelta(days=20)
        genuine = told.publish(wheel("widget", "1.2"), ago(-18), signer=None)
        again = told.publish(wheel("widget", "1.3"), ago(-19))
        assert await told.why(genuine) == [], "if the thief had been established, the owner would be locked out"
        assert await told.why(again) == []
        assert await told.why(plain) == []
        assert (await told.proxy.get(told.proxy.files_path(malicious))).status == 404
        # Counterpart: a release that is listed for two weeks establishes its publisher.
        told.publish(wheel("gadget", "1.1"), ago(40))
        assert await told.why(told.publish(wheel("gadget", "1.2"), ago(2), signer=None)) == ["provenance-lost"]


async def delete(told: World, releases: Sequence[ListedFile]) -> str:
    for listed in releases:
        told.index.remove(listed)
    return RATCHET_ONLY


async def yank(told: World, releases: Sequence[ListedFile]) -> str:
    for listed in releases:
        told.index.yank(listed, "broken")
    return RATCHET_ONLY + 'yanked = "deny"\n'


async def list_twice(told: World, releases: Sequence[ListedFile]) -> str:
    for listed in releases:
        told.index.add(wheel("widget", str(listed.built.version), padding=1), upload_time=ago(150))
    return RATCHET_ONLY


async def serve_source_archives_only(_told: World, _releases: Sequence[ListedFile]) -> str:
    return RATCHET_ONLY + 'types = ["sdist"]\n'


async def revoke_the_publisher(_told: World, _releases: Sequence[ListedFile]) -> str:
    return (
        RATCHET_ONLY
        + """
        [[revocations]]
        publishers = [{ kind = "GitHub", repository = "acme/widget" }]
        reason = "stolen"
        """
    )


Way: TypeAlias = Callable[[World, Sequence[ListedFile]], Awaitable[str]]
WAYS: tuple[Way, ...] = (delete, yank, list_twice, serve_source_archives_only, revoke_the_publisher)
"""Changes of the index or the policy after which the ratchet once forgot the publisher."""


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.__name__))
async def test_an_established_publisher_is_not_forgotten(tmp_path: Path, way: Way) -> None:
    thief = GitHub(repository="mallory/widget")
    async with world(tmp_path, RATCHET_ONLY) as told:
        releases = [told.publish(wheel("widget", f"1.{number}"), ago(200 - number)) for number in range(4)]
        assert await told.why(releases[-1]) == []
        policy = await way(told, releases)
        stolen = told.publish(sdist("widget", "2.0"), ago(2), signer=None)
        strange = told.publish(sdist("widget", "2.1"), ago(2), thief)
        honest = told.publish(sdist("widget", "2.2"), ago(1))
        await told.look_again()
        await told.obey(policy)
        assert await told.why(stolen) == ["provenance-lost"]
        assert await told.why(strange) == ["publisher-changed"]
        assert await told.why(honest) == (["revoked"] if way is revoke_the_publisher else [])
        # A rule that names the publisher lets its release in, whatever the ratchet knows.
        named = 'publishers = [{ kind = "GitHub", repository = "mallory/widget" }]'
        await told.obey(policy.replace('projects = ["*"]', f'projects = ["*"]\n{named}'))
        assert await told.why(strange) == []


async def test_source_archives_that_are_not_served_establish_their_publisher_at_the_first_request(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, RATCHET_ONLY + 'types = ["wheel"]\n') as told:
        archives = [told.publish(sdist("widget", f"1.{number}"), ago(200 - number)) for number in range(3)]
        stolen = told.publish(wheel("widget", "2.0"), ago(2), signer=None)
        assert await told.why(stolen) == ["provenance-lost"]
        assert [await told.why(each) for each in archives] == [["file-type"]] * 3
        # Counterpart: without attestations on the archives, the wheel is served, and no evidence is fetched for it.
        told.publish(sdist("plain", "1.0"), ago(200), signer=None)
        assert await told.why(told.publish(wheel("plain", "2.0"), ago(2), signer=None)) == []


async def test_the_evidence_of_files_that_are_not_served_is_fetched_only_where_another_file_depends_on_it(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, RATCHET_ONLY + 'types = ["wheel"]\n') as told:
        first_archive = told.publish(sdist("widget", "1.0"), ago(200))
        first = told.publish(wheel("widget", "1.0"), ago(199))
        assert await told.why(first) == []
        assert told.index.count(first_archive.provenance_path) == 1, "it could have come from another publisher"
        archive = told.publish(sdist("widget", "2.0"), ago(100))
        second = told.publish(wheel("widget", "2.0"), ago(99))
        stolen = told.publish(wheel("widget", "3.0"), ago(2), signer=None)
        await told.look_again()
        assert await told.why(second) == []
        assert await told.why(stolen) == ["provenance-lost"]
        assert told.index.count(archive.provenance_path) == 0, "the ledger knows the publisher"


async def test_a_waiver_for_one_release_of_a_stranger_does_not_let_the_next_one_in(tmp_path: Path) -> None:
    thief = GitHub(repository="mallory/widget")
    async with world(tmp_path, RATCHET_ONLY) as told:
        told.publish(wheel("widget", "1.0"), ago(100))
        let_in = told.publish(wheel("widget", "1.1"), ago(30), thief)
        waiver = f"""
            [[waivers]]
            projects = ["widget"]
            sha256 = ["{let_in.built.sha256}"]
            lifts = ["ratchet"]
            expires = 2030-01-01
            reason = "checked by a person"
            """
        await told.obey(RATCHET_ONLY + waiver)
        assert await told.why(let_in) == []
        told.proxy.clock.now += timedelta(days=15)
        following = told.publish(wheel("widget", "1.2"), ago(-14), thief)
        honest = told.publish(wheel("widget", "1.3"), ago(-14))
        assert await told.why(following) == ["publisher-changed"]
        assert await told.why(honest) == []


async def test_an_old_line_that_is_patched_by_hand_is_freed_by_its_versions(tmp_path: Path) -> None:
    async with world(tmp_path, RATCHET_ONLY) as told:
        told.publish(wheel("widget", "1.0"), ago(400), signer=None)
        told.publish(wheel("widget", "2.0"), ago(100))
        patched = told.publish(wheel("widget", "1.0.1"), ago(5), signer=None)
        unattested = told.publish(wheel("widget", "2.0.1"), ago(4), signer=None)
        assert await told.why(patched) == ["provenance-lost"]
        await told.obey(RATCHET_ONLY + 'ratchet-except = ">=1,<2"\n')
        assert await told.why(patched) == []
        assert await told.why(unattested) == ["provenance-lost"]


async def test_a_waiver_does_not_cover_a_file_that_is_added_later(tmp_path: Path) -> None:
    waived = """
        [[waivers]]
        projects = ["widget"]
        versions = "==1.1"
        uploaded-before = 2026-06-30T00:00:00Z
        lifts = ["ratchet"]
        expires = 2026-08-01
        reason = "built by hand while CI was down"
        """
    async with world(tmp_path, RATCHET_ONLY + waived) as told:
        told.publish(wheel("widget", "1.0"), ago(100))
        meant = told.publish(wheel("widget", "1.1"), ago(5), signer=None)
        assert await told.why(meant) == []
        # Later files of the same version: with the true upload time, with that of the waived file, and with none.
        late = told.publish(sdist("widget", "1.1"), ago(0.1), signer=None)
        lying = told.index.add(wheel("widget", "1.1", tag="py2-none-any"), upload_time=ago(5), provenance=None)
        timeless = told.index.add(wheel("widget", "1.1", tag="cp311-none-any"), entry={"upload-time": ABSENT})
        await told.look_again()
        for listed in (late, lying, timeless):
            assert await told.why(listed) == ["provenance-lost"], listed.built.filename
        assert await told.why(meant) == []
        told.proxy.clock.now = datetime(2026, 8, 2, tzinfo=UTC)
        assert await told.why(meant) == ["provenance-lost"], "the waiver has expired"


async def test_a_cool_down_is_ended_early_by_an_emergency_waiver_for_exactly_one_file(tmp_path: Path) -> None:
    async with world(tmp_path, ENFORCING) as told:
        told.publish(wheel("widget", "1.0"), ago(100))
        fix = told.publish(wheel("widget", "1.0.1"), ago(1))
        other = told.publish(wheel("widget", "1.1"), ago(1))
        assert await told.why(fix) == ["too-young"]
        await told.obey(
            ENFORCING
            + f"""
            [[waivers]]
            projects = ["widget"]
            sha256 = ["{fix.built.sha256}"]
            lifts = ["min-age"]
            expires = 2026-07-04T00:00:00Z
            reason = "CVE fix needed before the cool-down ends"
            approved-by = "security@acme.example"
            """
        )
        assert await told.why(fix) == []
        assert await told.why(other) == ["too-young"]
        told.proxy.clock.now += timedelta(days=4)
        assert await told.why(fix) == [], "the waiver has expired, and the cool-down has passed"


async def test_a_publisher_who_is_added_in_time_is_followed_without_a_gap(tmp_path: Path) -> None:
    successor = GitHub(repository="widget-org/widget", repository_id="555")
    async with world(tmp_path, RATCHET_ONLY) as told:
        told.publish(wheel("widget", "1.0"), ago(100))
        assert await told.why(told.publish(wheel("widget", "1.1"), ago(5), successor)) == ["publisher-changed"]
    named = """
        [[rules]]
        name = "widget moved to its own organisation"
        projects = ["widget"]
        publishers = [
          { kind = "GitHub", repository = "acme/widget" },
          { kind = "GitHub", repository = "widget-org/widget", repository_id = "555" },
        ]
        """
    (tmp_path / "again").mkdir()
    async with world(tmp_path / "again", RATCHET_ONLY.replace("[[rules]]", f"{named}[[rules]]", 1)) as told:
        old = told.publish(wheel("widget", "1.0"), ago(100))
        new = told.publish(wheel("widget", "1.1"), ago(5), successor)
        stranger = told.publish(wheel("widget", "1.2"), ago(4), GitHub(repository="mallory/widget"))
        assert await told.why(old) == []
        assert await told.why(new) == []
        assert (await told.why(stranger))[0] == "publisher"
