"""The table ``[help]``: what it accepts, and the forms of the help for a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.config import MAX_SHORT_HELP_CHARS, HelpSettings
from assay.policy.verdict import ReasonCode
from tests.unit.config_text import load, refusal

URL = "https://wiki.acme.example/assay?file={file}&reason={code}"
LONGEST_CODE = max(ReasonCode, key=len)
HOST = "https://acme.example/"
FULL_PATH = HOST + "a" * (MAX_SHORT_HELP_CHARS - len(HOST))


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "http://localhost:8080/help",
        "https://[::1]:8443/help#{code}",
        "https://acme.example",
        "https://acme.example/{file}/{code}?a=b%20c&d=@x",
        FULL_PATH,
        FULL_PATH + "?" + "q" * (500 - len(FULL_PATH) - 1),
        FULL_PATH[: -len(LONGEST_CODE)] + "{code}",
        FULL_PATH + "{file}",
    ],
)
def test_a_url_of_a_web_page_is_accepted(tmp_path: Path, url: str) -> None:
    configured = load(tmp_path, f"help.url = '{url}'").help
    assert configured is not None
    assert configured.url == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mailto:security@acme.example", "an https or http URL"),
        ("javascript:alert(1)", "an https or http URL"),
        ("//acme.example/help", "an https or http URL"),
        ("acme.example/help", "an https or http URL"),
        ("https:///help", "an https or http URL"),
        ("https://", "an https or http URL"),
        ("https://alice@acme.example/", "without user name"),
        ("https://alice:secret@acme.example/", "without user name"),
        ("https://{file}.acme.example/", "after the host"),
        ("https://acme.example:{code}/", "after the host"),
        ("https://acme.example/{user}", "the placeholders are {file} and {code}"),
        ("https://acme.example/{file", "the placeholders are {file} and {code}"),
        ("https://acme.example/{}", "the placeholders are {file} and {code}"),
        ("https://acme.example/a b", "an https or http URL"),
        ("https://acme.example/\\u0007", "an https or http URL"),
        ("https://acme.example/\\r\\nX-Evil: 1", "an https or http URL"),
        ("https://acme.example/\\u202e", "an https or http URL"),
        ("https://acme.example/\\u00e9", "an https or http URL"),
        ("https://acme.example\\\\@evil.example/", "an https or http URL"),
        ("https://acme.example/<b>", "an https or http URL"),
        ("https://acme.example:65536/", "a port of at most 65535"),
        (FULL_PATH + "a", f"at most {MAX_SHORT_HELP_CHARS} characters"),
        (FULL_PATH[: -len(LONGEST_CODE)] + "a{code}", f"at most {MAX_SHORT_HELP_CHARS} characters"),
        (FULL_PATH + "?" + "q" * (500 - len(FULL_PATH)), "of at most 500 characters"),
        ("", "an https or http URL"),
    ],
)
def test_any_other_url_is_refused_with_what_is_expected(tmp_path: Path, url: str, expected: str) -> None:
    said = refusal(tmp_path, f'[help]\nurl = "{url}"')
    assert said.startswith(f"{tmp_path / 'proxy.toml'}:2: help.url: expected ")
    assert expected in said
    assert "\n" not in said


@pytest.mark.parametrize("contact", ["security@acme.example", "#python-help in the chat", "x" * MAX_SHORT_HELP_CHARS])
def test_a_contact_is_printable_text(tmp_path: Path, contact: str) -> None:
    assert load(tmp_path, f'help.contact = "{contact}"').help == HelpSettings(contact=contact)
    assert HelpSettings(contact=contact).list_forms("foo-1.0.tar.gz", "denied") == (contact,)


@pytest.mark.parametrize("contact", ["", " a", "a ", "a\\nb", "\\u001b[31m", "caf\\u00e9", "x" * 93])
def test_a_contact_that_a_reason_phrase_cannot_have_is_refused(tmp_path: Path, contact: str) -> None:
    assert "help.contact: expected 1 to 92 printable ASCII characters" in refusal(
        tmp_path, f'[help]\ncontact = "{contact}"'
    )


def test_the_table_has_exactly_one_of_its_keys(tmp_path: Path) -> None:
    assert 'help.url: expected exactly one of url and contact, found "neither"' in refusal(tmp_path, "[help]")
    both = f'[help]\nurl = "{URL}"\ncontact = "us"'
    assert 'help.url: expected exactly one of url and contact, found "both"' in refusal(tmp_path, both)
    assert load(tmp_path, "").help is None


def test_the_environment_sets_it_too(tmp_path: Path) -> None:
    assert load(tmp_path, "", ASSAY_HELP__CONTACT="us").help == HelpSettings(contact="us")
    assert 'found "both"' in refusal(tmp_path, f'help.url = "{URL}"', ASSAY_HELP__CONTACT="us")


def test_the_filename_is_percent_encoded_and_shorter_forms_leave_it_out() -> None:
    assert HelpSettings(url=URL).list_forms("a+b&c=d#{code}/é-1.0.whl", "too-young") == (
        "https://wiki.acme.example/assay?file=a%2Bb%26c%3Dd%23%7Bcode%7D%2F%C3%A9-1.0.whl&reason=too-young",
        "https://wiki.acme.example/assay?file=&reason=too-young",
        "https://wiki.acme.example/assay",
    )
    assert HelpSettings(url="https://acme.example/{file}#{code}").list_forms("a", "b") == (
        "https://acme.example/a#b",
        "https://acme.example/#b",
        "https://acme.example/",
    )
    assert HelpSettings(url=HOST).list_forms("a", "b") == (HOST,)
    assert HelpSettings(url=URL).list_forms("a" * 256, "b")[0] == "https://wiki.acme.example/assay?file=&reason=b"
    assert "a" * 255 in HelpSettings(url=URL).list_forms("a" * 255, "b")[0]


@given(st.text(), st.sampled_from(ReasonCode), st.sampled_from([URL, FULL_PATH, FULL_PATH[:-19] + "{code}"]))
def test_whatever_the_file_is_called_every_form_is_one_word_and_the_last_is_short(
    filename: str, code: ReasonCode, url: str
) -> None:
    forms = HelpSettings(url=url).list_forms(filename, code)
    for form in forms:
        assert form.isascii()
        assert form.isprintable()
        assert not set(form) & set(" \"'<>\\{}")
        assert form.startswith(url[:20])
    assert len(forms[-1]) <= MAX_SHORT_HELP_CHARS


def test_no_code_is_longer_than_the_one_that_the_limit_assumes() -> None:
    HelpSettings(url=FULL_PATH[: -len(LONGEST_CODE)] + "{code}")
    assert len("provenance-unusable") == len(LONGEST_CODE)
