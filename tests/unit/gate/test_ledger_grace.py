"""Limits on what is judged while the database of the ledger is away, each with what is allowed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from assay.errors import LedgerUnavailableError
from assay.gate.judged_page import JudgedPage
from assay.gate.ledger_grace import require_confirmed, require_no_new_approvals
from assay.indexes import IndexSettings
from assay.policy.verdict import approve
from assay.ports import IndexPage, ProjectHistory, Validators
from assay.render import PageListing
from assay.simple.model import File
from tests.unit.policy.factories import NOW, UNATTESTED, a_file, a_project

ONE, TWO = a_file("1.0"), a_file("2.0")
SWAPPED = replace(ONE, sha256=TWO.sha256)
MOVED = replace(ONE, url=ONE.url.replace("1.0", "elsewhere/1.0", 1))


def a_page(approved: Iterable[File], *, is_confirmed: bool = False) -> JudgedPage:
    project = a_project(ONE, TWO, name="foo")
    index = IndexSettings(name="test", url="https://index.example/")
    return JudgedPage(
        page=IndexPage(index=index, project=project, content_digest="1", confirmed_at=NOW, validators=Validators()),
        dependencies={},
        has_failed_evidence=False,
        listing=PageListing(
            project=project, approved=tuple(approve(file, rule="all", evidence=UNATTESTED) for file in approved)
        ),
        by_location={},
        valid_until=None,
        is_confirmed=is_confirmed,
    )


@pytest.mark.parametrize(
    ("approved", "before"),
    [([ONE, TWO], [ONE, TWO]), ([ONE], [ONE, TWO]), ([], [ONE]), ([], None), ([MOVED], [ONE])],
    ids=["as many", "fewer", "none", "none and no page before", "the same bytes at another address"],
)
def test_an_unconfirmed_page_may_approve_what_was_approved_before(
    approved: list[File], before: list[File] | None
) -> None:
    require_no_new_approvals(a_page(approved), None if before is None else a_page(before, is_confirmed=True))


@pytest.mark.parametrize(
    ("approved", "before"),
    [([ONE, TWO], [ONE]), ([TWO], [ONE]), ([SWAPPED], [ONE]), ([ONE], [])],
    ids=["one more", "another", "other bytes", "the first"],
)
def test_an_unconfirmed_page_that_approves_more_waits_and_a_confirmed_one_does_not(
    approved: list[File], before: list[File]
) -> None:
    with pytest.raises(LedgerUnavailableError, match="the page of foo approves files that were not approved before"):
        require_no_new_approvals(a_page(approved), a_page(before))
    require_no_new_approvals(a_page(approved, is_confirmed=True), a_page(before))


def test_an_unconfirmed_page_without_a_page_before_waits_and_a_confirmed_one_does_not() -> None:
    with pytest.raises(LedgerUnavailableError):
        require_no_new_approvals(a_page([ONE]), None)
    require_no_new_approvals(a_page([ONE], is_confirmed=True), None)


def test_an_upload_needs_confirmed_facts() -> None:
    require_confirmed(ProjectHistory())
    with pytest.raises(LedgerUnavailableError, match="uploads need it"):
        require_confirmed(ProjectHistory(is_confirmed=False))
