"""Output of pip and uv for a file without a review, and its installation after `assay attest`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.test_reasons_console import BOTH, Installer, console, installed
from tests.service.policy.test_attested_reviews import attest, reviewed
from tests.service.provenance.test_files import reviews, seen
from tests.world.sigstore.review_keys import write_key

__all__ = ["reviews"]

pytestmark = pytest.mark.clients


@BOTH
async def test_the_installer_tells_the_missing_review_and_installs_the_reviewed_file(
    reviews: Path, installer: Installer
) -> None:
    directory = reviews.parent
    key = write_key(directory, "security")
    async with reviewed(reviews) as (proxy, _):
        status, text = await console(installer, proxy, "widget==1.0", directory)
        assert status != 0
        assert "403" in text
        assert "withheld, countersigned: " in text
        assert "the key security" in text
        assert not installed(directory)
        async with seen(proxy, reviews):
            await attest(directory, key)
        status, text = await console(installer, proxy, "widget==1.0", directory)
        assert status == 0, text
    assert installed(directory) == ["widget-1.0.dist-info"]
