"""Words for the releases of a judged page."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from packaging.utils import NormalizedName
from packaging.version import Version

from assay.gate.release_words import classify_page
from tests.world.index.distributions import sdist, wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import run_test_proxy
from tests.world.sigstore.private_sigstore import SIGNING_TIME, PrivateSigstore


async def test_every_file_of_a_page_counts_and_undecided_ones_are_unknown(tmp_path: Path) -> None:
    sigstore, good = PrivateSigstore(seed=1), wheel("foo", "1.0")
    async with Index() as index:
        index.add(good, upload_time=SIGNING_TIME, provenance=sigstore.provenance(good.filename, good.sha256))
        index.add(sdist("foo", "1.0"), upload_time=SIGNING_TIME)
        index.add(wheel("foo", "2.0"), upload_time=SIGNING_TIME + timedelta(days=1))
        async with run_test_proxy(index, tmp_path, sigstore=sigstore) as proxy:
            found = classify_page(await proxy.get_gate("default").get_page(NormalizedName("foo")))
    first, second = found[Version("1.0")], found[Version("2.0")]
    assert (first.text, first.attested, first.unattested) == ("partial", 1, 1)
    assert (second.text, second.unattested, second.unknown) == ("no, lost", 1, 0)
