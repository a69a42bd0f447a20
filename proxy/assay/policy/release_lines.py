"""Release lines of a project, for `ratchet-scope = "line"`: which publishers are established up to a line. Pure.

A release line is the epoch and the first number of a version (PEP 440): 1.9.6 and 1.10 are of one line, 2.0 is of a
later one. With this scope, the ratchet compares a file only with publishers that signed files of the same line or of an
earlier one. The scope does not change which publishers a file establishes (docs/policy-semantics.md, "Ratchet").
"""

from __future__ import annotations

from datetime import datetime, timedelta

from packaging.version import Version

from assay.evidence import PublisherIdentity
from assay.policy.candidate import FileFacts, PageContext, compute_existence_time
from assay.policy.continuity import ReleaseLine
from assay.policy.language.times import add_duration
from assay.policy.signers import find_signers
from assay.simple.filename import parse_filename

_EARLIEST_LINE: ReleaseLine = (-1, 0)
"""Line of a publisher of which the ledger names no file, or only files without a readable version. It comes before all
others, so the ratchet compares every file with such a publisher."""


def get_release_line(version: Version) -> ReleaseLine:
    """Return the release line of a version."""
    return version.epoch, version.major


def recall_release_lines(context: PageContext, settle_time: timedelta) -> None:
    """Add to the ratchet state the lines in which the ledger's publishers signed files.

    Args:
        context: facts about the page. The function changes `context.ratchet_state`.
        settle_time: value of `ratchet-settle`.
    """
    versions = {file.filename: file.distribution.version for file in context.files if file.distribution is not None}
    for fact in context.history.signers:
        version = versions.get(fact.filename)
        if version is None:
            distribution = parse_filename(fact.filename, context.project).distribution
            version = None if distribution is None else distribution.version
        line = _EARLIEST_LINE if version is None else get_release_line(version)
        _add_line(context, fact.identity, line, add_duration(fact.logged, settle_time))
    for publisher in context.history.publishers:
        if publisher.identity not in context.ratchet_state.lines:
            since = max(add_duration(publisher.logged, settle_time), publisher.existed)
            _add_line(context, publisher.identity, _EARLIEST_LINE, since)


def record_release_line(facts: FileFacts, context: PageContext, settle_time: timedelta, now: datetime) -> None:
    """Add to the ratchet state the line of an accepted file, for the signers of the file.

    Args:
        facts: a file for which `signers.assess_continuity` returns `KEPT` or `EXEMPT`.
        context: facts about the page. The function changes `context.ratchet_state`.
        settle_time: value of `ratchet-settle`.
        now: the current time, UTC.
    """
    distribution = facts.file.distribution
    if distribution is None:
        return
    existed = compute_existence_time(facts, now)
    for identity, logged in find_signers(facts, context).items():
        since = max(add_duration(logged, settle_time), existed, logged)
        _add_line(context, identity, get_release_line(distribution.version), since)


def is_line_established(facts: FileFacts, context: PageContext, now: datetime) -> bool:
    """Return whether a publisher was established for the file's line or an earlier one before the file existed.

    The caller knows that the signers of the file are not established for the project, and therefore for no line.
    """
    distribution = facts.file.distribution
    if distribution is None:
        return True
    line, state = get_release_line(distribution.version), context.ratchet_state
    existed = compute_existence_time(facts, now)
    return any(
        since <= now and since < existed
        for identity in state.established
        for signed_line, since in state.lines.get(identity, {}).items()
        if signed_line <= line
    )


def _add_line(context: PageContext, identity: PublisherIdentity, line: ReleaseLine, since: datetime) -> None:
    known = context.ratchet_state.lines.setdefault(identity, {})
    known[line] = min(since, known.get(line, since))
