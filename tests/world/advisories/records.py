"""Made-up OSV records, in the shape that OSV's export has."""

from __future__ import annotations

import json
from typing import Any

RecordDict = dict[str, Any]


def make_range(*events: tuple[str, str], kind: str = "ECOSYSTEM") -> dict[str, Any]:
    """Return a range with one object for each event."""
    return {"type": kind, "events": [{name: version} for name, version in events]}


def make_affected(
    name: str, *, versions: list[str] | None = None, ranges: list[dict[str, Any]] | None = None, ecosystem: str = "PyPI"
) -> dict[str, Any]:
    """Return an entry of `affected`."""
    entry: dict[str, Any] = {"package": {"ecosystem": ecosystem, "name": name, "purl": f"pkg:pypi/{name}"}}
    if ranges is not None:
        entry["ranges"] = ranges
    if versions is not None:
        entry["versions"] = versions
    return entry


def make_record(
    advisory_id: str,
    *affected: dict[str, Any],
    modified: str = "2026-11-20T10:00:00Z",
    withdrawn: str | None = None,
    **more: object,
) -> RecordDict:
    """Return a record as a dictionary."""
    record: RecordDict = {
        "schema_version": "1.7.3",
        "id": advisory_id,
        "modified": modified,
        "published": "2026-11-19T08:00:00Z",
        "summary": f"Malicious code in {affected[0]['package']['name'] if affected else 'nothing'} (PyPI)",
        "details": "A made-up record.",
        "affected": list(affected),
        "references": [{"type": "WEB", "url": f"https://example.org/{advisory_id}"}],
        **more,
    }
    if withdrawn is not None:
        record["withdrawn"] = withdrawn
    return record


def encode_record(record: RecordDict) -> bytes:
    """Return a record as JSON."""
    return json.dumps(record).encode()
