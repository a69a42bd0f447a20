"""Guard: which snapshot of a feed is refused until a person accepts it. Pure.

A feed is not signed, so its server, or anyone who controls it, can remove records.
"""

from __future__ import annotations

from datetime import datetime

from assay.advisories.snapshot import FeedSnapshot

__all__ = ["explain_refusal"]


def explain_refusal(previous: FeedSnapshot, candidate: FeedSnapshot) -> str | None:
    """Return the reason why `candidate` must not replace `previous` until a person accepts it; None if it may.

    A feed only grows, apart from single records. A snapshot that lost a tenth of the records, or whose newest change is
    older than that of the previous snapshot, is incomplete or an old one.
    """
    before, after = previous.feed_count, candidate.feed_count
    if after < before and after * 10 <= before * 9:
        return f"the snapshot has {after} records and the previous one had {before}; at most a tenth may be missing"
    old, new = previous.newest_modified, candidate.newest_modified
    if old is not None and (new is None or new < old):
        found = "missing" if new is None else f"of {_format(new)}"
        return f"the newest change in the snapshot is {found}, before that of the previous one, {_format(old)}"
    return None


def _format(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
