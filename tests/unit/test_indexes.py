"""Owner of a name, hosts that an index may use, and invalid tables of indexes."""

from __future__ import annotations

import string
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name
from pydantic import ValidationError

from assay.errors import ConfigurationError
from assay.indexes import Indexes, IndexSettings, allowed_file_hosts, allowed_provenance_hosts, is_loopback, split_host
from assay.settings import validate_table

URL = "https://index.example/simple/"


def index(name: str = "one", url: str = URL, **keys: Any) -> IndexSettings:
    table = {{"excluded": "except"}.get(key, key.replace("_", "-")): value for key, value in keys.items()}
    return validate_table(IndexSettings, {"name": name, "url": url, **table}, source="test")


def internal_and_public() -> Indexes:
    return Indexes(
        [
            index("internal", "https://internal.example/simple/", projects=["acme", "Acme_*"]),
            index("public", "https://public.example/simple/"),
        ]
    )


def owner(indexes: Indexes, name: str) -> str | None:
    found = indexes.find_owner(canonicalize_name(name))
    return found.name if found is not None else None


@pytest.mark.parametrize("name", ["acme", "ACME", "acme-web", "Acme_Web", "acme.core", "acme--x"])
def test_the_first_index_whose_patterns_cover_a_name_owns_it_however_it_is_spelled(name: str) -> None:
    assert owner(internal_and_public(), name) == "internal"


@pytest.mark.parametrize("name", ["acmeweb", "my-acme", "requests"])
def test_a_name_that_only_resembles_a_pattern_goes_to_the_catch_all(name: str) -> None:
    assert owner(internal_and_public(), name) == "public"


def test_an_exception_leaves_a_name_to_a_later_index() -> None:
    indexes = Indexes([index("a", projects=["acme-*"], excluded=["ACME.public*"]), index("b")])
    assert owner(indexes, "acme-public-api") == "b"
    assert owner(indexes, "acme-private") == "a"


def test_a_name_that_no_index_covers_has_no_owner() -> None:
    assert owner(Indexes([index(projects=["acme-*"])]), "requests") is None


def test_only_an_index_that_takes_every_name_is_a_catch_all() -> None:
    indexes = internal_and_public()
    assert [indexes.is_catch_all(each) for each in indexes] == [False, True]
    assert indexes.is_catch_all(index(projects=["acme", "*"], excluded=["secret"]))
    assert not indexes.is_catch_all(index(projects=["a*"]))


def test_an_index_is_found_by_its_name() -> None:
    found = internal_and_public().find_by_name("public")
    assert found is not None
    assert found.url == "https://public.example/simple/"
    assert internal_and_public().find_by_name("other") is None


@given(st.text(string.ascii_letters + string.digits + "-_.", min_size=1, max_size=12), st.data())
def test_owner_is_the_same_for_all_spellings_of_a_name(name: str, data: st.DataObject) -> None:
    spelled = "".join(data.draw(st.sampled_from([character.lower(), character.upper()])) for character in name)
    assert owner(internal_and_public(), spelled) == owner(internal_and_public(), name)


@given(st.lists(st.sampled_from(["acme", "acme-*", "a*", "*e", "x?z", "*"]), min_size=1, max_size=4), st.data())
def test_indexes_after_the_owner_change_nothing(patterns: list[str], data: st.DataObject) -> None:
    indexes = Indexes(index(f"i{number}", projects=[pattern]) for number, pattern in enumerate(patterns))
    name = canonicalize_name(data.draw(st.sampled_from(["acme", "acme-x", "xyz", "other", "e"])))
    found = indexes.find_owner(name)
    if found is not None:
        assert Indexes(indexes[: indexes.index(found) + 1]).find_owner(name) == found


def test_patterns_that_an_earlier_index_takes_whole_are_shadowed() -> None:
    indexes = Indexes(
        [
            index("wide", projects=["acme-*"]),
            index("narrow", projects=["acme-web", "acme-web-*", "acme", "acme?x"]),
            index("rest"),
        ]
    )
    assert [(each.name, pattern, by.name) for each, pattern, by in indexes.find_shadowed_patterns()] == [
        ("narrow", "acme-web", "wide"),
        ("narrow", "acme-web-*", "wide"),
    ]


def test_a_pattern_that_an_earlier_index_excepts_in_part_is_not_shadowed() -> None:
    indexes = Indexes([index("wide", excluded=["acme-web"]), index("narrow", projects=["acme-*", "other"])])
    assert [(pattern, by.name) for _, pattern, by in indexes.find_shadowed_patterns()] == [("other", "wide")]


def test_a_single_character_pattern_does_not_shadow_a_wildcard() -> None:
    assert Indexes([index("a", projects=["a?"]), index("b", projects=["a*"])]).find_shadowed_patterns() == ()


def test_two_indexes_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="duplicates: one"):
        Indexes([index(), index()])


def test_no_index_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one index"):
        Indexes([])


@pytest.mark.parametrize(
    ("given_url", "normal"),
    [
        ("https://Index.Example/simple", "https://index.example/simple/"),
        ("https://index.example:443/", "https://index.example/"),
        ("https://index.example", "https://index.example/"),
        ("https://index.example:8443/a/b/", "https://index.example:8443/a/b/"),
        ("http://127.0.0.1:80/simple/", "http://127.0.0.1/simple/"),
        ("http://[::1]:3141/root/pypi", "http://[::1]:3141/root/pypi/"),
        ("http://localhost:8081/", "http://localhost:8081/"),
    ],
)
def test_an_index_url_is_normalised(given_url: str, normal: str) -> None:
    assert index(url=given_url).url == normal


@pytest.mark.parametrize(
    "url",
    [
        "ftp://index.example/",
        "index.example/simple",
        "//index.example/simple",
        "https://",
        "https:///simple/",
        "https://index.example:0x50/",
        "https://index.example:99999/",
        "https://index.example:0/",
        "https://index.example/simple/?x=1",
        "https://index.example/simple/#x",
        "https://index.example/simple/?",
        "https://index.example/a b/",
        "https://index.example/\n",
        "https://[::1/",
        "https://ex*mple/",
        "",
    ],
)
def test_what_is_no_plain_http_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"test: url: expected "):
        index(url=url)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@index.example/simple/",
        "https://hunter2@index.example/simple/",
        "https://:hunter2@index.example/",
        "ftp://user:hunter2@index.example/",
        "https://user:hunter2[@index.example/",
        "https://user:hunter2/@index.example:x/",
    ],
)
def test_a_url_with_user_information_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        index(url=url)
    assert "hunter2" not in str(refusal.value)


def test_the_refusal_of_user_information_names_the_place_for_it() -> None:
    with pytest.raises(ConfigurationError, match="credentials"):
        index(url="https://user:hunter2@index.example/simple/")


def test_plain_http_is_for_loopback_only_unless_the_index_says_insecure() -> None:
    with pytest.raises(ConfigurationError, match=r"test: url: expected https"):
        index(url="http://index.example/simple/")
    assert index(url="http://index.example/simple/", insecure=True).url == "http://index.example/simple/"


def test_plain_http_is_refused_for_the_provenance_source_too() -> None:
    with pytest.raises(ConfigurationError, match=r"test: provenance-from: expected https"):
        index(provenance_from="http://pypi.example/")
    assert index(provenance_from="https://pypi.example").provenance_from == "https://pypi.example/"


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("[::1]", True),
        ("::1", True),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("10.0.0.1", False),
        ("[::2]", False),
    ],
)
def test_loopback_is_known_by_name_and_address(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_the_hosts_of_an_index_are_its_own_and_its_file_hosts_without_default_ports() -> None:
    found = allowed_file_hosts(
        index(file_hosts=["Files.Example:443", "cdn.example:8443", "[2001:DB8::1]", "cdn.example:80"])
    )
    assert found == {"index.example", "files.example", "cdn.example:8443", "[2001:db8::1]", "cdn.example:80"}


def test_for_a_plain_http_index_port_80_is_the_default() -> None:
    assert allowed_file_hosts(index(url="http://localhost/", file_hosts=["127.0.0.1:80"])) == {"localhost", "127.0.0.1"}


def test_the_provenance_source_may_serve_provenance_and_no_file() -> None:
    one = index(provenance_from="https://pypi.example:8443/")
    assert "pypi.example:8443" not in allowed_file_hosts(one)
    assert allowed_provenance_hosts(one) == allowed_file_hosts(one) | {"pypi.example:8443"}


@pytest.mark.parametrize(
    "host", ["https://a.example", "a.example/", "a.example:", "a.example:x", "*.example", "", "-a"]
)
def test_a_file_host_is_a_host_and_perhaps_a_port(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"test: file-hosts\[0\]: expected host or host:port"):
        index(file_hosts=[host])


@given(st.text(max_size=20))
def test_splitting_a_host_never_fails_otherwise_than_by_a_value_error(text: str) -> None:
    try:
        host, port = split_host(text)
    except ValueError:
        return
    assert host
    assert port is None or 0 < port < 65536


@pytest.mark.parametrize(
    "pattern", ["", "acme/*", "[ab]", "a b", "acmé", "\u212aelvin", "a" * 300, "x_", "-acme", "_", "!x"]
)
def test_a_pattern_is_a_name_with_wildcards(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match=r"test: projects\[0\]: expected a project name or a pattern"):
        index(projects=[pattern])


def test_an_index_without_patterns_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="test: projects: expected at least 1"):
        index(projects=[])


@pytest.mark.parametrize("name", ["", "PyPI", "a b", "-a", "a-", "a/b", "a" * 65])
def test_an_index_name_is_plain(name: str) -> None:
    with pytest.raises(ConfigurationError, match="test: name: "):
        index(name)


@pytest.mark.parametrize(
    "credentials",
    [
        {"username": "ci", "password-env": "INDEX_PASSWORD"},
        {"username": "ci", "password-file": "/run/secrets/password"},
        {"token-env": "INDEX_TOKEN"},
        {"token-file": "/run/secrets/token"},
        {"netrc": True},
    ],
)
def test_credentials_are_of_one_kind(credentials: dict[str, object]) -> None:
    assert index(credentials=credentials).credentials is not None


@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"username": "ci"},
        {"password-env": "INDEX_PASSWORD"},
        {"username": "ci", "token-env": "INDEX_TOKEN"},
        {"username": "c:i", "password-env": "INDEX_PASSWORD"},
        {"username": "ci", "password-env": "A", "password-file": "b"},
        {"token-env": "A", "netrc": True},
        {"password": "hunter2"},
    ],
)
def test_credentials_of_no_kind_or_of_two_are_refused_and_not_quoted(credentials: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="test: credentials") as refusal:
        index(credentials=credentials)
    assert "hunter2" not in str(refusal.value)


def test_limits_must_allow_something() -> None:
    with pytest.raises(ConfigurationError, match=r"test: limits\.connections: expected more than 0"):
        index(limits={"connections": 0})
    with pytest.raises(ConfigurationError, match=r"test: limits\.timeouts\.read: expected a duration longer than zero"):
        index(limits={"timeouts": {"read": "0 seconds"}})
    assert index(limits={"timeouts": {"read": "5 seconds"}}).limits.timeouts.read == timedelta(seconds=5)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        index().url = "https://other.example/"  # type: ignore[misc]  # that it is refused is the point


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"url": "https://pypi.org/simple/"}, True),
        ({"url": "https://PyPI.org:443/simple"}, True),
        ({"url": "https://mirror.example/simple/"}, False),
        ({"url": "https://mirror.example/simple/", "provenance_from": "https://pypi.org/"}, True),
        ({"url": "https://mirror.example/simple/", "provenance_from": "https://mirror.example/"}, False),
        ({"url": "https://mirror.example/pypi.org/simple/"}, False),
        ({"url": "https://test.pypi.org/simple/"}, False),
        ({"url": "https://mirror.example/simple/", "ecosystem": "PyPI"}, True),
        ({"url": "https://pypi.org/simple/", "ecosystem": "none"}, False),
    ],
)
def test_advisories_about_pypi_apply_to_pypi_and_to_indexes_that_say_so(keys: dict[str, Any], expected: bool) -> None:
    assert index(**keys).has_pypi_projects is expected


HOSTED = {"name": "internal", "kind": "hosted", "projects": ["acme-*"]}


def test_a_hosted_index_has_an_internal_address() -> None:
    index = IndexSettings.model_validate(HOSTED)
    assert (index.is_hosted, index.url, index.attestations) == (True, "https://internal.hosted.invalid/", "required")
    assert allowed_file_hosts(index) == {"internal.hosted.invalid"}
    assert IndexSettings.model_validate(index.model_dump(exclude_unset=True, by_alias=True)) == index


@pytest.mark.parametrize(
    "table",
    [
        {**HOSTED, "url": "https://index.example/"},
        {**HOSTED, "file-hosts": ["files.example"]},
        {**HOSTED, "credentials": {"netrc": True}},
        {**HOSTED, "uploaders": [{"user": "bot"}]},
        {**HOSTED, "kind": "mirror"},
        {"name": "a", "url": "https://index.example/", "uploaders": []},
        {"name": "a", "url": "https://index.example/", "managers": ["alice"]},
        {"name": "a", "url": "https://index.example/", "attestations": "optional"},
        {"name": "a"},
    ],
)
def test_a_key_of_the_other_kind_is_refused(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        IndexSettings.model_validate(table)
