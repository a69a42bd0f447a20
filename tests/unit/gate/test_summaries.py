"""Summaries of judged pages: words, numbers, and the publishers of approved files only."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from packaging.utils import NormalizedName

from assay.gate.summaries import summarize_page
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import NOW, run_test_proxy
from tests.world.proxy.views_world import OPEN_POLICY
from tests.world.sigstore.private_sigstore import SIGNING_TIME, PrivateSigstore
from tests.world.sigstore.signers import GitHub

FOO = NormalizedName("foo")
BY_ACME = OPEN_POLICY + 'publishers = [{ kind = "GitHub", repository = "acme/foo" }]\n'


@pytest.mark.parametrize(
    ("policy", "publishers", "approved"), [(OPEN_POLICY, ("mallory/foo",), 2), (BY_ACME, ("acme/foo",), 1)]
)
async def test_the_publishers_are_those_of_the_last_approved_release(
    tmp_path: Path, policy: str, publishers: tuple[str, ...], approved: int
) -> None:
    sigstore = PrivateSigstore(seed=1)
    async with Index() as index:
        for day, (version, repository) in enumerate((("1.0", "acme/foo"), ("2.0", "mallory/foo"))):
            built, when = wheel("foo", version), SIGNING_TIME + timedelta(days=day)
            provenance = sigstore.provenance(built.filename, built.sha256, GitHub(repository=repository), when)
            index.add(built, upload_time=when, provenance=provenance)
        async with run_test_proxy(index, tmp_path, policy=policy, sigstore=sigstore) as proxy:
            found = summarize_page("default", await proxy.get_gate("default").get_page(FOO), NOW)
    assert (found.index, found.project, found.view, found.judged_at) == ("test", "foo", "default", NOW)
    assert found.releases == {"2.0": ("full", "changed"), "1.0": ("full",)}
    assert list(found.releases) == ["2.0", "1.0"], "the highest version comes first"
    assert found.publishers == publishers
    assert (found.approved, found.withheld) == (approved, 2 - approved)
