"""Tests of the functions behind `assay trust show`, `assay trust refresh` and `assay verify`."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

from assay.attestation.config import TrustSettings
from assay.attestation.renewal.report import describe_local_file, refresh_trust_roots, report_trust_roots
from assay.attestation.renewal.tuf import TufRefresher
from assay.attestation.trust_roots import BUNDLED_ROOTS_DATE, load_roots
from assay.attestation.verification.verify import verify
from assay.errors import UpstreamUnavailableError
from assay.evidence import Attested, Forged
from tests.world.sigstore.attacks import trust_root_for
from tests.world.sigstore.private_sigstore import PrivateSigstore

GITLAB = "https://gitlab.acme.example"


def test_every_root_in_force_is_described(tmp_path: Path) -> None:
    (tmp_path / "acme.json").write_bytes(PrivateSigstore(seed=2, host="acme.example").trusted_root())
    settings = TrustSettings.model_validate({"roots": {"acme": {"path": "acme.json", "issuers": [GITLAB]}}})
    roots = load_roots(settings, tmp_path)
    default, acme = report_trust_roots(roots, settings, BUNDLED_ROOTS_DATE + timedelta(days=61))
    assert (default.name, default.default, default.refreshed, default.too_old) == ("sigstore", True, True, True)
    assert (default.issuers, default.age) == (None, timedelta(days=61))
    assert "https://rekor.sigstore.dev" in default.logs
    assert (acme.name, acme.default, acme.refreshed) == ("acme", False, False)
    assert (acme.issuers, acme.logs) == ((GITLAB,), ("https://rekor.acme.example",))
    younger, _ = report_trust_roots(roots, settings, BUNDLED_ROOTS_DATE + timedelta(days=59))
    assert not younger.too_old


def test_a_file_on_disk_is_verified(tmp_path: Path) -> None:
    path = tmp_path / "widget-1.0.tar.gz"
    path.write_bytes(b"content" * 300_000)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    sigstore = PrivateSigstore(seed=1)
    raw = sigstore.provenance(path.name, digest)
    assert isinstance(verify(raw, describe_local_file(path), [trust_root_for(sigstore)]), Attested)
    renamed = path.rename(tmp_path / "download")
    assert isinstance(
        verify(raw, describe_local_file(renamed, "widget-1.0.tar.gz"), [trust_root_for(sigstore)]), Attested
    )
    renamed.write_bytes(b"other")
    assert isinstance(
        verify(raw, describe_local_file(renamed, "widget-1.0.tar.gz"), [trust_root_for(sigstore)]), Forged
    )
    assert describe_local_file(renamed).size == 5


def test_a_root_that_cant_be_renewed_stays_and_is_said(tmp_path: Path) -> None:
    def unreachable(url: str) -> list[bytes]:
        raise UpstreamUnavailableError(f"no route to {url}")

    roots = load_roots(TrustSettings(), tmp_path)
    refresher = TufRefresher(
        name="sigstore", directory=tmp_path / "state", url="https://tuf.example", fetch=unreachable
    )
    after, failures = refresh_trust_roots(roots, [refresher])
    assert after == roots
    assert len(failures) == 1
    assert "https://tuf.example" in failures[0]
