"""Advisories on the page of a project."""

from __future__ import annotations

from datetime import UTC, datetime

from assay.policy.shown_advisories import ShownAdvisory
from assay.web.ui.project import ProjectFacts, Selection, render_project_page
from tests.world.clients.html_reader import read_harmless_page

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
FOUND = ShownAdvisory(
    id="MAL-2026-1",
    summary="<script>alert(1)</script>",
    link="https://osv.dev/vulnerability/MAL-2026-1",
    is_malware=True,
    versions=("1.0", "1.1"),
    ignored_until=None,
)


def render(*advisories: ShownAdvisory) -> bytes:
    facts = ProjectFacts(name="foo", index="pypi", files=(), advisories=advisories)
    return render_project_page(facts, Selection(), NOW)


def test_they_are_a_table_with_a_link_to_each_record() -> None:
    body = render(FOUND)
    page = read_harmless_page(body)
    assert ("a", FOUND.link) in [(tag, each.get("href")) for tag, each in page.elements]
    text = body.decode()
    for part in ("MAL-2026-1", "malware", "1.0, 1.1", "&lt;script&gt;alert(1)"):
        assert part in text


def test_without_any_the_page_says_nothing_of_them() -> None:
    assert b"Advisories" not in render()
