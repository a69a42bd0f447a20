"""Tests of the index's own evidence source: covered files, and the evidence of a missing document."""

from __future__ import annotations

from dataclasses import replace
from typing import Self, cast

import pytest

from assay.errors import InvalidResponseError, UpstreamUnavailableError
from assay.evidence import INDEX_SOURCE, PROVENANCE_OMITTED, Forged, Unattested, Unstated
from assay.indexes import IndexSettings
from assay.ports import FetchedDocument, NoBody, ProjectHistory, Upstream, Validators
from assay.provenance.documents import require_sha256
from assay.provenance.sources.base import ProjectQuery
from assay.provenance.sources.index import IndexSource
from assay.simple.model import NormalizedName
from tests.unit.policy.factories import a_file
from tests.unit.provenance.factories import INDEX

WIDGET = NormalizedName("widget")
PROVENANCE_URL = "https://index.example/integrity/widget/1.0/widget-1.0-py3-none-any.whl/provenance"
PLAIN, PROMISED = a_file(), a_file(provenance=PROVENANCE_URL)
SEEN = ProjectHistory(evidence={require_sha256(PLAIN): "abcdef"})
MIRROR = IndexSettings.model_validate(
    {
        "name": "mirror",
        "url": "https://mirror.example/simple/",
        "provenance-from": "https://index.example/",
    }
)


class OneAnswer:
    """Index with a single fixed answer."""

    def __init__(self, answer: FetchedDocument | NoBody) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def get_index(self, _settings: IndexSettings) -> Self:
        return self

    async def fetch_provenance(self, url: str, *, max_wait_seconds: float) -> FetchedDocument | NoBody:
        assert max_wait_seconds == 60
        self.asked.append(url)
        return self.answer


def query(history: ProjectHistory | None = None, index: IndexSettings = INDEX) -> ProjectQuery:
    return ProjectQuery(index=index, project=WIDGET, history=history or ProjectHistory())


def source(answer: FetchedDocument | NoBody = NoBody.ABSENT) -> tuple[IndexSource, OneAnswer]:
    upstream = OneAnswer(answer)
    return IndexSource(cast("Upstream", upstream)), upstream


def allow() -> None:
    """Permit the request."""


def test_it_covers_files_with_a_provenance_url_or_provenance_seen_before() -> None:
    made, _ = source()
    assert made.name == INDEX_SOURCE
    assert made.covers(query(), PROMISED)
    assert made.covers(query(SEEN), PLAIN)
    assert made.covers(query(index=MIRROR), PLAIN)
    assert not made.covers(query(), PLAIN)


async def test_it_fetches_from_the_url_of_the_page_or_from_the_other_integrity_api() -> None:
    body = b'{"version": 1, "attestation_bundles": []}'
    document = FetchedDocument(body=body, content_type="", url="", validators=Validators(), serial=None)
    made, upstream = source(document)
    assert await made.fetch(query(), PROMISED, allow) == body
    assert await made.fetch(query(index=MIRROR), PLAIN, allow) == body
    assert await made.fetch(query(), PLAIN, allow) is None
    assert upstream.asked == [PROVENANCE_URL] * 2
    absent, _ = source()
    assert await absent.fetch(query(), PROMISED, allow) is None


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<html>Please log in</html>", b'["attestation_bundles"]'])
async def test_an_answer_that_is_no_document_is_an_error(body: bytes) -> None:
    made, _ = source(FetchedDocument(body=body, content_type="a/b", url="", validators=Validators(), serial=None))
    with pytest.raises(InvalidResponseError, match=rf"^answered 200 with {len(body)} bytes of a/b$"):
        await made.fetch(query(), PROMISED, allow)


async def test_it_asks_for_leave_before_each_request() -> None:
    made, upstream = source()

    def refuse() -> None:
        raise UpstreamUnavailableError("enough")

    with pytest.raises(UpstreamUnavailableError, match="enough"):
        await made.fetch(query(), PROMISED, refuse)
    assert upstream.asked == []


def test_nothing_is_known_about_a_file_if_neither_its_page_nor_another_api_says_something() -> None:
    made, _ = source()
    unstated = replace(query(), states_provenance=False)
    assert made.judge_absence(unstated, PLAIN) == Unstated(index=INDEX.name)
    assert made.judge_absence(query(), PLAIN) == Unattested()
    assert made.judge_absence(replace(unstated, index=MIRROR), PLAIN) == Unattested()
    seen = made.judge_absence(replace(query(SEEN), states_provenance=False), PLAIN)
    assert isinstance(seen, Forged), "a document was seen before"


def test_what_is_missing_is_forged_where_it_was_promised_or_seen() -> None:
    made, _ = source()
    assert made.judge_absence(query(), PLAIN) == Unattested()
    for evidence, expected in (
        (made.judge_absence(query(), PROMISED), "the provenance document that the index's page promises"),
        (
            made.judge_absence(query(SEEN), PLAIN),
            "a provenance document, because the index served one before (SHA-256 abcdef)",
        ),
    ):
        assert isinstance(evidence, Forged)
        assert (evidence.step, evidence.expected) == (PROVENANCE_OMITTED, expected)


def test_documents_that_pages_name_are_revalidated_and_only_a_document_replaces_one() -> None:
    made, _ = source()
    assert (made.revalidates(PROMISED), made.revalidates(PLAIN)) == (True, False)
    assert made.can_replace(b' {"version": 1, "attestation_bundles": []}')
    for document in (b'{"version": 1}', b"<html>Please log in</html>", b"\xff", b"[" * 100_000):
        assert not made.can_replace(document)
