"""Tests of the renewal of a trust root by TUF, without the network: the last good root is always kept."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from assay.attestation.renewal.tuf import RefreshError, TufRefresher, create_tuf_refreshers
from assay.attestation.trust_roots import TrustRoot
from assay.attestation.verification.verify import verify
from assay.evidence import Attested, Unverifiable
from tests.world.sigstore.attacks import FILE_SHA256, FILENAME, make_listed_file
from tests.world.sigstore.private_sigstore import PrivateSigstore
from tests.world.sigstore.tuf_repository import TARGET, TufRepository


@pytest.fixture
def tuf(sigstore: PrivateSigstore) -> TufRepository:
    return TufRepository(sigstore.trusted_root())


@pytest.fixture
def refresher(tuf: TufRepository, tmp_path: Path) -> TufRefresher:
    directory = tmp_path / "trust" / "sigstore"
    return TufRefresher(name="sigstore", directory=directory, url=TufRepository.URL, fetch=tuf.fetch, anchor=tuf.anchor)


@pytest.fixture
def bundled(sigstore: PrivateSigstore) -> TrustRoot:
    return TrustRoot(name="sigstore", content=sigstore.trusted_root())


def test_a_log_with_a_new_key_is_verified_without_restart_once_the_root_is_renewed(
    sigstore: PrivateSigstore, tuf: TufRepository, refresher: TufRefresher, bundled: TrustRoot
) -> None:
    sigstore.new_rekor_key()
    raw = sigstore.provenance(FILENAME, FILE_SHA256)
    assert isinstance(verify(raw, make_listed_file(), [bundled]), Unverifiable)
    tuf.publish(sigstore.trusted_root())
    renewed = refresher.refresh(bundled)
    assert renewed.content == sigstore.trusted_root()
    assert isinstance(verify(raw, make_listed_file(), [renewed]), Attested)


def test_a_root_found_unchanged_is_known_to_be_current(refresher: TufRefresher, bundled: TrustRoot) -> None:
    before = datetime.now(UTC)
    renewed = refresher.refresh(bundled)
    assert renewed.content == bundled.content
    assert renewed.obtained >= before


def test_a_repository_that_cant_be_reached_changes_nothing(
    tuf: TufRepository, refresher: TufRefresher, bundled: TrustRoot
) -> None:
    tuf.down = True
    with pytest.raises(RefreshError) as failed:
        refresher.refresh(bundled)
    assert str(failed.value) == f"sigstore from {TufRepository.URL}: the repository cannot be reached, or sends no data"
    assert refresher.load_verified() is None
    tuf.down = False
    assert refresher.refresh(bundled).content == bundled.content


def forge_target(tuf: TufRepository) -> None:
    for url in [url for url in tuf.files if url.endswith(TARGET)]:
        tuf.files[url] = PrivateSigstore(seed=9).trusted_root().ljust(len(tuf.files[url]))[: len(tuf.files[url])]


def forge_keys(tuf: TufRepository) -> None:
    thief = TufRepository(PrivateSigstore(seed=9).trusted_root())
    tuf.files = thief.files


def forge_root(tuf: TufRepository) -> None:
    thief = TufRepository(PrivateSigstore(seed=9).trusted_root())
    thief.rotate_root()
    tuf.files[f"{TufRepository.URL}/2.root.json"] = thief.files[f"{TufRepository.URL}/2.root.json"]


def expire(tuf: TufRepository) -> None:
    tuf.expires = datetime.now(UTC) - timedelta(days=1)
    tuf.publish(PrivateSigstore(seed=9).trusted_root())


def no_root(tuf: TufRepository) -> None:
    tuf.publish(b'{"certificateAuthorities": [], "tlogs": [], "ctlogs": []}')


def no_keys(tuf: TufRepository) -> None:
    tuf.publish(PrivateSigstore(seed=1).trusted_root(lambda root: root.update(mediaType="text/plain")))


def forget_timestamp(tuf: TufRepository) -> None:
    del tuf.files[f"{TufRepository.URL}/timestamp.json"]


_UNSIGNED = "the metadata of the repository is not signed by enough of its keys"


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (forge_target, "a file of the repository does not have the length or digest that its metadata states"),
        (forge_keys, _UNSIGNED),
        (forge_root, _UNSIGNED),
        (expire, "the metadata of the repository has expired"),
        (forget_timestamp, "the repository answered 404"),
        (no_root, "trust root sigstore: expected a Sigstore trusted_root.json with certificateAuthorities"),
        (no_keys, "trust root: expected a valid Sigstore trusted_root.json"),
    ],
)
def test_what_isnt_signed_or_isnt_a_root_is_not_taken(
    forge: object, message: str, tuf: TufRepository, refresher: TufRefresher, bundled: TrustRoot
) -> None:
    assert callable(forge)
    forge(tuf)
    with pytest.raises(RefreshError) as failed:
        refresher.refresh(bundled)
    assert str(failed.value).startswith(f"sigstore from {TufRepository.URL}: {message}")
    with suppress(RefreshError):
        assert refresher.load_verified() is None


def test_the_control_of_those_forgeries_is_taken(
    tuf: TufRepository, refresher: TufRefresher, bundled: TrustRoot
) -> None:
    tuf.rotate_root()
    tuf.publish(PrivateSigstore(seed=9).trusted_root())
    assert refresher.refresh(bundled).content == PrivateSigstore(seed=9).trusted_root()


# -- the last good root -----------------------------------------------------------------------------------------------


def test_the_last_good_root_is_read_back_without_the_network(
    tuf: TufRepository, refresher: TufRefresher, bundled: TrustRoot
) -> None:
    tuf.rotate_root()
    tuf.publish(PrivateSigstore(seed=9).trusted_root())
    refresher.refresh(bundled)
    asked = len(tuf.asked)
    kept = refresher.load_verified()
    assert kept is not None
    assert kept.content == PrivateSigstore(seed=9).trusted_root()
    assert datetime.now(UTC) - kept.obtained < timedelta(minutes=1)
    assert len(tuf.asked) == asked


def test_the_last_good_root_outlives_the_repositorys_signatures(
    tuf: TufRepository, refresher: TufRefresher, bundled: TrustRoot
) -> None:
    """Expiry matters for renewal only: an old signed root is better than an even older bundled one."""
    refresher.refresh(bundled)
    tuf.expires = datetime.now(UTC) - timedelta(days=1)
    content = PrivateSigstore(seed=9).trusted_root()
    tuf.publish(content)
    (refresher.directory / "targets.json").write_bytes(tuf.files[f"{TufRepository.URL}/2.targets.json"])
    (refresher.directory / TARGET).write_bytes(content)
    kept = refresher.load_verified()
    assert kept is not None
    assert kept.content == content


@pytest.mark.parametrize("file", [TARGET, "targets.json", "root_history/2.root.json"])
def test_an_edited_copy_on_disk_wins_nothing(
    file: str, tuf: TufRepository, refresher: TufRefresher, bundled: TrustRoot
) -> None:
    tuf.rotate_root()
    tuf.publish(PrivateSigstore(seed=9).trusted_root())
    refresher.refresh(bundled)
    assert refresher.load_verified() is not None
    thief = TufRepository(PrivateSigstore(seed=8).trusted_root())
    thief.rotate_root()
    thief.publish(PrivateSigstore(seed=8).trusted_root())
    forged = {
        TARGET: PrivateSigstore(seed=8).trusted_root(),
        "targets.json": thief.files[f"{TufRepository.URL}/2.targets.json"],
        "root_history/2.root.json": thief.files[f"{TufRepository.URL}/2.root.json"],
    }[file]
    (refresher.directory / file).write_bytes(forged)
    with pytest.raises(RefreshError):
        refresher.load_verified()


def test_a_directory_that_others_can_write_to_is_not_believed(
    tuf: TufRepository, refresher: TufRefresher, bundled: TrustRoot
) -> None:
    refresher.refresh(bundled)
    assert refresher.load_verified() is not None
    assert tuf.asked
    refresher.directory.chmod(0o777)
    with pytest.raises(RefreshError, match="writable by other users"):
        refresher.load_verified()


def test_the_directory_is_ours_alone(refresher: TufRefresher, bundled: TrustRoot) -> None:
    old = os.umask(0)
    try:
        refresher.refresh(bundled)
    finally:
        os.umask(old)
    assert refresher.directory.stat().st_mode & 0o777 == 0o700


def test_each_bundled_root_has_a_refresher_and_a_directory_of_its_own(tmp_path: Path) -> None:
    made = create_tuf_refreshers(["sigstore", "sigstore-staging", "acme"], tmp_path)
    assert [one.name for one in made] == ["sigstore", "sigstore-staging"]
    assert len({one.directory for one in made}) == len({one.url for one in made}) == 2
    assert all(one.url.startswith("https://") for one in made)
