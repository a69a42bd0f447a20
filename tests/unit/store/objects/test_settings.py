"""Settings of the object storage."""

from __future__ import annotations

import pytest

from assay.errors import ConfigurationError
from assay.store.objects.settings import ObjectStorageSettings


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("s3://bucket", "s3"),
        ("s3://bucket/a/b/", "s3"),
        ("gs://b", "gs"),
        ("az://c/p", "az"),
        ("file:///srv/x", "file"),
    ],
)
def test_a_location_has_a_known_scheme(url: str, scheme: str) -> None:
    assert ObjectStorageSettings(url=url, deployment="acme-prod").scheme == scheme


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bucket",
        "ftp://bucket",
        "http://bucket",
        "memory:///",
        "s3://",
        "s3:///prefix",
        "s3://key:secret@bucket",
        "s3://bucket?region=x",
        "s3://bucket#x",
        "file://",
        "file:///",
        "file://host/directory",
    ],
)
def test_another_location_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="objects: "):
        ObjectStorageSettings(url=url, deployment="acme-prod")


@pytest.mark.parametrize("deployment", ["", "a/b", "..", "-a", "a b", "ä", "a" * 101, "a\n"])
def test_the_name_of_a_deployment_is_one_part_of_a_key(deployment: str) -> None:
    with pytest.raises(ConfigurationError, match="deployment: "):
        ObjectStorageSettings(url="s3://bucket", deployment=deployment)


@pytest.mark.parametrize(
    ("endpoint", "insecure"),
    [
        ("https://s3.example", False),
        ("http://127.0.0.1:8333", False),
        ("http://[::1]:8333", False),
        ("http://localhost", False),
        ("http://s3.example", True),
    ],
)
def test_an_endpoint_is_encrypted_or_on_loopback_or_permitted(endpoint: str, *, insecure: bool) -> None:
    ObjectStorageSettings(url="s3://bucket", deployment="a", endpoint=endpoint, insecure=insecure)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://s3.example",
        "http://10.0.0.1",
        "http://127.0.0.1.example",
        "ftp://s3.example",
        "https://",
        "https://u:p@h",
    ],
)
def test_another_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="endpoint: "):
        ObjectStorageSettings(url="s3://bucket", deployment="a", endpoint=endpoint)


def test_only_s3_has_an_endpoint() -> None:
    with pytest.raises(ConfigurationError, match="only s3"):
        ObjectStorageSettings(url="file:///srv/x", deployment="a", endpoint="https://s3.example")
