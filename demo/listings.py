"""Content of the demo's two indexes: the company index, signed by a private Sigstore, and a replacement for PyPI.

The replacement lists real projects with their real attestations (tests/corpus). The content of their files is not in
the repository. Zeros of the same length replace it, as from a tampering mirror, so that a download shows that Assay
refuses wrong bytes.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tests.world.index.distributions import BuiltDistribution, make_raw_file, sdist, wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.index.faulty_server import CannedResponse, Drip
from tests.world.sigstore.private_sigstore import GitLab, PrivateSigstore

GITLAB: Final = "https://gitlab.acme.example"
_CORPUS: Final = Path(__file__).parents[1] / "tests" / "corpus"
_REAL: Final = (
    "sampleproject-4.0.0-py3-none-any.whl",
    "sampleproject-4.0.0.tar.gz",
    "sigstore-3.6.1-py3-none-any.whl",
    "sigstore-3.6.1.tar.gz",
    "abi3info-2024.10.3-py3-none-any.whl",
    "pypi_attestations-0.0.19.tar.gz",
    "gcb_attestation_test-0.0.0.tar.gz",
    "rfc8785-0.1.2-py3-none-any.whl",
)
Edit = Callable[[dict[str, Any]], object]


def pipeline(repository: str, version: str) -> GitLab:
    """Return the identity of a CI job of the company's GitLab for the tag of a version."""
    return GitLab(repository=repository, ref=f"refs/tags/v{version}", issuer=GITLAB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """Company index with its private Sigstore; days are counted back from `now`."""

    index: Index
    sigstore: PrivateSigstore
    now: datetime

    def publish(
        self,
        built: BuiltDistribution,
        days: float,
        repository: str | None,
        *,
        edit: Edit | None = None,
        yanked: bool | str = False,
    ) -> ListedFile:
        """List a file that was uploaded `days` ago, attested by a CI job of `repository`; None: without attestation."""
        when = (self.now - timedelta(days=days)).replace(microsecond=0)
        document = None
        if repository is not None:
            signer = pipeline(repository, built.version)
            document = self.sigstore.provenance(built.filename, built.sha256, signer, when, edit=edit)
        return self.index.add(built, provenance=document, upload_time=when + timedelta(seconds=4), yanked=yanked)


WAIVED: Final = wheel("acme-hotfix", "1.0.1")
PINNED: Final = wheel("acme-legacy", "0.9")
STOLEN: Final = (22.0, 18.0)
"""Start and end of the time in which an attacker controlled the runner of acme-parser, in days ago."""


def fill_company(company: Company) -> ListedFile:
    """List the company's projects; return the file whose content the demo replaces after the proxy has seen it."""
    _widgets(company)
    company.publish(wheel("acme-payments", "1.0"), 90, "platform/payments")
    company.publish(wheel("acme-payments", "1.1"), 12, None)
    company.publish(wheel("acme-payments", "1.2"), 9, "platform/widgets")
    for version, days in (("1.0", 60.0), ("1.1", sum(STOLEN) / 2), ("1.2", 8.0)):
        company.publish(wheel("acme-parser", version), days, "platform/parser")
    company.publish(wheel("acme-hotfix", "1.0"), 80, "platform/hotfix")
    company.publish(WAIVED, 0.2, "platform/hotfix")
    company.publish(PINNED, 700, None)
    company.publish(wheel("acme-legacy", "0.9.1"), 40, None)
    company.publish(wheel("acme-abandoned", "2.0"), 300, None)
    company.publish(wheel("acme-core", "1.0"), 50, "platform/core")
    _tamper(company.index, company.publish(wheel("acme-tampered", "1.0", padding=300_000), 30, "platform/tampered"))
    return company.publish(wheel("acme-swapped", "1.0"), 30, None)


def _tamper(index: Index, listed: ListedFile) -> None:
    """Serve the file slowly and with one changed byte: the client has the first bytes before the check fails."""
    content = bytearray(listed.built.content)
    content[200_000] ^= 1
    index.serve_fixed(
        listed.path, CannedResponse(body=bytes(content), headers={"Content-Type": "application/octet-stream"})
    )
    index.inject_fault(listed.path, Drip(piece=100_000, pause=0.3))


def _widgets(company: Company) -> None:
    """List acme-widgets, the project with the most events."""
    own_pipeline = "platform/widgets"
    for version, days in (("1.0", 400), ("1.1", 320), ("1.2", 250), ("1.3", 180)):
        company.publish(wheel("acme-widgets", version), days, own_pipeline)
        company.publish(sdist("acme-widgets", version), days, own_pipeline)
    company.publish(wheel("acme-widgets", "1.4"), 120, None)
    company.publish(wheel("acme-widgets", "1.5"), 95, "interns/sandbox")
    company.publish(wheel("acme-widgets", "1.6"), 60, own_pipeline, edit=_forge_certificate)
    company.publish(wheel("acme-widgets", "1.7"), 45, own_pipeline, edit=_forge_statement)
    company.publish(wheel("acme-widgets", "1.8"), 20, own_pipeline)
    company.publish(sdist("acme-widgets", "1.8"), 20, own_pipeline)
    company.publish(wheel("acme-widgets", "1.9"), 0.1, own_pipeline)


def _forge_certificate(attestation: dict[str, Any]) -> None:
    material = attestation["verification_material"]
    material["certificate"] = _change_byte(material["certificate"], b"platform/widgets")


def _forge_statement(attestation: dict[str, Any]) -> None:
    envelope = attestation["envelope"]
    envelope["statement"] = _change_byte(envelope["statement"], b"predicateType")


def _change_byte(encoded: str, word: bytes) -> str:
    """Return base64 content with one bit changed in the first byte of `word`."""
    content = bytearray(b64decode(encoded))
    content[content.index(word)] ^= 1
    return b64encode(content).decode()


def fill_public(index: Index, now: datetime) -> None:
    """List the projects of the replacement for PyPI: real ones, an unattested one, and two with company names."""
    manifest = json.loads((_CORPUS / "manifest.json").read_bytes())
    for filename in _REAL:
        _add_real(index, next(each for each in manifest if each["filename"] == filename))
    index.add(wheel("plain", "1.0"), upload_time=now - timedelta(days=500))
    for name, version in (("acme-core", "99.0"), ("acme-nothing", "1.0")):
        index.add(wheel(name, version), upload_time=now - timedelta(days=40))


def _add_real(index: Index, facts: dict[str, Any]) -> None:
    document = _document(facts)
    index.add(
        make_raw_file(facts["filename"], bytes(facts["size"]), project=facts["project"], version=facts["version"]),
        provenance=document,
        upload_time=_logged(document),
        metadata=False,
        entry={"hashes": {"sha256": facts["sha256"]}},
    )


def _document(facts: dict[str, Any]) -> bytes:
    """Return the provenance document that PyPI served, or build one if the corpus has only the attestation."""
    served = _CORPUS / "provenance" / f"{facts['filename']}.provenance"
    if served.exists():
        return served.read_bytes()
    attestation = json.loads((_CORPUS / facts["attestation"]).read_bytes())
    bundle = {"publisher": facts["publisher"], "attestations": [attestation]}
    return json.dumps({"version": 1, "attestation_bundles": [bundle]}).encode()


def _logged(document: bytes) -> datetime:
    """Return the time of the transparency log's entry, which is within seconds of the upload."""
    attestation = json.loads(document)["attestation_bundles"][0]["attestations"][0]
    entry = attestation["verification_material"]["transparency_entries"][0]
    return datetime.fromtimestamp(int(entry["integratedTime"]), UTC)
