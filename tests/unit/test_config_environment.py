"""Environment variables over the file, and errors for unusable values."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from assay.config import load_configuration
from assay.errors import ConfigurationError
from tests.unit.config_text import load, refusal


def test_the_environment_is_over_the_file(tmp_path: Path) -> None:
    configuration = load(
        tmp_path,
        'policy = "a.toml"\n[server]\nhost = "127.0.0.2"\nport = 9000\n[limits.timeouts]\nread = "5 seconds"\n',
        ASSAY_SERVER__PORT="9001",
        ASSAY_SERVER__PAGE_MAX_AGE="1 minute",
        ASSAY_STORAGE__BLOBS="5000000",
        ASSAY_STORAGE__RECORDS="7 MiB",
        ASSAY_LIMITS__TIMEOUTS__CONNECT="3 seconds",
        ASSAY_TRUST__REFRESH="false",
        ASSAY_POLICY="/b.toml",
    )
    assert (configuration.server.host, configuration.server.port) == ("127.0.0.2", 9001)
    assert configuration.server.page_max_age == timedelta(minutes=1)
    assert (configuration.storage.blobs, configuration.storage.records) == (5_000_000, 7 * 2**20)
    assert configuration.limits.timeouts.connect == timedelta(seconds=3)
    assert configuration.limits.timeouts.read == timedelta(seconds=5)
    assert configuration.trust.refresh is False
    assert configuration.policy == Path("/b.toml")


def test_a_trust_root_may_come_from_the_environment_in_parts(tmp_path: Path) -> None:
    text = '[trust.roots.acme]\npath = "a.json"\nissuers = ["https://gitlab.acme.example"]\n'
    configuration = load(tmp_path, text, ASSAY_TRUST__ROOTS__ACME__PATH="/mnt/root.json")
    assert configuration.trust.roots["acme"].path == "/mnt/root.json"


def test_the_file_may_be_named_by_the_environment_and_an_explicit_one_goes_before(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("server.port = 1001")
    (tmp_path / "b.toml").write_text("server.port = 1002")
    environ = {"ASSAY_CONFIG": str(tmp_path / "a.toml")}
    assert load_configuration(None, environ).server.port == 1001
    assert load_configuration(tmp_path / "b.toml", environ).server.port == 1002


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ASSAY_SERVER__PROT", "1", "expected a setting, found 'server.prot'; did you mean ASSAY_SERVER__PORT?"),
        ("ASSAY_SERVR__PORT", "1", "expected a setting, found 'servr'; did you mean ASSAY_SERVER?"),
        ("ASSAY_XYZZY__X", "1", "expected a setting, found 'xyzzy'"),
        ("ASSAY_SERVER__PORT__X", "1", "expected a setting; server.port is not a table"),
        ("ASSAY_SERVER__", "1", "expected a setting, found 'server.'"),
        ("ASSAY___PORT", "1", "expected a setting, found ''"),
        ("ASSAY_SERVER__PORT", "x", 'server.port: expected a whole number, found "x"'),
        ("ASSAY_SERVER__PORT", "70000", "server.port: expected at most 65535, found 70000"),
        ("ASSAY_TRUST__REFRESH", "maybe", 'trust.refresh: expected true or false, found "maybe"'),
        ("ASSAY_SERVER__ALLOWED_HOSTS", "a", "expected a single value; set tables and lists in the TOML file"),
        ("ASSAY_LIMITS__TIMEOUTS", "a", "expected a single value; set tables and lists in the TOML file"),
        ("ASSAY_INDEXES__URL", "a", "expected a setting; indexes is not a table"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_configuration(None, {variable: value})
    assert str(refused.value).startswith(f"{variable}: {said}")


def test_what_kubernetes_injects_is_ignored() -> None:
    environ = {"ASSAY_PORT": "tcp://10.0.0.1:80", "ASSAY_SERVICE_HOST": "10.0.0.1", "OTHER__X": "1", "ASSAYX__Y": "1"}
    assert load_configuration(None, environ) == load_configuration(None, {})


def test_an_error_that_only_file_and_environment_together_make_names_both(tmp_path: Path) -> None:
    text = '[[indexes]]\nname = "a"\nurl = "https://a.example/"\ntrust = "default"\n'
    assert load(tmp_path, text, ASSAY_TRUST__ROOT="/mnt/root.json").indexes[0].trust == "default"
    said = refusal(tmp_path, "trust.root = 'a.json'\n" + text, ASSAY_TRUST__ROOT="sigstore")
    assert "proxy.toml and ASSAY_TRUST__ROOT:5: indexes[0].trust" in said


def test_a_file_that_is_not_there_is_an_error_and_never_the_defaults(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml: cannot be read: No such file"):
        load_configuration(tmp_path / "none.toml", {})


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b'policy = "\xff"')
    with pytest.raises(ConfigurationError, match=r"a\.toml: not UTF-8, at byte 10"):
        load_configuration(tmp_path / "a.toml", {})


def test_a_password_in_an_index_url_is_not_repeated(tmp_path: Path) -> None:
    said = refusal(tmp_path, '[[indexes]]\nname = "a"\nurl = "https://ci:hunter2@a.example/"\n')
    assert "hunter2" not in said
    assert "indexes[0].url: expected a URL without user name and password" in said
