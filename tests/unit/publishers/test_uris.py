"""Spelling of URIs in Subject Alternative Names, as Go's `net/url` writes them."""

from __future__ import annotations

import pytest

from assay.publishers.extensions import CertificateFacts, InvalidClaimsError
from assay.publishers.uris import encode_uri

START = "https://github.com/acme/widget/.github/workflows/"


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("release.yml@refs/tags/v1.0", "release.yml@refs/tags/v1.0"),
        ("Publish to PyPI.yml@refs/heads/main", "Publish%20to%20PyPI.yml@refs/heads/main"),
        ("release.yml@refs/tags/v1.0-β", "release.yml@refs/tags/v1.0-%CE%B2"),
        ("release.yml@refs/tags/v1.0+local", "release.yml@refs/tags/v1.0+local"),
        ("release (pypi).yml@refs/tags/v1", "release%20%28pypi%29.yml@refs/tags/v1"),
        ("release(pypi).yml@refs/tags/v1", "release(pypi).yml@refs/tags/v1"),
        ("a%20b.yml@refs/tags/v1", "a%20b.yml@refs/tags/v1"),
        ("a%20b c.yml@refs/tags/v1", "a%20b%20c.yml@refs/tags/v1"),
        ("a?b.yml@refs/tags/v1", "a?b.yml@refs/tags/v1"),
        ("release.yml@refs/heads/fix/#12", "release.yml@refs/heads/fix/#12"),
        ("release.yml@refs/heads/fix/#12-β", "release.yml@refs/heads/fix/#12-%CE%B2"),
        ("my release.yml@refs/heads/fix/#12", "my%20release.yml@refs/heads/fix/#12"),
        ("release.yml@refs/heads/fix!#a b!", "release.yml@refs/heads/fix!#a%20b!"),
    ],
)
def test_a_uri_is_encoded_as_go_encodes_it(text: str, encoded: str) -> None:
    assert encode_uri(START + text) == START + encoded
    assert encode_uri(START + encoded) == START + encoded


@pytest.mark.parametrize(
    ("builder", "san"),
    [
        ("Publish to PyPI.yml", "Publish+to+PyPI.yml"),
        ("Publish to PyPI.yml", "Publish%2520to%2520PyPI.yml"),
        ("Publish to PyPI.yml", "publish%20to%20pypi.yml"),
        ("Publish%20to%20PyPI.yml", "Publish to PyPI.yml"),
        ("release%2Eyml", "release.yml"),
        ("release.yml", "release%2Eyml"),
        ("v1.0-β", "v1.0-%ce%b2"),
    ],
)
def test_the_name_equals_the_builder_exactly_in_one_of_two_spellings(builder: str, san: str) -> None:
    def read(name: str) -> str:
        facts = CertificateFacts(kind="GitHub", issuer="https://x", san=name, is_email=False, extensions={9: builder})
        return facts.require_builder()

    assert read(builder) == read(encode_uri(builder)) == builder
    with pytest.raises(InvalidClaimsError) as refused:
        read(san)
    assert refused.value.step == "subject alternative name"
