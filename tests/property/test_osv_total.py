"""The OSV API answers any body: with a valid answer, or with an error that it documents."""

from __future__ import annotations

import json
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from assay.web.osv.answers import CountingRecords, answer_batch, answer_query
from assay.web.osv.queries import InvalidQueryError, parse_batch, parse_query
from tests.unit.policy.factories import NOW, a_policy
from tests.world.advisories.records import make_affected, make_range, make_record
from tests.world.advisories.snapshots import make_snapshot, malware

RECORDS = CountingRecords(
    snapshot=make_snapshot(
        malware("foo", "1.0"),
        make_record("GHSA-1", make_affected("foo", ranges=[make_range(("introduced", "0"), ("fixed", "2"))])),
    ),
    policy=a_policy(),
    now=NOW,
    applies_to=lambda _: True,
)
TEXTS = st.sampled_from(["", "foo", "PyPI", "1.0", "2", "pkg:pypi/foo@1.0", "pkg:pypi/", "R0hTQS0x", "Lg==", "\u0000"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
PACKAGES = st.fixed_dictionaries(
    {}, optional={"name": TEXTS | VALUES, "ecosystem": TEXTS | VALUES, "purl": TEXTS | VALUES}
)
QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "package": PACKAGES | VALUES,
        "version": TEXTS | VALUES,
        "page_token": TEXTS | VALUES,
        "commit": st.none() | VALUES,
    },
)
BATCHES = st.fixed_dictionaries({"queries": st.lists(QUERIES | VALUES)})
BODIES = st.binary(max_size=30) | (QUERIES | VALUES | BATCHES).map(lambda value: json.dumps(value).encode())


@settings(max_examples=300, deadline=None)
@given(BODIES)
def test_any_body_gets_an_answer_or_an_error_that_osv_documents(body: bytes) -> None:
    with suppress(InvalidQueryError):
        answer = json.loads(answer_query(parse_query(body), RECORDS))
        assert set(answer) <= {"vulns", "next_page_token"}
    with suppress(InvalidQueryError):
        queries = parse_batch(body)
        assert len(json.loads(answer_batch(queries, RECORDS))["results"]) == len(queries)
