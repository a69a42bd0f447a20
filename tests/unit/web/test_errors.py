"""Status of errors, 424 for final failures of an index on the routes of files; and reason phrases."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.config import MAX_SHORT_HELP_CHARS, HelpSettings
from assay.errors import (
    AssayError,
    DigestMismatchError,
    DisallowedHostError,
    EvidencePendingError,
    EvidenceUnavailableError,
    FileNotListedError,
    InvalidResponseError,
    NotReadyError,
    ProjectNotFoundError,
    ProvenanceNotFoundError,
    StorageError,
    UpstreamAccessDeniedError,
    UpstreamGoneError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    VerificationUnavailableError,
)
from assay.web.errors import add_help_to_phrase, build_problem, sanitize_reason_phrase
from assay.web.routing.targets import match_route

URL = "https://pypi.org/integrity/a-project/1.0/a_project-1.0-cp311-cp311-manylinux_2_17_x86_64.whl/provenance"


@pytest.mark.parametrize(
    ("error", "on_page", "on_file"),
    [
        (DigestMismatchError("x"), 502, 424),
        (InvalidResponseError("x"), 502, 424),
        (UpstreamGoneError("x"), 502, 424),
        (DisallowedHostError("x"), 502, 424),
        (UpstreamAccessDeniedError("x", status=403), 502, 424),
        (UpstreamUnavailableError("x", retry_after=3600.0), 503, 424),
        (UpstreamUnavailableError("x", retry_after=math.inf), 503, 424),
        (UpstreamUnavailableError("x", retry_after=25.0), 503, 503),
        (UpstreamUnavailableError("x"), 503, 503),
        (UpstreamTimeoutError("x"), 503, 424),
        (EvidenceUnavailableError("x"), 424, 424),
        (EvidencePendingError("x"), 503, 503),
        (NotReadyError("x"), 503, 503),
        (VerificationUnavailableError("x"), 503, 503),
        (StorageError("x"), 503, 503),
        (ProjectNotFoundError("x"), 404, 404),
        (FileNotListedError("x"), 404, 404),
        (ProvenanceNotFoundError("x"), 404, 404),
        (AssayError("x"), 500, 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_failure_that_asking_again_does_not_mend_is_424_for_a_file(
    error: AssayError, on_page: int, on_file: int
) -> None:
    page, file = build_problem(error), build_problem(error, is_of_one_file=True)
    assert (page.status.value, file.status.value) == (on_page, on_file)
    for problem in (page, file):
        assert ("Retry-After" in problem.headers) == (problem.status.value == 503)
    assert (file.kind, file.title, file.phrase) == (page.kind, page.title, page.phrase)


def test_an_unavailable_index_is_424_for_a_file_once_asking_again_has_not_helped() -> None:
    error = UpstreamUnavailableError("x answered 503")
    again = build_problem(error, is_of_one_file=True, is_repeated=True)
    assert (again.status.value, again.phrase, dict(again.headers)) == (424, "x answered 503", {})
    assert build_problem(error, is_repeated=True).status.value == 503, "pages and lists are not files"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/files/h.example/foo-1.0.tar.gz", True),
        ("/files/h.example/foo-1.0.tar.gz.metadata", True),
        ("/integrity/foo/1.0/foo-1.0.tar.gz/provenance", True),
        ("/simple/foo/", False),
        ("/simple/", False),
        ("/project/foo", False),
        ("/nowhere", False),
    ],
)
def test_installers_repeat_requests_for_files_metadata_and_provenance(target: str, *, expected: bool) -> None:
    assert match_route(target).is_of_one_file is expected


@pytest.mark.parametrize("problem", ["answered 500", "timed out", "no complete response within 30 s"])
def test_a_long_phrase_keeps_the_problem_after_the_url(problem: str) -> None:
    start = "evidence-unavailable: the file's provenance cannot be fetched (next try 2026-07-01 12:01 UTC): "
    phrase = sanitize_reason_phrase(f"{start}{URL}{'/x' * 100} {problem}")
    assert phrase.startswith(start)
    assert phrase.endswith(f"/x {problem}")
    assert "..." in phrase
    assert len(phrase) == 200


def test_a_short_phrase_is_unchanged() -> None:
    assert sanitize_reason_phrase(f"{URL} answered 500") == f"{URL} answered 500"
    assert sanitize_reason_phrase("x" * 200) == "x" * 200


@pytest.mark.parametrize(("text", "phrase"), [("", "-"), ("a\r\nb", "a??b"), ("caf\xe9", "caf?")])
def test_a_phrase_is_printable_ascii(text: str, phrase: str) -> None:
    assert sanitize_reason_phrase(text) == phrase


SENTENCE = "withheld, unattested: it has no attestation (rule: all)"
LONG, MIDDLE, SHORT = "https://acme.example/?" + "f" * 200, "https://acme.example/?c", "https://acme.example/"


def test_the_help_comes_last_in_the_longest_form_that_leaves_the_reason_whole() -> None:
    assert add_help_to_phrase(SENTENCE, ()) == SENTENCE
    assert add_help_to_phrase(SENTENCE, (MIDDLE, SHORT)) == f"{SENTENCE}; help: {MIDDLE}"
    assert add_help_to_phrase(SENTENCE, (LONG, MIDDLE, SHORT)) == f"{SENTENCE}; help: {MIDDLE}"
    fitting = "x" * (200 - len("; help: ") - len(MIDDLE))
    assert add_help_to_phrase(fitting, (MIDDLE, SHORT)) == f"{fitting}; help: {MIDDLE}"
    assert add_help_to_phrase(f"{fitting}x", (MIDDLE, SHORT)) == f"{fitting}x; help: {SHORT}"


@given(st.text("xyz", min_size=1, max_size=200), st.integers(min_value=1, max_value=MAX_SHORT_HELP_CHARS))
def test_no_help_pushes_out_more_than_half_of_a_reason(reason: str, length: int) -> None:
    contact = "c" * length
    phrase = add_help_to_phrase(reason, HelpSettings(contact=contact).list_forms("foo", "denied"))
    assert len(phrase) <= 200
    assert phrase.endswith(f"; help: {contact}")
    kept = phrase.removesuffix(f"; help: {contact}")
    assert len(kept) >= min(len(reason), 100)
    assert kept.startswith(reason[:57])
    assert kept.endswith(reason[-40:])


def test_only_a_withheld_file_gets_help() -> None:
    problem = build_problem(StorageError("x"), help_settings=HelpSettings(contact="us"))
    assert (problem.help, problem.phrase, problem.detail) == (None, "x", "x")
