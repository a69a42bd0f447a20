"""Settings of a shared storage: what is refused, with its accepted twin, and secrets that no message quotes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from assay.config import Configuration, load_configuration
from assay.errors import ConfigurationError
from assay.settings import validate_table
from assay.store.shared.settings import SharedSettings

SHARED = {
    "deployment": "acme-prod",
    "database": "postgresql://assay@db.example/assay?sslmode=verify-full",
    "key-file": "/run/secrets/assay/records",
}
S3 = {"objects": "s3://assay/"}
PEERS = {"peers": ["replica-2:8081"], "peer-address": "10.0.0.1:8081"}


def load(**keys: object) -> SharedSettings:
    return validate_table(SharedSettings, {**SHARED, **keys}, source="proxy.toml")


def test_a_table_with_only_the_required_keys_has_the_documented_defaults() -> None:
    settings = load()
    assert settings.ledger_grace == timedelta(hours=1)
    assert settings.objects_max_age == timedelta(days=90)
    assert settings.deadlines.ledger == settings.deadlines.objects == timedelta(seconds=2)
    assert settings.deadlines.flight == timedelta(seconds=20)
    assert (settings.objects, settings.peers, settings.password_file) == (None, (), None)


@pytest.mark.parametrize("key", SHARED)
def test_a_required_key_that_is_missing_is_named(key: str) -> None:
    table = {name: value for name, value in SHARED.items() if name != key}
    with pytest.raises(ConfigurationError, match=f"{key}: expected a value, found nothing: this key is required"):
        validate_table(SharedSettings, table, source="proxy.toml")


@pytest.mark.parametrize(
    "keys",
    [
        {"deployment": "a"},
        {"database": "postgresql://assay@127.0.0.1:5432/assay"},
        {"database": "postgresql://assay@/assay?host=/run/postgresql"},
        {"objects": "s3://assay/a/prefix"},
        {"objects": "gs://assay"},
        {"objects": "az://assay/"},
        {"objects": "file:///srv/objects"},
        {**S3, "endpoint": "https://s3.example"},
        {**S3, "endpoint": "http://127.0.0.1:8333", "region": "us-east-1"},
        {**S3, "endpoint": "http://s3.example", "insecure": True},
        PEERS,
        {"peers": "assay-peers:8081", "peer-address": "[fd00::1]:8081"},
        {"peers": ""},
        {"ledger-grace": "0 seconds"},
        {"ledger-grace": "1 day"},
        {"objects-max-age": "0 days"},
        {"objects-max-age": "1 day"},
        {"deadlines": {"ledger": "1 second"}},
    ],
    ids=str,
)
def test_a_usable_value_is_accepted(keys: dict[str, Any]) -> None:
    load(**keys)


def test_one_peer_may_be_written_as_a_string() -> None:
    assert load(**{**PEERS, "peers": "assay-peers:8081"}).peer_names == ("assay-peers:8081",)
    assert load(**PEERS).peer_names == ("replica-2:8081",)
    assert load(peers="").peer_names == ()


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"deployment": "Acme"}, "deployment: expected"),
        ({"deployment": "../other"}, "deployment: expected"),
        ({"database": "mysql://assay@db/assay"}, "must begin with postgresql://"),
        ({"database": "postgresql://db"}, "must name a host and a database"),
        ({"database": "postgresql://assay@db/assay?sslmode=prefer"}, "sslmode"),
        ({"objects": "https://assay.s3.example/"}, "objects: expected s3://BUCKET/"),
        ({"objects": "s3:///prefix"}, "objects: expected s3://BUCKET/"),
        ({"objects": "file://server/share"}, "objects: expected s3://BUCKET/"),
        ({"endpoint": "https://s3.example"}, "endpoint: expected no value without objects"),
        ({"objects": "gs://assay", "endpoint": "https://s3.example"}, "endpoint: expected no value without objects"),
        ({**S3, "endpoint": "http://s3.example"}, "endpoint: expected https .http is allowed on loopback"),
        ({**S3, "endpoint": "ftp://s3.example"}, "endpoint: expected https://HOST"),
        ({**S3, "endpoint": "https://s3.example:port"}, "endpoint: expected https://HOST"),
        ({"peers": ["replica-2:8081"]}, "peer-address: expected the address of this replica"),
        ({"peer-address": "10.0.0.1:8081"}, "peers: expected the addresses of the other replicas"),
        ({**PEERS, "peers": ["replica-2"]}, "expected host:port"),
        ({**PEERS, "peer-address": "0.0.0.0:8081"}, "expected the address of this replica"),
        ({**PEERS, "peer-address": "169.254.0.1:8081"}, "expected the address of this replica"),
        ({**PEERS, "peer-address": "[ff02::1]:8081"}, "expected the address of this replica"),
        ({**PEERS, "peer-address": "10.0.0.1"}, "expected the address of this replica"),
        ({**PEERS, "peer-address": "replica-1:8081"}, "expected an IP address and a port"),
        ({"ledger-grace": "25 hours"}, 'ledger-grace: expected at most "1 day"'),
        ({"objects-max-age": "1 hour"}, 'objects-max-age: expected at least "1 day"'),
        ({"deadlines": {"ledger": "0 seconds"}}, "deadlines.ledger: expected"),
        ({"objekts": "s3://assay/"}, 'did you mean "objects"'),
    ],
    ids=str,
)
def test_an_unusable_value_is_refused_with_a_sentence(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        load(**keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"database": "postgresql://assay:hunter2@db/assay"},
        {"database": "postgresql://assay@db/assay?password=hunter2"},
        {"database": "mysql://assay:hunter2@db/assay"},
        {"database": "postgresql://assay:hunter2@[db/assay"},
        {"objects": "s3://AKIA:hunter2@assay/"},
        {"objects": "s3://assay/?secret=hunter2"},
        {**S3, "endpoint": "https://AKIA:hunter2@s3.example"},
        {**S3, "endpoint": "https://s3.example/?secret=hunter2"},
    ],
    ids=str,
)
def test_a_secret_in_a_url_is_refused_and_not_quoted(keys: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(**keys)
    assert "hunter2" not in str(refused.value)


def test_paths_start_at_the_file_and_variables_override_single_keys(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text(
        '[storage.shared]\ndeployment = "acme"\ndatabase = "postgresql://assay@127.0.0.1/assay"\nkey-file = "key"\n'
        'password-file = "password"\n'
    )
    environ = {
        "ASSAY_STORAGE__SHARED__PEER_ADDRESS": "10.0.0.7:8081",
        "ASSAY_STORAGE__SHARED__PEERS": "Assay-Peers:8081",
        "ASSAY_STORAGE__SHARED__DEADLINES__FLIGHT": "5 seconds",
    }
    shared = load_configuration(path, environ).storage.shared
    assert shared is not None
    assert (shared.key_file, shared.password_file) == (tmp_path / "key", tmp_path / "password")
    assert (shared.peer_address, shared.peer_names) == ("10.0.0.7:8081", ("assay-peers:8081",))
    assert shared.deadlines.flight == timedelta(seconds=5)


def test_without_the_table_nothing_is_shared() -> None:
    assert Configuration().storage.shared is None


HOSTED = {"name": "internal", "kind": "hosted", "projects": ["acme-*"]}


def test_a_hosted_index_needs_an_object_storage_and_no_directory() -> None:
    def load_with(**storage: object) -> Configuration:
        tables = {"storage": storage, "indexes": [HOSTED]}
        return validate_table(Configuration, tables, source="proxy.toml")

    assert load_with(shared={**SHARED, **S3}).storage.hosted is None
    with pytest.raises(
        ConfigurationError, match=r"storage\.shared\.objects: expected an object storage for the files of"
    ):
        load_with(shared=SHARED)
    with pytest.raises(ConfigurationError, match=r"storage\.hosted: expected no value with \[storage\.shared\]"):
        load_with(shared={**SHARED, **S3}, hosted="/srv/hosted")
    assert load_with(hosted="/srv/hosted").storage.shared is None
    with pytest.raises(ConfigurationError, match=r"storage\.hosted: expected a directory"):
        load_with()
