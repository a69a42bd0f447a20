"""Tests of background revalidation, which treats each source separately."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from assay.caching.notices import LocalNotices
from assay.errors import UpstreamUnavailableError
from assay.evidence import INDEX_SOURCE, Attested
from assay.ports import ProjectHistory
from assay.provenance.documents import file_key
from assay.provenance.resolver import ProvenanceResolver
from assay.provenance.revalidation import ProvenanceRevalidator
from assay.simple.model import NormalizedName
from tests.unit.policy.factories import NOW, a_file
from tests.unit.provenance.factories import INDEX, ScriptedSource, index_source, make_page, make_resolver
from tests.unit.provenance.test_resolver import signers
from tests.world.proxy.running_proxy import ManualClock

FOO, BAR = a_file(project="foo"), a_file(project="bar")
PROJECT = NormalizedName("widget")
REVIEWS = "reviews"


def make_revalidator(
    resolver: ProvenanceResolver, clock: Callable[[], datetime]
) -> tuple[ProvenanceRevalidator, list[str]]:
    """Return a revalidator, and the list of projects for which it published a notice."""
    notices, replaced = LocalNotices(), list[str]()
    notices.subscribe(lambda notice: replaced.append(str(notice.project)))
    return ProvenanceRevalidator(provenance_resolver=resolver, notices=notices, clock=clock), replaced


async def test_each_source_is_asked_again_and_the_error_of_one_does_not_stop_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "assay")
    clock = ManualClock(NOW)
    index, reviews = index_source(foo=b"by acme/foo"), ScriptedSource(REVIEWS, foo=b"by acme/r")
    resolver = make_resolver(index, reviews, clock=clock)
    wanted = {INDEX_SOURCE: [FOO, BAR], REVIEWS: [FOO, BAR]}
    await resolver.resolve(make_page(FOO, BAR), wanted, ProjectHistory())
    revalidator, replaced = make_revalidator(resolver, clock)

    clock.now += timedelta(hours=1)
    index.answers[FOO.filename] = UpstreamUnavailableError("the index is down")
    reviews.answers[FOO.filename] = b"by other/r"
    revalidator.start(INDEX, PROJECT, [FOO, BAR])
    await revalidator.wait_until_idle()
    assert replaced == [PROJECT]
    failed = [record for record in caplog.records if record.message == "provenance-revalidation-failed"]
    assert [(record.levelname, record.__dict__["fields"]) for record in failed] == [
        ("INFO", {"index": "test", "project": PROJECT, "error": "the index is down"})
    ]
    events = {record.message: record.__dict__["fields"] for record in caplog.records if "fields" in record.__dict__}
    assert events["provenance-replaced"] == {
        "index": "test",
        "project": PROJECT,
        "source": REVIEWS,
        "filename": FOO.filename,
        "before": hashlib.sha256(b"by acme/r").hexdigest(),
        "after": hashlib.sha256(b"by other/r").hexdigest(),
    }
    found = await resolver.resolve(make_page(FOO, BAR), wanted, ProjectHistory())
    evidence = found.by_source[REVIEWS].by_file[file_key(FOO)].evidence
    assert isinstance(evidence, Attested)
    assert {each.claims.repository for each in evidence.attestations} == {"acme/r", "other/r"}, "both count"
    assert len(index.asked) == 2, "fetched once at first, and once more without a change"


async def test_what_cannot_replace_a_document_does_not_and_is_not_asked_for_again_at_once() -> None:
    clock = ManualClock(NOW)
    index = index_source(foo=b"by acme/foo")
    resolver = make_resolver(index, clock=clock)
    await resolver.resolve(make_page(FOO), {INDEX_SOURCE: [FOO]}, ProjectHistory())
    revalidator, replaced = make_revalidator(resolver, clock)
    for answer in (index.unreadable, None, b"by acme/foo"):
        clock.now += timedelta(hours=1)
        index.answers[FOO.filename] = answer
        for _ in range(2):
            revalidator.start(INDEX, PROJECT, [FOO])
            await revalidator.wait_until_idle()
    assert replaced == []
    assert len(index.asked) == 4, "fetched once at first, then once an hour"
    found = await resolver.resolve(make_page(FOO), {INDEX_SOURCE: [FOO]}, ProjectHistory())
    assert signers(found.merge()[file_key(FOO)]) == {INDEX_SOURCE: "acme/foo"}


async def test_files_that_no_source_revalidates_start_nothing() -> None:
    index = index_source(foo=b"by acme/foo")
    revalidator, _ = make_revalidator(make_resolver(index), lambda: NOW)
    revalidator.start(INDEX, PROJECT, [BAR])
    assert not revalidator._running
    await revalidator.close()
