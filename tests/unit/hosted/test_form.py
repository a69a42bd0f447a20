from __future__ import annotations

import json

import pytest

from assay.errors import UploadRefusedError
from assay.hosted.form import check_digests, parse_form
from assay.simple.model import Kind

WHEEL = "acme_app-1.0-py3-none-any.whl"
FIELDS = {
    ":action": "file_upload",
    "protocol_version": "1",
    "filetype": "bdist_wheel",
    "name": "Acme.App",
    "version": "1.0",
    "sha256_digest": "a" * 64,
}


def test_a_valid_form_is_normalized() -> None:
    form = parse_form(FIELDS | {"attestations": "[{}, {}]"}, WHEEL)

    assert (form.project, str(form.version), form.slot.kind) == ("acme-app", "1.0", Kind.WHEEL)
    assert form.attestations == ({}, {})


def test_a_source_archive_needs_the_normalized_name() -> None:
    fields = FIELDS | {"filetype": "sdist"}

    assert parse_form(fields, "acme_app-1.0.tar.gz").slot.kind is Kind.SDIST
    for filename in ("acme-app-1.0.tar.gz", "Acme_App-1.0.tar.gz", "acme_app-1.0.zip"):
        with pytest.raises(UploadRefusedError, match="PEP 625"):
            parse_form(fields, filename)


@pytest.mark.parametrize(
    ("changes", "filename", "reason"),
    [
        ({":action": "submit"}, WHEEL, ":action=file_upload"),
        ({"protocol_version": "2"}, WHEEL, "protocol_version=1"),
        ({}, None, "no file in the field content"),
        ({"name": ""}, WHEEL, "field name is missing"),
        ({"name": "-acme"}, WHEEL, "invalid project name"),
        ({"name": "other"}, WHEEL, "a file of another project, acme-app"),
        ({"version": "1.0.x"}, WHEEL, "invalid version"),
        ({"version": "1.1"}, WHEEL, "has version 1.0"),
        ({"filetype": "sdist"}, WHEEL, "contradicts the filename"),
        ({"filetype": "bdist_egg"}, "acme_app-1.0-py3.11.egg", "is not"),
        ({"sha256_digest": "xyz"}, WHEEL, "not a digest"),
        ({"attestations": "{"}, WHEEL, "not valid JSON"),
        ({"attestations": "[" * 100_000}, WHEEL, "not valid JSON"),
        ({"attestations": "{}"}, WHEEL, "not a JSON list"),
        ({"attestations": json.dumps([{}] * 3)}, WHEEL, "3 attestations: a file may have at most 2"),
        ({"attestations": json.dumps([{"x": "y" * 600_000}])}, WHEEL, "more than"),
    ],
)
def test_an_invalid_form_is_refused_with_its_reason(changes: dict[str, str], filename: str | None, reason: str) -> None:
    with pytest.raises(UploadRefusedError, match=reason):
        parse_form(FIELDS | changes, filename)


def test_the_stated_digests_must_be_those_of_the_bytes() -> None:
    form = parse_form(FIELDS, WHEEL)

    check_digests(form, sha256="a" * 64, blake2_256="b" * 64)
    with pytest.raises(UploadRefusedError, match="the received file has the SHA-256"):
        check_digests(form, sha256="c" * 64, blake2_256="b" * 64)
    with pytest.raises(UploadRefusedError, match="neither"):
        check_digests(parse_form(FIELDS | {"sha256_digest": ""}, WHEEL), sha256="a" * 64, blake2_256="b" * 64)
