from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from packaging.utils import NormalizedName

from assay.errors import UploadForbiddenError, UploadRefusedError
from assay.evidence import (
    PUBLISH_PREDICATE_TYPE,
    SLSA_PREDICATE_TYPE,
    Attestation,
    Attested,
    Claims,
    Forged,
    PublisherIdentity,
    Unattested,
    Unverifiable,
)
from assay.hosted.form import UploadForm, parse_form
from assay.hosted.rules import (
    LATE_AFTER,
    Placement,
    check_evidence,
    check_owner,
    check_uploader,
    find_owners,
    place_upload,
)
from assay.indexes import IndexSettings
from assay.ports import HostedFile

NOW = datetime(2026, 11, 1, tzinfo=UTC)
OWNER = PublisherIdentity("public", "https://token.actions.githubusercontent.com", "repository-id:1")


def index(**keys: Any) -> IndexSettings:
    uploaders = [{"user": "bot", "projects": ["acme-*"]}]
    return IndexSettings.model_validate({"name": "internal", "kind": "hosted", "uploaders": uploaders, **keys})


def form(filename: str, version: str = "1.0") -> UploadForm:
    filetype = "bdist_wheel" if filename.endswith(".whl") else "sdist"
    fields = {":action": "file_upload", "filetype": filetype, "name": "acme", "version": version}
    return parse_form(fields, filename)


def file(filename: str, version: str = "1.0", **changes: Any) -> HostedFile:
    values: dict[str, Any] = {"sha256": "a" * 64, "size": 1, "uploaded": NOW, "uploader": "bot"} | changes
    return HostedFile(filename=filename, version=version, **values)


def attestation(predicate: str = PUBLISH_PREDICATE_TYPE, repository_id: str = "1") -> Attestation:
    claims = Claims(
        kind="GitHub",
        issuer=OWNER.issuer,
        san="https://github.com/acme/app",
        repository="acme/app",
        repository_id=repository_id,
    )
    return Attestation(
        trust_root="public",
        bundle=0,
        predicate_type=predicate,
        claims=claims,
        integrated_time=NOW,
        log_index=1,
        certificate="c",
        not_before=NOW,
        not_after=NOW,
    )


def test_only_an_uploader_of_the_project_may_upload() -> None:
    check_uploader(index(), "bot", NormalizedName("acme-app"), is_owner=True)
    with pytest.raises(UploadForbiddenError, match="may not upload to the index internal"):
        check_uploader(index(), "eve", NormalizedName("acme-app"), is_owner=True)
    with pytest.raises(UploadForbiddenError, match="may not upload files of the project other"):
        check_uploader(index(), "bot", NormalizedName("other"), is_owner=True)
    with pytest.raises(UploadRefusedError, match="does not own the name requests"):
        check_uploader(index(), "bot", NormalizedName("requests"), is_owner=False)


@pytest.mark.parametrize(
    ("new", "version", "taken"),
    [
        ("acme-1.0-py3-none-any.whl", "1.0", True),
        ("acme-1.0.0-py3-none-any.whl", "1.0.0", True),  # equal versions (PEP 440)
        ("acme-1.0-1-py3-none-any.whl", "1.0", False),  # another build number
        ("acme-1.0-py2.py3-none-any.whl", "1.0", False),  # other tags
        ("acme-1.1-py3-none-any.whl", "1.1", False),
        ("acme-1.0.tar.gz", "1.0", False),
    ],
)
def test_a_slot_is_never_used_for_other_bytes(new: str, version: str, taken: bool) -> None:
    files = [file("acme-1.0-py3-none-any.whl", yanked="broken")]

    if taken:
        with pytest.raises(UploadRefusedError, match="is taken by other bytes") as raised:
            place_upload(form(new, version), "b" * 64, files, NOW)
        assert "already" not in str(raised.value)
    else:
        assert place_upload(form(new, version), "b" * 64, files, NOW) is Placement.NEW


def test_a_version_has_one_source_archive() -> None:
    with pytest.raises(UploadRefusedError, match="is taken"):
        place_upload(form("acme-1.0.tar.gz"), "b" * 64, [file("acme-1.0.0.tar.gz", "1.0.0")], NOW)


def test_the_same_bytes_under_the_same_name_change_nothing() -> None:
    files = [file("acme-1.0-py3-none-any.whl")]

    assert place_upload(form("acme-1.0-py3-none-any.whl"), "a" * 64, files, NOW + LATE_AFTER * 2) is Placement.SAME


def test_a_release_takes_new_files_for_fourteen_days() -> None:
    files = [file("acme-1.0-py3-none-any.whl")]

    assert place_upload(form("acme-1.0.tar.gz"), "b" * 64, files, NOW + LATE_AFTER) is Placement.NEW
    with pytest.raises(UploadRefusedError, match="for 14 days only"):
        place_upload(form("acme-1.0.tar.gz"), "b" * 64, files, NOW + LATE_AFTER + timedelta(seconds=1))
    assert place_upload(form("acme-1.1.tar.gz", "1.1"), "b" * 64, files, NOW + LATE_AFTER * 9) is Placement.NEW


def test_the_evidence_of_an_upload_must_be_complete() -> None:
    both = (attestation(), attestation(SLSA_PREDICATE_TYPE))

    assert check_evidence(index(), Attested(attestations=both), 2) == both
    for evidence, count, reason in (
        (Unattested(), 0, "this index requires attestations"),
        (Forged(step="subject digest", expected="x", found="y"), 1, "invalid attestation, subject digest: expected x"),
        (Unverifiable(reason="unknown log"), 1, "cannot be verified: unknown log"),
        (Attested(attestations=both[:1], ignored=("unknown log",)), 2, "cannot be verified: unknown log"),
        (Attested(attestations=(both[0], both[0])), 2, "two attestations have the predicate type"),
        (Attested(attestations=(attestation("https://x.example"),)), 1, "is not accepted"),
    ):
        with pytest.raises(UploadRefusedError, match=reason):
            check_evidence(index(), evidence, count)


def test_attestations_are_optional_if_the_index_says_so() -> None:
    assert check_evidence(index(attestations="optional"), Unattested(), 0) == ()


def test_the_first_publisher_owns_the_project() -> None:
    later = PublisherIdentity("public", OWNER.issuer, "repository-id:2")
    files = [
        file("acme-1.2.tar.gz", "1.2", uploaded=NOW + timedelta(2), signers=(later,)),
        file("acme-1.1.tar.gz", "1.1", uploaded=NOW + timedelta(1), signers=(OWNER,)),
        file("acme-1.0.tar.gz"),
    ]
    owners = find_owners(files)

    assert owners == {OWNER}
    check_owner([attestation()], owners, names_publishers=False)
    check_owner([attestation(repository_id="2")], owners, names_publishers=True)
    check_owner([], frozenset(), names_publishers=False)
    with pytest.raises(UploadRefusedError, match=r"signed by GitHub acme/app, but .* repository-id:1"):
        check_owner([attestation(repository_id="2")], owners, names_publishers=False)
    with pytest.raises(UploadRefusedError, match="has no attestation, but the project belongs to"):
        check_owner([], owners, names_publishers=False)
