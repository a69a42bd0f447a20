"""What goes wrong in the world, told once each through the real proxy, with the twin that goes right.

The world: the project widget is published by acme/widget's release workflow, attested, and the proxy has known it for
months. Each story changes one thing. Signatures are those of a private Sigstore; the clock is the test's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

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
    """An index, a Sigstore and the proxy between."""

    index: Index
    sigstore: PrivateSigstore
    proxy: RunningProxy
    policy: Path
    watch: PolicyWatch

    def publish(
        self, built: BuiltDistribution, when: datetime, signer: Signer | None = GENUINE, **more: object
    ) -> ListedFile:
        """An upload, attested at the same moment unless `signer` is None."""
        document = None
        if signer is not None:
            document = self.sigstore.provenance(built.filename, built.sha256, signer, when)
        return self.index.add(built, upload_time=when, provenance=document, **more)  # type: ignore[arg-type]  # passed on

    async def look_again(self) -> None:
        """Let the remembered page grow old, so that the next request asks the index."""
        self.proxy.clock.now += timedelta(minutes=11)

    async def obey(self, policy: str) -> None:
        """Put another policy where the old one was."""
        self.policy.write_text(policy)
        assert await self.watch.reload_if_changed()

    async def why(self, listed: ListedFile) -> list[str]:
        """Why a file is withheld, as page and download agree; empty where both have it."""
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
        # The twin: a project that never had attestations goes on without.
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
            assert await told.why(listed) == [], "signed by the publisher: nobody can tell yet, and all are cached now"
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
        assert answer.status == 403, "whoever has a copy is told as well"
        assert "INC-1234" in answer.reason
        assert await told.why(before) == []
        assert await told.why(after) == [], "`until` is exclusive: the window has passed"
        assert len(told.index.requests) == asked, "by recorded evidence, without asking anybody"


async def test_a_repository_that_is_transferred_stays_the_publisher_and_a_new_one_of_its_name_is_not(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, RATCHET_ONLY) as told:
        first = replace(GENUINE, repository_id="4711", owner_id="1")
        told.publish(wheel("widget", "1.0"), ago(100), first)
        moved = told.publish(
            wheel("widget", "2.0"), ago(5), replace(first, repository="widget-org/widget", owner_id="2")
        )
        # Somebody registers the name that became free.
        squatted = told.publish(wheel("widget", "2.1"), ago(4), replace(first, repository_id="9999", owner_id="3"))
        assert await told.why(moved) == []
        assert await told.why(squatted) == ["publisher-changed"]


async def test_an_index_that_strips_provenance_is_not_believed(tmp_path: Path) -> None:
    async with world(tmp_path, RATCHET_ONLY) as told:
        known = told.publish(wheel("widget", "1.0"), ago(100))
        assert await told.why(known) == []
        known.provenance = None
        told.index.bump_serial("widget")
        # Offered without from the start: nothing is recorded of it, only of those before it.
        stripped = told.publish(wheel("widget", "1.1"), ago(4), signer=None)
        # Promised on the page, and then not there.
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
        # The index says a month ago; the log took the attestation yesterday.
        built = wheel("widget", "1.1")
        signed = told.sigstore.provenance(built.filename, built.sha256, GENUINE, ago(1))
        backdated = told.index.add(built, upload_time=ago(30), provenance=signed)
        twin = wheel("gadget", "1.1")
        signed = told.sigstore.provenance(twin.filename, twin.sha256, GENUINE, ago(30))
        honest = told.index.add(twin, upload_time=ago(30), provenance=signed)
        # Without an attestation, what was not there yesterday is new today, whatever it says.
        plain = told.publish(wheel("plain", "1.0"), ago(100), signer=None)
        assert await told.why(plain) == []
        sudden = told.index.add(wheel("plain", "1.1"), upload_time=ago(90))
        await told.look_again()
        assert await told.why(backdated) == ["time-conflict", "too-young"]
        assert await told.why(honest) == []
        assert await told.why(sudden) == ["too-young"]
        told.proxy.clock.now += timedelta(days=3)
        assert await told.why(sudden) == [], "time heals it"
        assert await told.why(backdated) == ["time-conflict"], "and never this"


async def test_the_publisher_of_a_withdrawn_malicious_release_is_not_established(tmp_path: Path) -> None:
    thief = GitHub(repository="mallory/widget")
    async with world(tmp_path, RATCHET_ONLY) as told:
        # A project without attestations; somebody with its token uploads an attested release of his own.
        plain = told.publish(wheel("widget", "1.0"), ago(300), signer=None)
        malicious = told.publish(wheel("widget", "1.1"), ago(40), thief)
        assert await told.why(malicious) == []
        told.index.remove(malicious)
        genuine = told.publish(wheel("widget", "1.2"), ago(2), signer=None)
        again = told.publish(wheel("widget", "1.3"), ago(1))
        await told.look_again()
        assert await told.why(genuine) == [], "had the thief been established, the owner would be locked out"
        assert await told.why(again) == []
        assert await told.why(plain) == []
        assert (await told.proxy.get(told.proxy.files_path(malicious))).status == 404
        # The twin: a release that is not withdrawn does establish its publisher.
        told.publish(wheel("gadget", "1.1"), ago(40))
        assert await told.why(told.publish(wheel("gadget", "1.2"), ago(2), signer=None)) == ["provenance-lost"]


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
        # Same version, later; one admits when it was uploaded, the other claims to be as old as the one that was meant.
        late = told.publish(sdist("widget", "1.1"), ago(0.1), signer=None)
        lying = told.index.add(wheel("widget", "1.1", tag="py2-none-any"), upload_time=ago(5), provenance=None)
        timeless = told.index.add(wheel("widget", "1.1", tag="cp311-none-any"), entry={"upload-time": ABSENT})
        await told.look_again()
        for listed in (late, lying, timeless):
            assert await told.why(listed) == ["provenance-lost"], listed.built.filename
        assert await told.why(meant) == []
        told.proxy.clock.now = datetime(2026, 8, 2, tzinfo=UTC)
        assert await told.why(meant) == ["provenance-lost"], "an expired waiver is no waiver"


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
        assert await told.why(fix) == [], "the waiver is over, and so is the cool-down"


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
