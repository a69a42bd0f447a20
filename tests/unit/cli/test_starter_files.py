"""Files of `assay init`: for all answers, both are valid and mean what the answers say."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.cli.review import review_configuration
from assay.cli.starter_files import (
    Answers,
    Strictness,
    format_configuration,
    format_policy,
    parse_own_index,
    parse_strictness,
    parse_url,
)
from assay.config import load_configuration
from assay.policy.language.document import load_policy
from assay.policy.language.model import Mode
from assay.policy.language.review import review_policy

OWN = "Acme_* https://pypi.acme.example/simple"


@pytest.mark.parametrize("strictness", Strictness)
@pytest.mark.parametrize("own", ["", OWN])
@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("http://127.0.0.1:8080/", ("127.0.0.1", 8080, None)),
        ("http://localhost", ("127.0.0.1", 80, None)),
        ("http://[::1]:9000/", ("::1", 9000, None)),
        ("https://pypi.acme.example", ("127.0.0.1", 8080, "https://pypi.acme.example/")),
    ],
)
def test_the_files_have_no_problem_for_any_answers(
    tmp_path: Path, strictness: Strictness, own: str, url: str, server: tuple[str, int, str | None]
) -> None:
    answers = Answers(url=parse_url(url), own_index=parse_own_index(own), strictness=strictness)
    (tmp_path / "proxy.toml").write_text(format_configuration(answers), "utf-8")
    configuration = load_configuration(tmp_path / "proxy.toml", {})
    policy = load_policy(format_policy(answers), "policy.toml")
    assert [*review_configuration(configuration), *review_policy(policy)] == []
    settings = configuration.server
    assert (settings.host, settings.port, settings.public_url) == server
    assert configuration.policy == tmp_path / "policy.toml"
    assert configuration.storage.directory == tmp_path / "storage"
    assert [each.name for each in configuration.indexes] == (["own", "pypi"] if own else ["pypi"])
    assert policy.mode is (Mode.AUDIT if strictness is Strictness.REPORT else Mode.ENFORCE)
    assert (policy.rules[-1].attestations is not None) == (strictness is Strictness.ATTESTED)
    assert [rule.projects for rule in policy.rules] == ([("acme-*",)] if own else []) + [("*",)]


def test_a_switch_to_tls_and_users_needs_only_the_comments(tmp_path: Path) -> None:
    text = format_configuration(Answers(url="https://pypi.acme.example/"))
    for key in ("[server.tls]", "certificate =", "key =", "[server.auth]", "passwords ="):
        assert f"# {key}" in text
        text = text.replace(f"# {key}", key)
    (tmp_path / "proxy.toml").write_text(text.replace('"127.0.0.1"', '"0.0.0.0"'), "utf-8")
    assert list(review_configuration(load_configuration(tmp_path / "proxy.toml", {}))) == []


@pytest.mark.parametrize(
    "text", ["http://pypi.acme.example/", "https://pypi.acme.example/simple/", "ftp://localhost", "", "https://a b"]
)
def test_other_urls_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"https|URL"):
        parse_url(text)


@pytest.mark.parametrize(
    "text", ["acme-*", "acme-* https://a/ b", "-acme https://a.example/", "acme http://a.example/"]
)
def test_other_texts_for_an_index_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_own_index(text)


def test_other_words_for_the_strictness_are_refused() -> None:
    assert parse_strictness("cool-down") is Strictness.COOL_DOWN
    with pytest.raises(ValueError, match="one of report, cool-down, attested"):
        parse_strictness("strict")
