"""First-seen times that are later than the clock, because the clock was wrong when they were recorded. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from assay.ports import ProjectHistory

_TOLERANCE = timedelta(minutes=1)
"""Time by which a clock is set back in normal operation. Such a first-seen time soon lies in the past."""


def find_clock_corrections(history: ProjectHistory, now: datetime) -> Mapping[str, datetime]:
    """Return the new first-seen times, by filename, of the files that were first seen later than `now`.

    The new time is `now`, but no earlier than the latest log time of the file's signers. A time is corrected only once:
    a clock that is wrong again must not make a file older.
    """
    wrong = [
        filename
        for filename, seen in history.files.items()
        if not seen.corrected and seen.first_seen > now + _TOLERANCE
    ]
    if not wrong:
        return {}
    earliest = dict.fromkeys(wrong, now)
    for signer in history.signers:
        if signer.filename in earliest and signer.logged > earliest[signer.filename]:
            earliest[signer.filename] = signer.logged
    return {name: time for name, time in earliest.items() if time < history.files[name].first_seen}
