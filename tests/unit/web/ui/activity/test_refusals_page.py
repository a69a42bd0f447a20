"""Filter of the refusals page: any query is read without an error, and links keep the filter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.web.ui.activity.refusals_page import (
    FilterQuery,
    RefusalListing,
    parse_filter_query,
    refusals_to_json,
    render_refusals_page,
)
from tests.contract.refusals_contract import make_refusal
from tests.world.clients.html_reader import read_harmless_page


def list_refusals(wanted: FilterQuery, next_before: int | None = None) -> RefusalListing:
    return RefusalListing(
        refusals=(make_refusal(number=7),), next_before=next_before, wanted=wanted, view="default", views=["default"]
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", FilterQuery()),
        ("project=Foo.Bar&reason=forged&before=12", FilterQuery(project="foo-bar", reason="forged", before=12)),
        ("rule=&user=a%20b&view=x&before=0", FilterQuery(user="a b", view="x")),
        ("before=-1", FilterQuery()),
        ("before=" + "9" * 40, FilterQuery()),
        ("rule=" + "a" * 300, FilterQuery()),
        ("rule=a&rule=b", FilterQuery(rule="b")),
        ("&".join(f"x{number}=1" for number in range(50)), FilterQuery()),
    ],
)
def test_a_query_becomes_a_filter(query: str, expected: FilterQuery) -> None:
    assert parse_filter_query(query) == expected


@given(st.text(), st.text(), st.text())
def test_any_filter_survives_its_own_link_and_shows_as_text(project: str, rule: str, user: str) -> None:
    wanted = parse_filter_query(f"project={project}&rule={rule}&user={user}")
    listing = list_refusals(wanted, next_before=3)
    link = listing.link_to(before=3)
    assert link.isascii()
    again = parse_filter_query(link.partition("?")[2])
    assert (again.before, again.view) == (3, None)
    if all(part is None or part.isprintable() for part in (wanted.project, wanted.rule, wanted.user)):
        assert (again.project, again.rule, again.user) == (wanted.project, wanted.rule, wanted.user)
    read_harmless_page(render_refusals_page(listing))


def test_the_last_page_leads_nowhere() -> None:
    listing = list_refusals(FilterQuery())
    assert refusals_to_json(listing)["next"] is None
    assert not [link for link in read_harmless_page(render_refusals_page(listing)).links if "before" in link]
    more = list_refusals(FilterQuery(rule="a b"), next_before=7)
    assert refusals_to_json(more)["next"] == "refusals?rule=a+b&before=7"
