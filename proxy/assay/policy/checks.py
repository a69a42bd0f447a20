"""The always-on checks: what no rule, waiver or mode lifts (docs/policy-semantics.md, "Precedence"). Pure.

The filename parses and belongs to the page's project; it equals the decoded basename of its URL; it stands once on the
page; a SHA-256 is given; every address is on a host of the index and names no user; the digest is the one first seen;
the upload-time is neither in the future nor more than an hour before the log time of the file's own attestation.
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
"""How long before its attestation was logged a file may claim to be uploaded: clocks differ, and little else does."""


def find_failed_checks(facts: FileFacts, context: PageContext, now: datetime) -> list[Reason]:
    """Return every check that fails, in the order of their codes."""
    file = facts.file
    found = find_listing_faults(file, context, is_duplicate=facts.is_duplicate)
    seen = facts.ledger_entry
    if seen is not None and file.sha256 is not None and seen.sha256 != file.sha256:
        found.append(make_reason(ReasonCode.DIGEST_CHANGED, None, _tell_digest_changed, (seen.sha256, file.sha256)))
    upload, logged = file.upload_time, facts.logged_at
    if upload is not None:
        if upload > now:
            found.append(make_reason(ReasonCode.TIME_CONFLICT, None, _tell_future_upload, (upload, now), upload))
        elif logged is not None and upload < logged - MAX_BACKDATING:
            found.append(make_reason(ReasonCode.TIME_CONFLICT, None, _tell_backdated, (upload, logged)))
    return found


def find_listing_faults(file: File, context: PageContext, *, is_duplicate: bool) -> list[Reason]:
    """Return the checks of what the page says that fail: they rest on nothing that is learned later."""
    found: list[Reason] = []
    filename, distribution, provenance = file.filename, file.distribution, file.provenance
    if distribution is None or distribution.project != context.project:
        found.append(_make_misnamed_reason(file, context))
    basename = file.location.rpartition("/")[2]
    if basename != filename:
        found.append(make_reason(ReasonCode.URL_MISMATCH, None, _tell_url_mismatch, (filename, basename)))
    if is_duplicate or filename in context.repeated_filenames:
        found.append(make_reason(ReasonCode.DUPLICATE, None, _tell_duplicate, (is_duplicate,)))
    if file.sha256 is None:
        found.append(make_reason(ReasonCode.NO_SHA256, None, _tell_no_sha256, ()))
    homes = context.index_origins
    if not (file.url.startswith(homes) or _is_on_index_host(file.url, context)):
        found.append(_make_foreign_host_reason("its address", file.url, context))
    if provenance is not None and not (provenance.startswith(homes) or _is_on_index_host(provenance, context)):
        found.append(_make_foreign_host_reason("the address of its provenance", provenance, context))
    return found


def is_recordable(file: File, context: PageContext) -> bool:
    """Whether the ledger may learn this entry, so far as the page tells; for no duplicate."""
    faults = find_listing_faults(file, context, is_duplicate=False)
    return not any(reason.code in MISLISTED_CODES for reason in faults)


def _is_on_index_host(url: str, context: PageContext) -> bool:
    """Whether an address is on a host of the index, without user information.

    Metadata has the file's address with ``.metadata`` behind it (PEP 658), so that one check is for both.
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
    return Words(f"its filename belongs to the project {owner}, not to {project}", project, owner)


def _tell_bad_filename(why: str) -> Words:
    return Words(f"its filename is no distribution's: {why}", "a wheel's or source archive's name", why)


def _tell_url_mismatch(filename: str, basename: str) -> Words:
    return Words("its filename is not the last part of its address", filename, basename)


def _tell_duplicate(is_same_digest: bool) -> Words:  # noqa: FBT001 - a fact of the reason
    how = "once more with the same digest" if is_same_digest else "more than once with different digests"
    return Words(f"the page lists it {how}", "one entry", "several")


def _tell_no_sha256() -> Words:
    return Words("the index gives no SHA-256 for it", "a SHA-256", "none")


def _tell_foreign_host(what: str, url: str, index: str, hosts: frozenset[str]) -> Words:
    origin = url[: url.find("/", 8)] if url.find("/", 8) >= 0 else url
    # What stands before an @ may be somebody's password.
    shown = re.sub(r"//.*@", "//…@", origin)
    message = f"{what} is not on a host of the index {index}; if it should be, add it to file-hosts"
    return Words(message, ", ".join(sorted(hosts)), shown)


def _tell_digest_changed(first: str, found: str) -> Words:
    return Words("its digest is not the one first seen for this filename: the bytes were exchanged", first, found)


def _tell_future_upload(upload: datetime, now: datetime) -> Words:
    message = f"its upload-time is in the future; allowed from {format_instant(upload)} at the earliest"
    return Words(message, f"at most {format_instant(now)}", upload.isoformat())


def _tell_backdated(upload: datetime, logged: datetime) -> Words:
    message = "its upload-time is before its own attestation was logged: it is backdated"
    return Words(message, f"not before {logged.isoformat()}", upload.isoformat())
