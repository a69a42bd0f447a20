"""The always-on checks: what no rule, waiver or mode lifts (docs/policy-semantics.md, "Precedence"). Pure.

The filename parses and belongs to the page's project; it equals the decoded basename of its URL; it stands once on the
page; a SHA-256 is given; every address is on a host of the index and names no user; the digest is the one first seen;
the upload-time is neither in the future nor more than an hour before the log time of the file's own attestation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from assay.policy.candidate import FileFacts, PageContext
from assay.policy.language.times import format_instant
from assay.policy.verdict import Reason, ReasonCode
from assay.simple.model import File

MAX_BACKDATING: Final = timedelta(hours=1)
"""How long before its attestation was logged a file may claim to be uploaded: clocks differ, and little else does."""


def find_failed_checks(facts: FileFacts, context: PageContext, now: datetime) -> list[Reason]:
    """Every check that fails, in the order of their codes."""
    file = facts.file
    found = list(find_listing_faults(file, context, is_duplicate=facts.is_duplicate))
    seen = facts.ledger_entry
    if seen is not None and file.sha256 is not None and seen.sha256 != file.sha256:
        message = "its digest is not the one first seen for this filename: the bytes were exchanged"
        found.append(_make_reason(ReasonCode.DIGEST_CHANGED, message, expected=seen.sha256, found=file.sha256))
    if (conflict := _check_upload_time(facts, now)) is not None:
        found.append(conflict)
    return found


def find_listing_faults(file: File, context: PageContext, *, is_duplicate: bool) -> Iterator[Reason]:
    """The checks of what the page says that fail: they rest on nothing that is learned later."""
    yield from _check_name(file, context, is_duplicate=is_duplicate)
    if file.sha256 is None:
        yield _make_reason(
            ReasonCode.NO_SHA256, "the index gives no SHA-256 for it", expected="a SHA-256", found="none"
        )
    if not _is_on_index_host(file.url, context):
        yield _make_foreign_host_reason("its address", file.url, context)
    if file.provenance is not None and not _is_on_index_host(file.provenance, context):
        yield _make_foreign_host_reason("the address of its provenance", file.provenance, context)


def is_sound(facts: FileFacts, context: PageContext, now: datetime) -> bool:
    """Whether every check passes: the short way, because nearly every file's do and thousands are judged at a time."""
    file = facts.file
    filename, sha256, distribution, provenance = file.filename, file.sha256, file.distribution, file.provenance
    upload, logged = file.upload_time, facts.logged_at
    seen, homes = facts.ledger_entry, context.index_origins
    return (
        distribution is not None
        and distribution.project == context.project
        and file.location.rpartition("/")[2] == filename
        and not facts.is_duplicate
        and filename not in context.repeated_filenames
        and sha256 is not None
        and (seen is None or seen.sha256 == sha256)
        and (file.url.startswith(homes) or _is_on_index_host(file.url, context))
        and (provenance is None or provenance.startswith(homes) or _is_on_index_host(provenance, context))
        and (upload is None or (upload <= now and (logged is None or upload >= logged - MAX_BACKDATING)))
    )


def _check_name(file: File, context: PageContext, *, is_duplicate: bool) -> Iterator[Reason]:
    if file.distribution is None or file.distribution.project != context.project:
        yield _make_misnamed_reason(file, context)
    basename = file.location.rpartition("/")[2]
    if basename != file.filename:
        message = "its filename is not the last part of its address"
        yield _make_reason(ReasonCode.URL_MISMATCH, message, expected=file.filename, found=basename)
    if is_duplicate or file.filename in context.repeated_filenames:
        how = "once more with the same digest" if is_duplicate else "more than once with different digests"
        yield _make_reason(ReasonCode.DUPLICATE, f"the page lists it {how}", expected="one entry", found="several")


def _make_misnamed_reason(file: File, context: PageContext) -> Reason:
    owner = file.owner or (file.distribution.project if file.distribution is not None else None)
    if owner is not None and owner != context.project:
        message = f"its filename belongs to the project {owner}, not to {context.project}"
        return _make_reason(ReasonCode.OTHER_PROJECT, message, expected=context.project, found=owner)
    why = file.refusal or "it cannot be parsed"
    message = f"its filename is no distribution's: {why}"
    return _make_reason(ReasonCode.BAD_FILENAME, message, expected="a wheel's or source archive's name", found=why)


def _is_on_index_host(url: str, context: PageContext) -> bool:
    """Whether an address is on a host of the index, without user information.

    Metadata has the file's address with ``.metadata`` behind it (PEP 658), so that one check is for both.
    """
    origin = url[: url.find("/", 8) + 1]
    known = context.origin_ownership.get(origin)
    if known is None:
        known = context.origin_ownership[origin] = context.index.owns(origin)
    return known


def _make_foreign_host_reason(what: str, url: str, context: PageContext) -> Reason:
    hosts = ", ".join(sorted(context.index.hosts))
    origin = url[: url.find("/", 8)] if url.find("/", 8) >= 0 else url
    # What stands before an @ may be somebody's password.
    shown = re.sub(r"//.*@", "//…@", origin)
    message = f"{what} is not on a host of the index {context.index.name}; if it should be, add it to file-hosts"
    return _make_reason(ReasonCode.FOREIGN_HOST, message, expected=hosts, found=shown)


def _check_upload_time(facts: FileFacts, now: datetime) -> Reason | None:
    upload = facts.file.upload_time
    if upload is None:
        return None
    if upload > now:
        message = f"its upload-time is in the future; allowed from {format_instant(upload)} at the earliest"
        return _make_reason(
            ReasonCode.TIME_CONFLICT,
            message,
            expected=f"at most {format_instant(now)}",
            found=upload.isoformat(),
            until=upload,
        )
    logged = facts.logged_at
    if logged is not None and upload < logged - MAX_BACKDATING:
        message = "its upload-time is before its own attestation was logged: it is backdated"
        return _make_reason(
            ReasonCode.TIME_CONFLICT, message, expected=f"not before {logged.isoformat()}", found=upload.isoformat()
        )
    return None


def _make_reason(code: ReasonCode, message: str, *, expected: str, found: str, until: datetime | None = None) -> Reason:
    return Reason(code=code, rule=None, message=message, expected=expected, found=found, until=until)
