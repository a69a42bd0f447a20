"""Always-on checks, which no rule, waiver or mode lifts (docs/policy-semantics.md, "Precedence"). Pure.

- The entry on the page is well formed.
- The filename parses and belongs to the project of the page. It equals the decoded last part of the file's URL.
- The page lists the file once, with a SHA-256.
- The URLs of the file and its provenance are on hosts of the index and contain no user information.
- The digest is the first one that the ledger recorded for the filename, and not one that an operator declared wrong.
- Neither the upload-time nor the log time of the file's attestation is in the future. The upload-time is at most one
  hour before that log time.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from assay.policy.candidate import FileFacts, PageContext
from assay.policy.language.times import format_instant
from assay.policy.verdict import MISLISTED_CODES, Reason, ReasonCode, Words, make_reason
from assay.simple.model import File

MAX_BACKDATING: Final = timedelta(hours=1)
"""Maximum time by which the upload-time may precede the log time of the attestation. The two clocks may differ."""
MAX_CLOCK_SKEW: Final = timedelta(minutes=5)
"""Maximum time by which an upload-time or log time may be later than the current time of this machine."""


def find_failed_checks(facts: FileFacts, context: PageContext, now: datetime) -> list[Reason]:
    """Return the reasons of all always-on checks that fail, in the order of `ReasonCode`."""
    file = facts.file
    found = find_listing_faults(file, context, is_duplicate=facts.is_duplicate)
    seen = facts.ledger_entry
    if seen is not None and file.sha256 is not None and seen.sha256 != file.sha256:
        found.append(make_reason(ReasonCode.DIGEST_CHANGED, None, _tell_digest_changed, (seen.sha256, file.sha256)))
    elif seen is None and context.history.forgotten.has_digest(file.filename, file.sha256):
        found.append(make_reason(ReasonCode.DIGEST_CHANGED, None, _tell_digest_forgotten, (file.sha256,)))
    if (conflict := _find_time_conflict(facts, now)) is not None:
        found.append(conflict)
    return found


def _find_time_conflict(facts: FileFacts, now: datetime) -> Reason | None:
    upload, logged = facts.file.upload_time, facts.logged_at
    latest = now + MAX_CLOCK_SKEW
    if upload is not None and upload > latest:
        return _make_future_reason("upload-time", upload, latest)
    counted = facts.relevant_attestations
    if logged is None and not counted:
        return None
    # The earliest attestation that counts dates the file, whatever another one says.
    dated = (
        counted[0].integrated_time if len(counted) == 1 else min((a.integrated_time for a in counted), default=logged)
    )
    if dated is not None and dated > latest:
        return _make_future_reason("log time", dated, latest)
    if upload is not None and logged is not None and upload < logged - MAX_BACKDATING:
        return make_reason(ReasonCode.TIME_CONFLICT, None, _tell_backdated, (upload, logged))
    return None


def _make_future_reason(what: str, time: datetime, latest: datetime) -> Reason:
    return make_reason(ReasonCode.TIME_CONFLICT, None, _tell_future, (what, time, latest), time - MAX_CLOCK_SKEW)


def find_listing_faults(file: File, context: PageContext, *, is_duplicate: bool) -> list[Reason]:
    """Return the reasons of the failed checks that need only the page, not the ledger, the clock or the evidence.

    Args:
        file: the entry on the page.
        context: facts about the page.
        is_duplicate: True if the page has an earlier entry with the same filename and digest.
    """
    found: list[Reason] = []
    filename, distribution, provenance = file.filename, file.distribution, file.provenance
    if distribution is None or distribution.project != context.project:
        found.append(_make_misnamed_reason(file, context))
    basename = file.location.rpartition("/")[2]
    if basename != filename:
        found.append(make_reason(ReasonCode.URL_MISMATCH, None, _tell_url_mismatch, (filename, basename)))
    if is_duplicate or filename in context.repeated_filenames:
        found.append(make_reason(ReasonCode.DUPLICATE, None, _tell_duplicate, (is_duplicate,)))
    if file.sha256 is None and file.problem is None:
        found.append(make_reason(ReasonCode.NO_SHA256, None, _tell_no_sha256, ()))
    origins = context.index_origins
    if not (file.url.startswith(origins) or _is_on_index_host(file.url, context)):
        found.append(_make_foreign_host_reason("the file's URL", file.url, context))
    if provenance is not None and not (provenance.startswith(origins) or _is_on_index_host(provenance, context)):
        found.append(_make_foreign_host_reason("the file's provenance URL", provenance, context))
    if file.problem is not None:
        found.append(make_reason(ReasonCode.BAD_ENTRY, None, _tell_bad_entry, (file.problem,)))
    return found


def find_duplicates(context: PageContext) -> frozenset[int]:
    """Return the positions of the page entries that repeat another entry with the same filename and digest.

    If several entries are equal in this way, one of them is kept, and its position is not returned. The kept entry is
    the first one that the ledger may record (`is_recordable`), or else the first one. Entries without a digest, and
    filenames listed with different digests, are left out, because `find_listing_faults` finds other reasons against
    them.
    """
    files = context.files
    if len({file.filename for file in files}) == len(files):
        return frozenset()
    entries: dict[str, list[int]] = {}
    for place, file in enumerate(files):
        if file.sha256 is not None and file.filename not in context.repeated_filenames:
            entries.setdefault(file.filename, []).append(place)
    duplicates: set[int] = set()
    for places in entries.values():
        if len(places) > 1:
            kept = next((place for place in places if is_recordable(files[place], context)), places[0])
            duplicates.update(place for place in places if place != kept)
    return frozenset(duplicates)


def is_recordable(file: File, context: PageContext) -> bool:
    """Return True if the ledger may record this page entry. The caller must not pass a duplicate entry."""
    faults = find_listing_faults(file, context, is_duplicate=False)
    return not any(reason.code in MISLISTED_CODES for reason in faults)


def _is_on_index_host(url: str, context: PageContext) -> bool:
    """Return True if a URL is on a host of the index and contains no user information.

    The metadata URL is the file URL plus ``.metadata`` (PEP 658), so the check of the file URL covers it.
    """
    origin = url[: url.find("/", 8) + 1]
    known = context.origin_ownership.get(origin)
    if known is None:
        known = context.origin_ownership[origin] = context.index.owns(origin)
    return known


def _make_misnamed_reason(file: File, context: PageContext) -> Reason:
    owner = file.owner or (file.distribution.project if file.distribution is not None else None)
    if owner is not None and owner != context.project:
        return make_reason(ReasonCode.OTHER_PROJECT, None, _tell_other_project, (owner, context.project))
    return make_reason(ReasonCode.BAD_FILENAME, None, _tell_bad_filename, (file.refusal or "it cannot be parsed",))


def _make_foreign_host_reason(what: str, url: str, context: PageContext) -> Reason:
    facts = (what, url, context.index.name, context.index.hosts)
    return make_reason(ReasonCode.FOREIGN_HOST, None, _tell_foreign_host, facts)


def _tell_other_project(owner: str, project: str) -> Words:
    return Words(f"the filename belongs to the project {owner}, not to {project}", project, owner)


def _tell_bad_filename(why: str) -> Words:
    return Words(
        f"the filename is not a valid distribution filename: {why}", "the filename of a wheel or source archive", why
    )


def _tell_url_mismatch(filename: str, basename: str) -> Words:
    return Words("the filename differs from the last part of the file's URL", filename, basename)


def _tell_duplicate(is_same_digest: bool) -> Words:  # noqa: FBT001 - a stored fact of the reason
    if is_same_digest:
        return Words("another entry of the page lists the file, with the same digest", "one entry", "several")
    return Words("the page lists the file more than once, with different digests", "one entry", "several")


def _tell_bad_entry(problem: str) -> Words:
    return Words(
        f"the file's entry on the index's page is malformed: {problem}", "an entry as in PEP 691 and 700", problem
    )


def _tell_no_sha256() -> Words:
    return Words("the index gives no SHA-256 for the file", "a SHA-256", "none")


def _tell_foreign_host(what: str, url: str, index: str, hosts: frozenset[str]) -> Words:
    origin = url[: url.find("/", 8)] if url.find("/", 8) >= 0 else url
    # The part before an @ may contain a password.
    shown = re.sub(r"//.*@", "//…@", origin)
    message = f"{what} is not on a host of the index {index}; the operator can allow this host in file-hosts"
    return Words(message, ", ".join(sorted(hosts)), shown)


def _tell_digest_changed(first: str, found: str) -> Words:
    message = (
        "the file's SHA-256 differs from the first one seen for this filename: the file was replaced;"
        " use another version"
    )
    return Words(message, first, found)


def _tell_digest_forgotten(found: str) -> Words:
    message = (
        "an operator has stated that this SHA-256 is wrong for this filename (assay ledger forget); use another version"
    )
    return Words(message, "another SHA-256", found)


def _tell_future(what: str, time: datetime, latest: datetime) -> Words:
    allowed = format_instant(time - MAX_CLOCK_SKEW)
    message = f"the file's {what} is in the future; allowed from {allowed} at the earliest"
    return Words(message, f"at most {format_instant(latest)}", time.isoformat())


def _tell_backdated(upload: datetime, logged: datetime) -> Words:
    message = (
        "the file's upload-time is more than an hour before its attestation was logged: the time is backdated;"
        " use another version"
    )
    return Words(message, f"at most an hour before {logged.isoformat()}", upload.isoformat())
