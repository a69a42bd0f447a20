"""Answers of the OSV API as JSON, from a snapshot of advisories. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from assay.advisories.model import Advisory
from assay.advisories.snapshot import AdvisorySnapshot
from assay.policy.language.model import Policy
from assay.simple.model import NormalizedName
from assay.web.osv.queries import PackageQuery, make_token, select_covering


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLimits:
    """Limits of an answer. Records beyond them are on the next page."""

    page_records: int = 1_000
    """Maximum number of records for one query, as OSV documents it."""
    batch_records: int = 3_000
    """Maximum number of records for a batch, as OSV documents it."""
    batch_cost: int = 100_000
    """Cost from which on further queries of a batch are for the next request. A comparison of a record with a query
    costs 1 (2 µs), and a record that must be parsed `PARSE_COST`."""
    page_bytes: int = 8 * 2**20
    """Size of the full records, in bytes, from which on further ones are on the next page."""


PARSE_COST: Final = 20
DEFAULT_LIMITS: Final = AnswerLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class CountingRecords:
    """Records of a snapshot that count in a view at one time."""

    snapshot: AdvisorySnapshot
    policy: Policy
    """Policy of the view. Records that it ignores do not count."""
    now: datetime
    applies_to: Callable[[NormalizedName], bool]
    """Function that returns False for a project of an index with other projects than PyPI's."""
    _found: dict[NormalizedName, tuple[Advisory, ...]] = field(default_factory=dict)

    def has_parsed(self, project: NormalizedName | None) -> bool:
        """Return whether the records about a project have been parsed for an earlier query."""
        return project in self._found

    def find(self, project: NormalizedName | None) -> tuple[Advisory, ...]:
        """Return the records about a project that count."""
        if project is None or not self.applies_to(project):
            return ()
        if (known := self._found.get(project)) is None:
            known = self._found[project] = tuple(
                each
                for each in self.snapshot.find(project)
                if self.policy.find_ignored_advisory(each.id, self.now) is None
            )
        return known


def answer_query(query: PackageQuery, records: CountingRecords, limits: AnswerLimits = DEFAULT_LIMITS) -> bytes:
    """Return the answer to one query: the full records, unchanged; ``{}`` if no record covers the package."""
    found = select_covering(query, records.find(query.project))
    page: list[bytes] = []
    size = 0
    for each in found[: limits.page_records]:
        if page and size >= limits.page_bytes:
            break
        page.append(records.snapshot.get_raw(each.id) or b"{}")
        size += len(page[-1])
    if not page:
        return b"{}"
    more = b',"next_page_token":"%s"' % make_token(found[len(page) - 1].id).encode() if len(page) < len(found) else b""
    return b'{"vulns":[%s]%s}' % (b",".join(page), more)


def answer_batch(
    queries: tuple[PackageQuery, ...], records: CountingRecords, limits: AnswerLimits = DEFAULT_LIMITS
) -> bytes:
    """Return the answer to a batch: for each query the id and the time of each record, in the order of the queries.

    A query that is left for the next request has only a page token, also if no record answers it.
    """
    left, cost = limits.batch_records, 0
    results: list[dict[str, Any]] = []
    for query in queries:
        if left == 0 or cost >= limits.batch_cost:
            results.append({"next_page_token": make_token(query.after)})
            continue
        is_parsed = records.has_parsed(query.project)
        known = records.find(query.project)
        cost += len(known) * (1 if is_parsed else PARSE_COST)
        found = select_covering(query, known)
        page = found[: min(limits.page_records, left)]
        left -= len(page)
        result: dict[str, Any] = {}
        if page:
            result["vulns"] = [{"id": each.id, "modified": _format_time(each.modified)} for each in page]
        if len(page) < len(found):
            result["next_page_token"] = make_token(page[-1].id)
        results.append(result)
    return json.dumps({"results": results}, separators=(",", ":")).encode()


def _format_time(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
