"""Configuration merged from defaults, file and environment; errors name their place."""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, get_args, get_origin

import pytest
from packaging.utils import canonicalize_name
from pydantic import BaseModel, BeforeValidator, Strict
from pydantic.fields import FieldInfo

from assay.config import PYPI, Configuration, load_configuration
from assay.errors import ConfigurationError
from assay.indexes import Indexes, allowed_file_hosts
from assay.policy.language.model import Policy
from tests.paths import ROOT
from tests.unit.config_text import load, refusal


def test_without_any_configuration_it_is_pypi_on_loopback() -> None:
    configuration = load_configuration(None, {})
    assert (configuration.server.host, configuration.server.port) == ("127.0.0.1", 8080)
    assert configuration.policy is None
    (pypi,) = configuration.indexes
    assert pypi.url == PYPI["url"] == "https://pypi.org/simple/"
    assert allowed_file_hosts(pypi) == {"pypi.org", "files.pythonhosted.org"}
    assert configuration.indexes.is_catch_all(pypi)
    assert configuration.storage.directory.name == "assay"
    assert configuration.trust.root == "sigstore"


def test_the_commented_example_says_the_defaults() -> None:
    shown = load_configuration(ROOT / "config" / "proxy.toml", {})
    assert shown.model_dump() == load_configuration(None, {}).model_dump()


def test_every_commented_line_of_the_example_is_good_when_it_is_uncommented(tmp_path: Path) -> None:
    lines = (ROOT / "config" / "proxy.toml").read_text("utf-8").splitlines()
    used = [line[2:] if _is_example(line) else line for line in lines]
    configuration = load(tmp_path, "\n".join(used))
    assert [index.name for index in configuration.indexes] == ["internal", "pypi"]
    assert configuration.policy == tmp_path / "policy.toml"
    internal = configuration.indexes[0]
    [strict] = configuration.views
    assert (strict.path, strict.policy, strict.users) == ("/strict/", tmp_path / "strict.toml", ("alice", "ci"))
    assert internal.trust == "acme"
    assert internal.freshness.page == timedelta(minutes=1)
    assert internal.freshness.max_stale == timedelta(days=1)


@pytest.mark.parametrize("name", ["internal", "kubernetes", "air-gapped", "views"])
def test_every_example_can_be_used(name: str) -> None:
    configuration = load_configuration(ROOT / "config/examples" / f"proxy-{name}.toml", {})
    assert any(configuration.indexes.is_catch_all(index) for index in configuration.indexes)
    assert configuration.indexes.find_shadowed_patterns() == ()


def test_the_internal_example_keeps_internal_names_from_pypi() -> None:
    configuration = load_configuration(ROOT / "config/examples/proxy-internal.toml", {})
    owner = configuration.indexes.find_owner(canonicalize_name("Acme_Core"))
    assert owner is not None
    assert (owner.name, owner.trust) == ("internal", "acme")


def _is_example(line: str) -> bool:
    return re.match(r"# (\[|[a-z-]+ = )", line) is not None


def test_relative_paths_start_at_the_file_and_not_at_the_working_directory(tmp_path: Path) -> None:
    configuration = load(
        tmp_path,
        """
        policy = "policies/strict.toml"
        storage.directory = "cache"
        trust.root = "root.json"
        trust.roots.acme = { path = "../acme.json", issuers = ["https://gitlab.acme.example"] }
        [[indexes]]
        name = "a"
        url = "https://a.example/"
        credentials = { token-file = "secrets/token" }
        """,
    )
    assert configuration.policy == tmp_path / "policies/strict.toml"
    assert configuration.storage.directory == tmp_path / "cache"
    assert configuration.trust.root == str(tmp_path / "root.json")
    assert configuration.trust.roots["acme"].path == str(tmp_path / "../acme.json")
    credentials = configuration.indexes[0].credentials
    assert credentials is not None
    assert credentials.token_file == str(tmp_path / "secrets/token")


def test_absolute_paths_and_names_of_bundled_roots_stay_as_they_are(tmp_path: Path) -> None:
    configuration = load(tmp_path, 'policy = "/etc/policy.toml"\ntrust.root = "sigstore-staging"')
    assert configuration.policy == Path("/etc/policy.toml")
    assert configuration.trust.root == "sigstore-staging"


def test_an_index_inherits_freshness_and_limits_key_by_key(tmp_path: Path) -> None:
    configuration = load(
        tmp_path,
        """
        freshness = { page = "5 minutes", max-stale = "2 days" }
        limits = { connections = 7, timeouts = { connect = "1 second", read = "2 seconds" } }
        [[indexes]]
        name = "a"
        url = "https://a.example/"
        projects = ["a"]
        freshness = { page = "1 minute" }
        limits = { page = "1 MiB", timeouts = { read = "9 seconds" } }
        [[indexes]]
        name = "b"
        url = "https://b.example/"
        """,
    )
    a, b = configuration.indexes
    assert (a.freshness.page, a.freshness.max_stale) == (timedelta(minutes=1), timedelta(days=2))
    assert (a.limits.page, a.limits.connections) == (2**20, 7)
    assert (a.limits.timeouts.connect, a.limits.timeouts.read) == (timedelta(seconds=1), timedelta(seconds=9))
    assert b.freshness == configuration.freshness
    assert b.limits == configuration.limits


def test_the_default_index_inherits_too(tmp_path: Path) -> None:
    configuration = load(tmp_path, 'freshness.page = "3 minutes"')
    assert configuration.indexes[0].freshness.page == timedelta(minutes=3)


def test_indexes_of_a_file_replace_the_default_one_in_their_order(tmp_path: Path) -> None:
    configuration = load(
        tmp_path,
        """
        [[indexes]]
        name = "internal"
        url = "https://a.example/"
        projects = ["acme-*"]
        [[indexes]]
        name = "rest"
        url = "https://b.example/"
        """,
    )
    assert isinstance(configuration.indexes, Indexes)
    owners = [configuration.indexes.find_owner(canonicalize_name(name)) for name in ("acme-x", "requests")]
    assert [owner.name for owner in owners if owner is not None] == ["internal", "rest"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nprot = 1", ':2: server.prot: expected a known key, found "prot"; did you mean "port"?'),
        ('[server]\n\nport = "x"', ':3: server.port: expected a whole number, found "x"'),
        ("[server]\nport = 70000", ":2: server.port: expected at most 65535, found 70000"),
        ("[server]\nmax-connections = 0", ":2: server.max-connections: expected at least 1, found 0"),
        (
            '[storage]\nblobs = "5 gigs"',
            ':2: storage.blobs: expected a number of bytes, or a size such as "50 GiB", found "5 gigs"',
        ),
        ("freshness.page = 600", ':1: freshness.page: expected a duration such as "3 days"'),
        ("server = 3", ":1: server: expected a table, found 3"),
        ('public_url = "x"', ":1: public_url: expected one of the keys"),
        ('[server]\npublic_url = "https://a.example"', ":2: server.public_url: expected a known key"),
        (
            '[server]\npublic-url = "http://a.example"',
            ":2: server.public-url: expected https (http is allowed on loopback only)",
        ),
        ('[server]\ntrusted-proxies = ["10.0.0.0/8", "x"]', ":2: server.trusted-proxies[1]: "),
        ("indexes = []", ":1: indexes: expected at least one index"),
        *(
            (f'[trust]\nissuers = ["{issuer}"]', ":2: trust.issuers[0]: expected ")
            for issuer in ("gitlab.acme.example", "http://a.example", "https://a.example ", "https://\u0430.example")
        ),
        ("[server", ":1: expected valid TOML, found a syntax error: "),
    ],
)
def test_what_is_wrong_is_said_with_file_line_key_expected_and_found(tmp_path: Path, text: str, said: str) -> None:
    assert f"proxy.toml{said}" in refusal(tmp_path, text)


def test_what_is_wrong_in_an_index_is_said_with_its_number_and_line(tmp_path: Path) -> None:
    text = """
    [[indexes]]
    name = "a"
    url = "https://a.example/"
    [[indexes]]
    name = "b"
    url = "https://b.example/"
    file-hosts = ["https://c.example"]
    """
    assert "proxy.toml:8: indexes[1].file-hosts[0]: expected host or host:port" in refusal(tmp_path, text)


def test_an_index_must_trust_a_root_that_there_is(tmp_path: Path) -> None:
    index = '[[indexes]]\nname = "a"\nurl = "https://a.example/"\ntrust = "acme"\n'
    root = '[trust.roots.acme]\npath = "a.json"\nissuers = ["https://gitlab.acme.example"]\n'
    said = "indexes[0].trust: expected one of 'sigstore', 'sigstore-staging', found \"acme\""
    assert f"proxy.toml:4: {said}" in refusal(tmp_path, index)
    assert load(tmp_path, index + root).indexes[0].trust == "acme"


@pytest.mark.parametrize(
    ("written", "meant"), [('"10.1.2.3"', "10.1.2.3/32"), ('"10.0.0.0/8"', "10.0.0.0/8"), ('"fd00::/8"', "fd00::/8")]
)
def test_trusted_proxies_are_addresses_or_networks(tmp_path: Path, written: str, meant: str) -> None:
    configuration = load(tmp_path, f"server.trusted-proxies = [{written}]")
    assert configuration.server.trusted_proxies == (ip_network(meant),)


def test_a_public_url_on_loopback_may_be_http(tmp_path: Path) -> None:
    assert load(tmp_path, 'server.public-url = "http://localhost:8080"').server.public_url == "http://localhost:8080/"


def test_certificate_and_password_files_start_at_the_file_that_names_them(tmp_path: Path) -> None:
    configuration = load(
        tmp_path,
        """
        [server.tls]
        certificate = "tls/tls.crt"
        key = "/run/tls.key"
        [server.auth]
        passwords = "passwords"
        tokens = "tokens"
        [[indexes]]
        name = "internal"
        url = "https://index.acme.example/simple/"
        ca-file = "ca.pem"
        """,
    )
    tls, auth = configuration.server.tls, configuration.server.auth
    assert tls is not None
    assert auth is not None
    assert (tls.certificate, tls.key) == (str(tmp_path / "tls/tls.crt"), "/run/tls.key")
    assert (auth.passwords, auth.tokens) == (str(tmp_path / "passwords"), str(tmp_path / "tokens"))
    assert configuration.indexes[0].ca_file == str(tmp_path / "ca.pem")


def test_a_certificate_can_be_named_in_the_environment_alone(tmp_path: Path) -> None:
    variables = {"ASSAY_SERVER__TLS__CERTIFICATE": "/run/tls.crt", "ASSAY_SERVER__TLS__KEY": "/run/tls.key"}
    tls = load(tmp_path, "", **variables).server.tls
    assert tls is not None
    assert (tls.certificate, tls.key) == ("/run/tls.crt", "/run/tls.key")
    assert "server.tls.certificate" in refusal(tmp_path, "", ASSAY_SERVER__TLS__KEY="/run/tls.key")


@pytest.mark.parametrize(
    ("table", "place"),
    [
        ("[server.auth]", "server.auth: expected at least one of passwords, tokens, user-header"),
        ('[server.auth]\nuser-header = "X Y"', "server.auth.user-header"),
        ('[server.tls]\nkey = "x"', "server.tls.certificate"),
        ('[server.tls]\ncertificate = "x"\nkeys = "x"', 'did you mean "key"'),
        (
            '[[indexes]]\nname = "a"\nurl = "https://a.example/"\nproxy = "http://u:secret@p.example/"',
            "indexes[0].proxy",
        ),
    ],
)
def test_a_wrong_server_table_is_said_with_its_place(tmp_path: Path, table: str, place: str) -> None:
    found = refusal(tmp_path, table)
    assert place in found
    assert "secret" not in found


@pytest.mark.parametrize("value", ["[404]", "[500]", '["403"]', "[true]", "403"])
def test_an_absent_status_is_a_refusal_that_an_index_may_answer(tmp_path: Path, value: str) -> None:
    index = '[[indexes]]\nname = "a"\nurl = "https://a.example/"\nabsent-status = {}'
    with pytest.raises(ConfigurationError, match=r"indexes\[0\]\.absent-status"):
        load(tmp_path, index.format(value))
    assert load(tmp_path, index.format("[403, 401, 451]")).indexes[0].absent_status == (403, 401, 451)
    assert load(tmp_path, index.format("[]")).indexes[0].absent_status == ()


@pytest.mark.parametrize(
    ("table", "key", "valid", "invalid"),
    [
        ("server", "port", "8080", ("true", "8080.0", '"8080"')),
        ("server", "max-connections", "1", ("true", "1.0", '"1"')),
        ("verification", "workers", "1", ("true", "1.0", '"1"')),
        ("verification", "queue", "1", ("true", "1.0")),
        ("limits", "files-per-project", "1", ("true", "1.0")),
        ("limits", "connections", "1", ("true", "1.0")),
        ("trust", "refresh", "true", ("1", '"yes"', "1.0", '"true"')),
    ],
)
def test_a_number_or_switch_of_another_type_is_an_error(
    tmp_path: Path, table: str, key: str, valid: str, invalid: tuple[str, ...]
) -> None:
    load(tmp_path, f"[{table}]\n{key} = {valid}")
    for value in invalid:
        message = refusal(tmp_path, f"[{table}]\n{key} = {value}")
        assert f"proxy.toml:2: {table}.{key}: expected " in message
        assert ("true or false" if key == "refresh" else "a whole number") in message


def test_every_number_and_switch_is_strict() -> None:
    """Without strict types, pydantic takes true and 1.0 for 1, and "yes" for true."""
    lax = {
        f"{model.__name__}.{name}"
        for root in (Configuration, Policy)
        for model in walk_models(root)
        for name, field in model.model_fields.items()
        for part in [field, *(part for part in get_args(field.annotation) if get_origin(part) is Annotated)]
        if is_lax(part)
    }
    assert lax == set()


def walk_models(model: type[BaseModel]) -> set[type[BaseModel]]:
    """Return a model with the models of all tables in it."""
    found, waiting = set[type[BaseModel]](), [model]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += [inner for field in each.model_fields.values() for inner in find_models(field.annotation)]
    return found


def find_models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    parts = (
        *get_args(annotation),
        *(part for base in getattr(annotation, "__orig_bases__", ()) for part in get_args(base)),
    )
    return [model for part in parts for model in find_models(part)]


def is_lax(part: object) -> bool:
    """Return whether a field, or an annotated member of a union, takes a value of another type for an int or a bool."""
    if isinstance(part, FieldInfo):
        kinds, metadata = {part.annotation, *get_args(part.annotation)}, part.metadata
    else:
        kind, *found = get_args(part)
        kinds = {kind}
        metadata = [each for item in found for each in (item.metadata if isinstance(item, FieldInfo) else [item])]
    return bool(kinds & {int, bool}) and not any(isinstance(each, Strict | BeforeValidator) for each in metadata)
