"""Tests with real provenance documents of PyPI files, verified against the public Sigstore's trust root."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pypi_attestations
import pytest

from assay.simple.filename import possible_projects
from tests.paths import CORPUS
from tests.world.index.distributions import BuiltDistribution, make_raw_file
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.running_proxy import ManualClock, RunningProxy, run_test_proxy

MANIFEST: list[dict[str, Any]] = json.loads((CORPUS / "manifest.json").read_bytes())

GENUINE = {
    "sampleproject-4.0.0.tar.gz": '{ kind = "GitHub", repository = "pypa/sampleproject", workflow = "release.yml" }',
    "sampleproject-4.0.0-py3-none-any.whl": '{ kind = "GitHub", repository = "pypa/sampleproject" }',
    "sigstore-3.6.1-py3-none-any.whl": (
        '{ kind = "GitHub", repository = "sigstore/sigstore-python", ref = "refs/tags/*" }'
    ),
    "sigstore-3.6.1.tar.gz": '{ kind = "GitHub", repository = "sigstore/*", workflow = "release.yml" }',
    "pypi_attestations-0.0.19.tar.gz": '{ kind = "GitHub", repository = "trailofbits/pypi-attestations" }',
    "abi3info-2024.10.3-py3-none-any.whl": '{ kind = "GitHub", repository = "woodruffw/abi3info" }',
    "gcb_attestation_test-0.0.0.tar.gz": (
        '{ kind = "Google", email = "919436158236-compute@developer.gserviceaccount.com" }'
    ),
}
OTHERS = [
    '{ kind = "GitHub", repository = "somebody/else" }',
    '{ kind = "GitHub", repository = "pypa/*", workflow = "other.yml" }',
    '{ kind = "GitLab", repository = "pypa/sampleproject" }',
    '{ kind = "Google", email = "somebody@developer.gserviceaccount.com" }',
]
ANY = """
version = 1
[[rules]]
name = "attested"
projects = ["*"]
attestations = "required"
publishers = "any"
"""


def policy(publisher: str) -> str:
    return f"""
version = 1
[[rules]]
name = "the publisher"
projects = ["*"]
attestations = "required"
publishers = [{publisher}]
"""


def entry(filename: str, attestation: str) -> dict[str, Any]:
    return next(each for each in MANIFEST if each["filename"] == filename and each["attestation"].endswith(attestation))


def provenance(filename: str) -> bytes:
    """Return the provenance document of a file; built around the attestation if the corpus has only that."""
    served = CORPUS / "provenance" / f"{filename}.provenance"
    if served.exists():
        return served.read_bytes()
    found = entry(filename, f"{filename}.publish.attestation")
    return bundled(found["publisher"], found["attestation"])


def bundled(publisher: dict[str, Any], attestation: str) -> bytes:
    content = json.loads((CORPUS / attestation).read_bytes())
    return json.dumps(
        {"version": 1, "attestation_bundles": [{"publisher": publisher, "attestations": [content]}]}
    ).encode()


def listed(index: Index, filename: str, document: bytes) -> ListedFile:
    """List a file with its real name and digest. Its bytes are not real, because the tests do not use them."""
    facts = next(each for each in MANIFEST if each["filename"] == filename)
    built: BuiltDistribution = make_raw_file(
        filename, b"not the real bytes", project=facts["project"], version=facts["version"]
    )
    return index.add(
        built,
        provenance=document,
        upload_time=None,
        entry={"hashes": {"sha256": facts["sha256"]}, "size": facts["size"]},
    )


@pytest.fixture
def private_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Home directory of a user without a Sigstore cache."""
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    return tmp_path / "home"


def touched(home: Path) -> list[Path]:
    return list(home.rglob("*"))


async def state(proxy: RunningProxy, filename: str) -> list[str] | None:
    """Return the reasons for which a file is withheld; None if it is listed."""
    project = str(possible_projects(filename)[0])
    if filename in await proxy.fetch_listed(project):
        return None
    return (await proxy.fetch_withheld(project))[filename]


@pytest.mark.parametrize("filename", GENUINE)
async def test_a_genuine_file_is_approved_under_its_publisher_and_withheld_under_any_other(
    tmp_path: Path, filename: str, private_home: Path
) -> None:
    async with Index() as index:
        document = provenance(filename)
        file = listed(index, filename, document)
        clock = ManualClock()
        async with run_test_proxy(index, tmp_path / "own", policy=policy(GENUINE[filename]), clock=clock) as proxy:
            assert await state(proxy, filename) is None
            served = await proxy.get(file.provenance_path)
            assert served.body == document, "the document's bytes unchanged"
            assert served.headers["Content-Type"] == "application/vnd.pypi.integrity.v1+json"
        for number, other in enumerate(OTHERS):
            async with run_test_proxy(index, tmp_path / str(number), policy=policy(other), clock=clock) as proxy:
                assert await state(proxy, filename) == ["publisher"]
                assert (await proxy.get(file.provenance_path)).status == 403
    assert not touched(private_home), "the user's Sigstore cache is never touched"


@pytest.mark.parametrize("filename", GENUINE)
async def test_the_public_package_accepts_what_is_served(tmp_path: Path, filename: str, private_home: Path) -> None:
    facts = next(each for each in MANIFEST if each["filename"] == filename)
    async with Index() as index, run_test_proxy(index, tmp_path / "proxy", policy=policy(GENUINE[filename])) as proxy:
        file = listed(index, filename, provenance(filename))
        served = (await proxy.get(file.provenance_path)).body
    parsed = pypi_attestations.Provenance.model_validate_json(served)
    distribution = pypi_attestations.Distribution(name=filename, digest=facts["sha256"])
    (bundle,) = parsed.attestation_bundles
    for attestation in bundle.attestations:
        attestation.verify(bundle.publisher, distribution, offline=True)
    assert touched(private_home), "the reference, unlike the proxy, keeps its root there"


PERSON = "attestations/pypi_attestations-0.0.19.tar.gz.publish.2.attestation"
REKOR_2 = "attestations/pypi_attestations-0.0.19.tar.gz.publish.3.rekor2-staging.attestation"
STAGING = "attestations/rfc8785-0.1.2-py3-none-any.whl.publish.attestation"


@pytest.mark.parametrize(
    ("filename", "attestation"),
    [
        ("pypi_attestations-0.0.19.tar.gz", PERSON),
        ("pypi_attestations-0.0.19.tar.gz", REKOR_2),
        ("rfc8785-0.1.2-py3-none-any.whl", STAGING),
    ],
)
@pytest.mark.parametrize(
    "publisher",
    [
        {"kind": "GitHub", "repository": "trailofbits/pypi-attestations", "workflow": "release.yml"},
        {"kind": "Google", "email": "jku@goto.fi"},
        {"kind": "Google", "email": "william@yossarian.net"},
        {"kind": "Person", "email": "jku@goto.fi"},
    ],
    ids=lambda publisher: publisher["kind"],
)
async def test_what_a_person_or_the_staging_instance_signed_is_withheld_under_any_policy(
    tmp_path: Path, filename: str, attestation: str, publisher: dict[str, Any]
) -> None:
    rules = [
        ANY,
        policy('{ kind = "Google", email = "*" }'),
        policy('{ kind = "GitHub", repository = "**" }'),
    ]
    async with Index() as index:
        listed(index, filename, bundled(publisher, attestation))
        for number, rule in enumerate(rules):
            async with run_test_proxy(index, tmp_path / str(number), policy=rule) as proxy:
                reasons = await state(proxy, filename)
                assert reasons, rule
                assert set(reasons) & {"forged", "unverifiable"}, rule
