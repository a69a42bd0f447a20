"""URL of a database: its protection by default, and the parts that no message shows."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from assay.errors import ConfigurationError
from assay.store.postgresql.address import make_tls_context, parse_database_url


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://assay@db.example/assay", "verify-full"),
        ("postgresql://assay@db.example,db2.example:5433/assay", "verify-full"),
        ("postgresql://assay@127.0.0.1,db.example/assay", "verify-full"),
        ("postgresql://assay@localhost.example/assay", "verify-full"),
        ("postgresql://assay@127.0.0.1:5432/assay", "disable"),
        ("postgresql://assay@[::1]:5432/assay", "disable"),
        ("postgresql://assay@localhost/assay", "disable"),
        ("postgresql://assay@%2Frun%2Fpostgresql/assay", "disable"),
        ("postgresql:///assay?host=/run/postgresql", "disable"),
        ("postgresql://assay@db.example/assay?sslmode=require", "require"),
    ],
)
def test_only_a_connection_that_leaves_the_machine_is_verified_by_default(url: str, mode: str) -> None:
    assert parse_database_url(url).tls_mode == mode


@pytest.mark.parametrize(
    "url",
    ["postgresql://assay:s%40cret@db.example/assay", "postgresql://assay@db.example/assay?password=s%40cret"],
)
def test_the_password_is_in_no_text(url: str) -> None:
    address = parse_database_url(url)
    assert address.password == "s@cret"
    assert str(address) == "postgresql://db.example/assay"
    assert "cret" not in f"{address!r}{address}{address.dsn}"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://assay:secret@db.example/assay", "must begin with postgresql://"),
        ("postgresql://assay:secret@db.example", "must name a host and a database"),
        ("postgresql:///assay", "must name a host and a database"),
        ("postgresql://assay:secret@[::1/assay", "is invalid"),
        ("postgresql://assay:secret@db.example/assay?sslmode=prefer", "expected one of disable, require"),
        ("postgresql://assay:se,cret@db.example/assay", "a comma"),
    ],
)
def test_an_invalid_url_is_refused_and_not_repeated(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as refused:
        parse_database_url(url)
    assert "secret" not in str(refused.value)


def test_tls_verifies_certificate_and_name_unless_the_url_says_otherwise() -> None:
    base = "postgresql://assay@db.example/assay?sslmode="
    full, authority, encrypted = (
        make_tls_context(parse_database_url(base + mode)) for mode in ("verify-full", "verify-ca", "require")
    )
    assert full is not None
    assert (full.verify_mode, full.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert authority is not None
    assert (authority.verify_mode, authority.check_hostname) == (ssl.CERT_REQUIRED, False)
    assert encrypted is not None
    assert (encrypted.verify_mode, encrypted.check_hostname) == (ssl.CERT_NONE, False)
    assert make_tls_context(parse_database_url(base + "disable")) is None


def test_a_missing_file_of_authorities_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    address = parse_database_url(f"postgresql://assay@db.example/assay?sslrootcert={tmp_path}/none.pem")
    with pytest.raises(ConfigurationError, match=r"sslrootcert.*db\.example"):
        make_tls_context(address)
