"""What the demo's two indexes list: the company's own, signed by a private Sigstore, and one that stands for PyPI.

PyPI's stand-in has real projects with their real attestations (tests/corpus). Their bytes are not here, so zeros of the
same length are in their place, as a tampering mirror could have put them: what is listed and verified is real, and a
download shows that wrong bytes do not pass.
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
    """A job of the company's GitLab, at the tag of a version."""
    return GitLab(repository=repository, ref=f"refs/tags/v{version}", issuer=GITLAB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """The company's index and who signs for it; days are counted back from `now`."""

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
        """An upload, attested by a job of `repository` unless that is None."""
        when = (self.now - timedelta(days=days)).replace(microsecond=0)
        document = None
        if repository is not None:
            signer = pipeline(repository, built.version)
            document = self.sigstore.provenance(built.filename, built.sha256, signer, when, edit=edit)
        return self.index.add(built, provenance=document, upload_time=when + timedelta(seconds=4), yanked=yanked)


WAIVED: Final = wheel("acme-hotfix", "1.0.1")
PINNED: Final = wheel("acme-legacy", "0.9")
STOLEN: Final = (22.0, 18.0)
"""Days ago: from when until when somebody else had the parser's runner."""


def fill_company(company: Company) -> ListedFile:
    """List the company's projects; the file that is to be swapped once it has been seen."""
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
    """Send it with another byte, and slowly: the first bytes are with the client before the last show what is wrong."""
    content = bytearray(listed.built.content)
    content[200_000] ^= 1
    index.serve_fixed(
        listed.path, CannedResponse(body=bytes(content), headers={"Content-Type": "application/octet-stream"})
    )
    index.inject_fault(listed.path, Drip(piece=100_000, pause=0.3))


def _widgets(company: Company) -> None:
    """A project to which most things happened."""
    ours = "platform/widgets"
    for version, days in (("1.0", 400), ("1.1", 320), ("1.2", 250), ("1.3", 180)):
        company.publish(wheel("acme-widgets", version), days, ours)
        company.publish(sdist("acme-widgets", version), days, ours)
    company.publish(wheel("acme-widgets", "1.4"), 120, None)
    company.publish(wheel("acme-widgets", "1.5"), 95, "interns/sandbox")
    company.publish(wheel("acme-widgets", "1.6"), 60, ours, edit=_in_certificate)
    company.publish(wheel("acme-widgets", "1.7"), 45, ours, edit=_in_statement)
    company.publish(wheel("acme-widgets", "1.8"), 20, ours)
    company.publish(sdist("acme-widgets", "1.8"), 20, ours)
    company.publish(wheel("acme-widgets", "1.9"), 0.1, ours)


def _in_certificate(attestation: dict[str, Any]) -> None:
    material = attestation["verification_material"]
    material["certificate"] = _with_another_byte(material["certificate"], b"platform/widgets")


def _in_statement(attestation: dict[str, Any]) -> None:
    envelope = attestation["envelope"]
    envelope["statement"] = _with_another_byte(envelope["statement"], b"predicateType")


def _with_another_byte(encoded: str, of: bytes) -> str:
    """As a certificate or statement stands in an attestation, with one letter of a word in it changed."""
    content = bytearray(b64decode(encoded))
    content[content.index(of)] ^= 1
    return b64encode(content).decode()


def fill_public(index: Index, now: datetime) -> None:
    """List what stands for PyPI: real projects, an unattested one, and strangers under the company's names."""
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
    """As PyPI served it; where the corpus has the attestation alone, in a document of the same shape."""
    served = _CORPUS / "provenance" / f"{facts['filename']}.provenance"
    if served.exists():
        return served.read_bytes()
    attestation = json.loads((_CORPUS / facts["attestation"]).read_bytes())
    bundle = {"publisher": facts["publisher"], "attestations": [attestation]}
    return json.dumps({"version": 1, "attestation_bundles": [bundle]}).encode()


def _logged(document: bytes) -> datetime:
    """When the log took it, which is within seconds of the upload."""
    attestation = json.loads(document)["attestation_bundles"][0]["attestations"][0]
    entry = attestation["verification_material"]["transparency_entries"][0]
    return datetime.fromtimestamp(int(entry["integratedTime"]), UTC)
