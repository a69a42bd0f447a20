"""Tests of trust roots: loading, issuers, and validity of earlier evidence under renewed roots."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from assay.attestation.config import TrustSettings, VerificationSettings
from assay.attestation.trust_roots import (
    BUNDLED_ROOTS_DATE,
    TrustRoot,
    TrustRoots,
    is_still_valid,
    load_roots,
    read_bundled,
)
from assay.attestation.verification.keys import load_keys
from assay.attestation.verification.verify import verify
from assay.errors import ConfigurationError
from assay.evidence import Attested, Forged, Rejection, Unattested, Unverifiable
from tests.paths import CORPUS, ROOT
from tests.world.sigstore.attacks import FILE_SHA256, FILENAME, make_listed_file, trust_root_for
from tests.world.sigstore.private_sigstore import GitHub, PrivateSigstore, build_provenance

GITLAB = "https://gitlab.acme.example"


def further(path: str = "acme.json") -> dict[str, object]:
    return {"acme": {"path": path, "issuers": [GITLAB]}}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "acme.json").write_bytes(PrivateSigstore(seed=2).trusted_root())
    return tmp_path


def test_the_default_is_sigstore_speaking_for_everybody(tmp_path: Path) -> None:
    roots = load_roots(TrustSettings(), tmp_path)
    (root,) = roots.for_index()
    assert (root.name, root.issuers, root.content) == ("sigstore", None, read_bundled("sigstore"))
    assert roots.for_index("sigstore-staging")[0].content == read_bundled("sigstore-staging")


def test_the_bundled_files_are_those_of_the_pinned_library() -> None:
    from sigstore._utils import read_embedded  # noqa: PLC0415 - needed only in this test

    for name, url in (
        ("sigstore", "https://tuf-repo-cdn.sigstore.dev"),
        ("sigstore-staging", "https://tuf-repo-cdn.sigstage.dev"),
    ):
        for file in ("trusted_root.json", "root.json"):
            assert read_bundled(name, file) == read_embedded(file, url)


@pytest.mark.parametrize("name", ["sigstore", "sigstore-staging"])
def test_the_bundled_roots_load(name: str) -> None:
    assert load_keys(read_bundled(name)).logs


def test_a_path_is_read_from_the_base_directory_and_called_default(directory: Path) -> None:
    roots = load_roots(TrustSettings(root="acme.json", issuers=("https://a.example",)), directory)
    (root,) = roots.for_index()
    assert (root.name, root.issuers) == ("default", frozenset({"https://a.example"}))
    assert root.source == str(directory / "acme.json")


def test_a_further_root_stands_beside_the_default_one(directory: Path) -> None:
    roots = load_roots(TrustSettings.model_validate({"roots": further()}), directory)
    assert [root.name for root in roots.for_index()] == ["sigstore", "acme"]
    assert [root.name for root in roots.for_index("acme")] == ["acme"]
    assert roots.by_name["acme"].issuers == frozenset({GITLAB})


def test_an_index_that_names_no_root_of_ours_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"expected the name of a trust root \(sigstore, sigstore-staging\), found acme"
    ):
        load_roots(TrustSettings(), tmp_path).for_index("acme")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"", "expected JSON"),
        (b"[]", "certificateAuthorities"),
        (b"{}", "certificateAuthorities"),
        (b'{"certificateAuthorities":[],"tlogs":[],"ctlogs":[]}', "certificateAuthorities"),
        (b" " * (1 << 20) + b"{}", "at most"),
        (b"[" * 100_000, "JSON"),
    ],
    ids=["missing", "empty", "list", "object", "nothing in it", "large", "deep"],
)
def test_what_is_no_trusted_root_is_refused_with_its_name(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "root.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as refused:
        load_roots(TrustSettings(root="root.json"), tmp_path)
    assert "root.json" in str(refused.value)


def test_a_root_whose_keys_dont_load_is_refused() -> None:
    content = PrivateSigstore(seed=1).trusted_root(lambda root: root.update(mediaType="application/json"))
    with pytest.raises(ConfigurationError, match=r"trusted_root\.json"):
        load_keys(content)
    load_keys(PrivateSigstore(seed=1).trusted_root())


@pytest.mark.parametrize(
    "wrong",
    [
        {"roots": {"acme": {"path": "x"}}},
        {"roots": {"acme": {"path": "x", "issuers": []}}},
        {"roots": {"acme": {"path": "x", "issuers": ["http://plain.example"]}}},
        {"roots": {"sigstore": {"path": "x", "issuers": [GITLAB]}}},
        {"roots": {"default": {"path": "x", "issuers": [GITLAB]}}},
        {"root": ""},
        {"issuers": []},
        {"refresh-every": "1 second"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused(wrong: dict[str, object]) -> None:
    TrustSettings.model_validate({"roots": further()})
    with pytest.raises(ValidationError):
        TrustSettings.model_validate(wrong)


def test_refreshing_is_on_for_sigstore_only_unless_said_otherwise() -> None:
    assert TrustSettings().is_refresh_enabled
    assert not TrustSettings(refresh=False).is_refresh_enabled
    assert not TrustSettings(root="sigstore-staging").is_refresh_enabled
    assert TrustSettings(root="sigstore-staging", refresh=True).is_refresh_enabled
    assert not TrustSettings(root="acme.json", refresh=True).is_refresh_enabled


def test_the_age_is_since_it_was_known_to_be_current(directory: Path) -> None:
    now = datetime(2027, 1, 1, tzinfo=UTC)
    assert load_roots(TrustSettings(), directory).for_index()[0].age(now) == now - BUNDLED_ROOTS_DATE
    os.utime(directory / "acme.json", (0, (now - timedelta(days=3)).timestamp()))
    assert load_roots(TrustSettings(root="acme.json"), directory).for_index()[0].age(now) == timedelta(days=3)


def test_workers_have_a_default_and_limits() -> None:
    assert VerificationSettings().workers is None
    with pytest.raises(ValidationError):
        VerificationSettings(workers=-1)


# -- renewal ----------------------------------------------------------------------------------------------------------


def test_a_renewed_root_takes_the_place_of_the_old_one_and_keeps_its_issuers(directory: Path) -> None:
    roots = load_roots(TrustSettings(issuers=("https://a.example",)), directory)
    new = TrustRoot(name="sigstore", content=PrivateSigstore(seed=3).trusted_root())
    renewed = roots.with_refreshed(new)
    assert renewed.for_index()[0].content == new.content
    assert renewed.for_index()[0].issuers == frozenset({"https://a.example"})
    assert renewed.digest != roots.digest
    assert [one.digest for one in renewed.earlier] == [roots.digest]
    assert roots.for_index()[0].content == read_bundled("sigstore")


def test_a_root_found_unchanged_is_only_younger(tmp_path: Path) -> None:
    roots = load_roots(TrustSettings(), tmp_path)
    later = replace(roots.for_index()[0], obtained=datetime(2027, 1, 1, tzinfo=UTC))
    renewed = roots.with_refreshed(later)
    assert renewed.for_index()[0].obtained == later.obtained
    assert (renewed.digest, renewed.earlier) == (roots.digest, ())


def test_earlier_roots_are_kept_and_bounded(tmp_path: Path) -> None:
    roots = load_roots(TrustSettings(), tmp_path)
    for seed in range(7):
        roots = roots.with_refreshed(TrustRoot(name="sigstore", content=PrivateSigstore(seed=seed).trusted_root()))
    assert len(roots.earlier) == 4
    assert all(one.earlier == () for one in roots.earlier)


def test_roots_as_last_renewed_are_in_force_from_the_start(tmp_path: Path) -> None:
    new = TrustRoot(name="sigstore", content=PrivateSigstore(seed=3).trusted_root())
    roots = load_roots(TrustSettings(), tmp_path, renewed=[new])
    assert roots.for_index()[0].content == new.content
    assert len(roots.earlier) == 1
    # Only bundled roots are renewed by TUF; a root given by path belongs to the operator.
    unasked = replace(new, name="default")
    (tmp_path / "root.json").write_bytes(PrivateSigstore(seed=1).trusted_root())
    own = load_roots(TrustSettings(root="root.json"), tmp_path, renewed=[unasked])
    assert own.for_index()[0].content != new.content


@pytest.mark.parametrize("what", ["name", "content", "issuers"])
def test_the_digest_changes_with_all_that_evidence_depends_on(what: str) -> None:
    root = trust_root_for(PrivateSigstore(seed=1))
    changed = {
        "name": replace(root, name="other"),
        "content": replace(root, content=PrivateSigstore(seed=2).trusted_root()),
        "issuers": replace(root, issuers=frozenset({GITLAB})),
    }[what]
    assert changed.fingerprint != root.fingerprint
    both = [TrustRoots(default=one.name, by_name={one.name: one}) for one in (root, changed)]
    assert both[0].digest != both[1].digest
    assert both[0].fingerprints_for_index() != both[1].fingerprints_for_index()


# -- what still stands ------------------------------------------------------------------------------------------------


def recorded(sigstore: PrivateSigstore) -> Attested:
    evidence = verify(sigstore.provenance(FILENAME, FILE_SHA256), make_listed_file(), [trust_root_for(sigstore)])
    assert isinstance(evidence, Attested)
    return evidence


def test_evidence_stands_while_the_keys_that_vouched_for_it_do() -> None:
    sigstore = PrivateSigstore(seed=1)
    evidence = recorded(sigstore)
    sigstore.new_rekor_key()
    sigstore.new_ct_key()
    assert is_still_valid(evidence, [trust_root_for(sigstore)])


@pytest.mark.parametrize("kind", ["tlogs", "ctlogs", "certificateAuthorities"])
def test_evidence_falls_when_a_key_that_vouched_for_it_is_dropped_or_changed(kind: str) -> None:
    sigstore = PrivateSigstore(seed=1)
    evidence = recorded(sigstore)
    other = json.loads(PrivateSigstore(seed=2).trusted_root())[kind]
    assert not is_still_valid(evidence, [trust_root_for(sigstore, lambda root: root.update({kind: other}))])

    def retire(root: dict[str, list[dict[str, dict[str, object]]]]) -> None:
        listed_ = root[kind][0]
        window = listed_["validFor"] if kind == "certificateAuthorities" else listed_["publicKey"]["validFor"]
        assert isinstance(window, dict)
        window["end"] = "2030-01-01T00:00:00Z"

    assert not is_still_valid(evidence, [trust_root_for(sigstore, retire)])


def test_evidence_falls_when_its_root_is_gone_or_may_no_longer_speak_for_the_issuer() -> None:
    sigstore = PrivateSigstore(seed=1)
    evidence, root = recorded(sigstore), trust_root_for(sigstore)
    assert is_still_valid(evidence, [root])
    assert not is_still_valid(evidence, [])
    assert not is_still_valid(evidence, [replace(root, name="other")])
    assert not is_still_valid(evidence, [replace(root, issuers=frozenset({GITLAB}))])


def test_what_was_unverifiable_even_in_part_is_tried_again() -> None:
    sigstore = PrivateSigstore(seed=1)
    good = sigstore.attestation(FILENAME, FILE_SHA256)
    mixed = verify(
        build_provenance((GitHub().publisher(), [good]), ({"kind": "Gitea"}, [good])),
        make_listed_file(),
        [trust_root_for(sigstore)],
    )
    roots = [trust_root_for(sigstore)]
    assert not is_still_valid(mixed, roots)
    assert not is_still_valid(Unverifiable(reason="r"), roots)
    assert not is_still_valid(Forged(step="a", expected="b", found="c"), roots)
    assert is_still_valid(Unattested(), roots)
    rejected = (Rejection(step="log key", expected="a", found="b"),)
    assert not is_still_valid(Unattested(rejected=rejected), roots)
    assert is_still_valid(replace(recorded(sigstore), rejected=()), roots)
    assert not is_still_valid(replace(recorded(sigstore), rejected=rejected), roots)


# -- nothing outside --------------------------------------------------------------------------------------------------

_PROGRAM = """
import socket, sys
from pathlib import Path
def refuse(*_, **__): raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
from assay.attestation.trust_roots import load_roots
from assay.attestation.config import TrustSettings
from assay.attestation.renewal.report import report_trust_roots
from assay.attestation.verification.verify import verify
from assay.evidence import Attested
from assay.simple.model import File
from datetime import datetime, UTC
roots = load_roots(TrustSettings(), Path("."))
report_trust_roots(roots, TrustSettings(), datetime.now(UTC))
file = File(filename="gcb_attestation_test-0.0.0.tar.gz", url="", location="", route="", distribution=None,
            sha256="461317362419124b6012e855423a9078d6de8aed3e74fa78cc74d669b23dc6cf")
assert isinstance(verify(Path(sys.argv[1]).read_bytes(), file, roots.for_index()), Attested)
"""


def test_verification_touches_no_cache_of_the_user_and_no_network(tmp_path: Path) -> None:
    """This includes the cache of sigstore: an empty home directory stays empty, and a malicious cache has no effect."""
    home = tmp_path / "home"
    home.mkdir()
    corpus = CORPUS / "provenance" / "gcb_attestation_test-0.0.0.tar.gz.provenance"
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(corpus)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr.decode()) == (0, "")
    assert list(home.iterdir()) == []
    assert list(tmp_path.iterdir()) == [home]
