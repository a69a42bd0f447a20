from __future__ import annotations

import pytest
from packaging.utils import NormalizedName
from packaging.version import Version

from assay.errors import UploadRefusedError
from assay.hosted.archive.metadata import ExpectedDistribution, read_metadata

EXPECTED = ExpectedDistribution(project=NormalizedName("foo"), version=Version("1.0"), filename="foo-1.0.tar.gz")
FIELDS = b"Metadata-Version: 2.1\nName: foo\nVersion: 1.0\n"


def read(added: bytes) -> str | None:
    return read_metadata(FIELDS + added, EXPECTED, "PKG-INFO")


@pytest.mark.parametrize(
    "added",
    [
        b"",
        b"\nA description\rwith any: lines\0\n",
        b"License: one line\n        another line\n        \n        \x0cnext page\n",
        b"Description: " + b"long " * 10_000 + b"\n",
        b"".join(b"Classifier: Private :: %d\n" % number for number in range(1000)),
    ],
)
def test_valid_metadata_is_accepted(added: bytes) -> None:
    assert read(added) is None
    assert read(added.replace(b"\n", b"\r\n")) is None


@pytest.mark.parametrize(
    ("added", "reason"),
    [
        (b"no field\nRequires-Dist: evil @ https://evil.example/e\n", "a line before the description is not a field"),
        (b"Summary: a\r\rRequires-Dist: evil @ https://evil.example/e\n", "control character"),
        (b"Summary: a\0b\n", "control character"),
        (b"REQUIRES-dist: evil @ https://evil.example/e\n", "requires evil from a URL"),
        (b"Requires-Dist: evil @\n https://evil.example/e\n", "invalid PKG-INFO"),
        (b"Name: foo\n", "invalid PKG-INFO"),
        # Each takes hours if the parser of packaging reads it.
        (b"".join(b"X-%d:\n" % number for number in range(300_000)), "more than 20000 fields"),
        (b"".join(b"X-%d:\n" % number for number in range(200)), "or 100 field names"),
        (b"Description-Content-Type: text/plain;" + b"a=b;" * 900_000 + b"\n", "has more than 16384 bytes"),
    ],
)
def test_ambiguous_or_expensive_metadata_is_refused(added: bytes, reason: str) -> None:
    with pytest.raises(UploadRefusedError, match=reason):
        read(added)


def test_a_line_before_the_fields_is_refused() -> None:
    for line in (b"From x\n", b" x\n"):
        with pytest.raises(UploadRefusedError, match="is not a field"):
            read_metadata(line + FIELDS, EXPECTED, "PKG-INFO")
