"""Cache of the indexes' project pages.

Pages are cached in memory and as records. A page has two records, a header and a compressed body. The digest of the
body is checked when the body is read back. This module judges nothing.

- A page younger than `freshness.page` is used without a request. An older page is renewed by a conditional request.
- While the index is unavailable or sends invalid responses, a cached page is used for up to `max-stale` longer. It is
  then marked with `IndexPage.is_stale`.
- If a stale page can be used, a caller waits at most 3 seconds for the index (`stale_fallback_delay`). Then the caller
  gets the stale page. The request continues in the background, and its response is used when it arrives.
- If the index refuses access (401, 403, 451), the error is raised, and no cached page is used instead. A status of
  `absent-status` means that the index does not have the project, unless the project had files.
- A page with a lower serial than an earlier one is a rollback, which is a security event. The earlier page is kept for
  `max-stale`. Then `SerialRollbackError` is raised, until the index is believed (`ProjectHistory.is_rollback`).
- A page that may be incomplete is invalid. HTML may be incomplete if the response has neither a ``Content-Length``
  nor a last chunk. It may also be incomplete if it has neither links to files nor one of PyPI's marks of an empty page
  (`simple.html_page`).
- A page that was fetched before an operator declared the serial of its project wrong is fetched again.
- If replicas share the records, a page in memory that needs a renewal is compared with its record first. If another
  replica has renewed the page, its record is used, and the index is not asked.
- The absence of a project is cached too, in memory, for at most a minute. A client that requests too many names that
  the index does not have waits, because each costs a request to the index.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from assay import telemetry
from assay.caching.byte_budget import ByteBudget
from assay.caching.lru import Lru
from assay.caching.rate_limit import RateLimit
from assay.caching.single_flight import SingleFlight, StillRunningError
from assay.errors import (
    AmbiguousAbsenceError,
    InvalidResponseError,
    SerialRollbackError,
    TooManyRequestsError,
    UpstreamAccessDeniedError,
    UpstreamError,
    UpstreamGoneError,
    UpstreamTimeoutError,
)
from assay.indexes import IndexSettings
from assay.pages.moved_files import MovedFiles
from assay.pages.records import (
    body_key,
    compute_content_digest,
    decode_header,
    decompress_body,
    describe_document,
    encode_header,
    get_checked_time,
    get_validators,
    header_key,
)
from assay.ports import (
    MAX_SERIAL,
    UNDELIMITED,
    FetchedDocument,
    IndexPage,
    NoBody,
    ProjectHistory,
    ProjectKey,
    RecordStore,
    Upstream,
    Validators,
)
from assay.simple.model import NormalizedName
from assay.simple.parse import PageLimits, is_json_type, parse_project
from assay.telemetry.metrics import PAGE_LOOKUPS
from assay.users import current_client

_OFFLOAD_MIN_BYTES = 64 * 1024
"""Size in bytes from which a page is parsed in a thread instead of the event loop."""
_MAX_TIMEOUTS = 10_000
"""Limit on the remembered timeouts of pages."""
_MAX_COMPRESSION_RATIO = 1032
"""Largest ratio of the size of a body to that of its zlib data (zlib's documentation, "Maximum Compression Factor")."""
_MAX_LOGGED_FILENAMES = 20
"""Maximum number of filenames in a log line about withdrawn files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCacheSettings:
    """Limits and time spans of the page cache."""

    max_files: int = 10_000
    """Maximum number of files of all parsed pages in memory together. A small number suffices: the gate caches the
    judged pages, so a parsed page is needed only at its next renewal."""
    max_body_bytes: int = 64 * 2**20
    """Maximum total size in bytes of the bodies of pages that are read and parsed at the same time. At the limit, all
    pages wait except for the one that has been read for the longest time. Bodies of at most `free_body_bytes` do not
    count. Parsing takes two to three times the size of a body."""
    free_body_bytes: int = 2**20
    """Size in bytes up to which a body does not count and never waits. Nearly all pages are smaller."""
    max_absences: int = 2_000
    """Maximum number of absent projects in memory. They are kept apart from the pages, so that invented names evict no
    page."""
    absences_at_once: int = 1_000
    """Number of absent projects that one client may request at once. Ordinary clients request few of them, for example
    because a filename can be split into several project names."""
    absences_per_second: float = 5.0
    """Number of further absent projects that one client may request, per second."""
    absence_ttl: timedelta = timedelta(minutes=1)
    """Maximum time for which the absence of a project is cached."""
    stale_fallback_delay: timedelta = timedelta(seconds=3)
    """Maximum wait for the response of an index if a stale page can be used instead."""
    silence_memory: timedelta = timedelta(seconds=20)
    """Time for which the proxy remembers that the index did not send a page in time. If no cached page can be used,
    further requests for the page fail at once during this time. A client that repeats its request therefore gets the
    reason instead of another wait."""
    outage_backoff: timedelta = timedelta(seconds=10)
    """Time after a failure of an index for which stale pages are used without a new request to the index. An
    installation requests about fifty pages, and must not wait for a failing index at each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _CachedAbsence:
    confirmed_at: datetime


_CacheEntry = IndexPage | _CachedAbsence


class PageCache:
    """Cache of the project pages of all indexes, shared by all views."""

    def __init__(
        self,
        *,
        upstream: Upstream,
        records: RecordStore,
        clock: Callable[[], datetime],
        settings: PageCacheSettings | None = None,
    ) -> None:
        self._settings = settings or PageCacheSettings()
        self._upstream = upstream
        self._records = records
        self._clock = clock
        self._requests = SingleFlight[ProjectKey, IndexPage | None]("fetch page", report=_log_failed_request)
        """Running requests for pages. A request continues if its caller uses a stale page instead."""
        self._bodies = ByteBudget(self._settings.max_body_bytes, self._settings.free_body_bytes)
        self._outages: dict[str, datetime] = {}
        self.moved = MovedFiles(records)
        """Addresses of files on earlier pages."""
        self._timeouts = Lru[ProjectKey, str](
            max_items=_MAX_TIMEOUTS, max_age_seconds=self._settings.silence_memory.total_seconds()
        )
        self._memory = Lru[ProjectKey, IndexPage](max_weight=self._settings.max_files, weigh=_weigh)
        self._absences = Lru[ProjectKey, _CachedAbsence](max_items=self._settings.max_absences)
        self._absence_limit = RateLimit(self._settings.absences_at_once, self._settings.absences_per_second)

    async def get_current(
        self, index: IndexSettings, name: NormalizedName, *, history: ProjectHistory
    ) -> IndexPage | None:
        """Return the page of a project, from the cache or the index; None if the index does not have the project.

        Args:
            index: the index that owns the name.
            name: the project.
            history: the ledger's facts about the project. A page with a lower serial than the highest recorded one is a
                rollback. If the project had files, an HTML page without files needs one of PyPI's marks of an empty
                page.

        Raises:
            TooManyRequestsError: the client requested too many names that the index does not have.
            UpstreamUnavailableError: the index is unavailable, and no page is cached that is recent enough.
            SerialRollbackError: the index sent a page with a lower serial, and no newer page may be used.
            UpstreamError: the index refused access or sent an invalid response.
        """
        cached = await self._load_latest(index, name, history)
        page = cached if isinstance(cached, IndexPage) else None
        if cached is not None and self._is_current(index, cached, history):
            PAGE_LOOKUPS.labels("fresh").inc()
            return page
        is_expired = page is not None and self._is_rollback_over(index, page, history)
        # Requested again without validators: the index's response "not modified" would confirm the forgotten serial.
        is_forgotten = page is not None and history.is_before_forgotten_serial(page.confirmed_at)
        if page is not None and is_forgotten:
            page = replace(page, validators=Validators())
        request = partial(self._request_page, index, name, page, history)
        if page is None or is_expired or self._age(page) > index.freshness.page + index.freshness.max_stale:
            if (problem := self._timeouts.get((index.name, name))) is not None:
                raise UpstreamTimeoutError(problem)
            if page is None and not history.files:
                self._check_absences()
            return await self._requests.join((index.name, name), request)
        if self._is_in_outage(index):
            return replace(page, is_stale=True)
        timeout = self._settings.stale_fallback_delay.total_seconds()
        try:
            return await self._requests.join((index.name, name), request, timeout_seconds=timeout)
        except (UpstreamAccessDeniedError, UpstreamGoneError, AmbiguousAbsenceError, SerialRollbackError):
            raise
        except StillRunningError:
            reason = f"{index.name} has not answered within {timeout:.0f} s"
        except UpstreamError as error:
            reason = str(error)
        self._outages[index.name] = self._clock()
        PAGE_LOOKUPS.labels("stale").inc()
        telemetry.warning("page-stale", index=index.name, project=name, age=str(self._age(page)), error=reason)
        return replace(page, is_stale=True)

    def _check_absences(self) -> None:
        """Raise if the client of the current request must wait before it may request an unknown name.

        Raises:
            TooManyRequestsError: it must wait.
        """
        client = current_client.get()
        if client is not None and self._absence_limit.is_exceeded(client):
            raise TooManyRequestsError(
                "this client requested too many projects that do not exist: wait before it requests another unknown one"
            )

    async def is_fresh(self, index: IndexSettings, name: NormalizedName) -> bool:
        """Return whether the page, or the absence of the project, is in memory and needs no renewal yet.

        If replicas share the records, a page that another replica has renewed is loaded into memory.
        """
        cached = self._memory.peek((index.name, name)) or self._absences.peek((index.name, name))
        if self._records.is_shared and (cached is None or not self._is_young(index, cached)):
            cached = await (self._load(index, name) if cached is None else self._load_newer(index, name, cached))
        return cached is not None and self._is_young(index, cached)

    def is_requested(self, index: IndexSettings, name: NormalizedName) -> bool:
        """Return whether a request for the page is running."""
        return self._requests.get((index.name, name)) is not None

    async def close(self) -> None:
        """Cancel the running requests."""
        await self._requests.close()

    def _is_current(self, index: IndexSettings, cached: _CacheEntry, history: ProjectHistory) -> bool:
        """Return whether an entry can be used without a request to the index."""
        if isinstance(cached, IndexPage) and (
            self._is_rollback_over(index, cached, history) or history.is_before_forgotten_serial(cached.confirmed_at)
        ):
            return False
        return self._is_young(index, cached)

    def _is_rollback_over(self, index: IndexSettings, page: IndexPage, history: ProjectHistory) -> bool:
        """Return whether a page is kept because of lower serials, which the index has sent for too long."""
        return page.is_rolled_back and self._has_rollback_expired(index, history)

    def _has_rollback_expired(self, index: IndexSettings, history: ProjectHistory) -> bool:
        """Return whether the index has sent lower serials for longer than `max-stale`."""
        since = history.rollback_since
        return since is not None and self._clock() - since > index.freshness.max_stale

    def _is_in_outage(self, index: IndexSettings) -> bool:
        since = self._outages.get(index.name)
        return since is not None and abs(self._clock() - since) < self._settings.outage_backoff

    async def _request_page(
        self, index: IndexSettings, name: NormalizedName, page: IndexPage | None, history: ProjectHistory
    ) -> IndexPage | None:
        validators = page.validators if page else Validators()
        with self._bodies.open_lease() as lease:
            try:
                answer = await self._upstream.get_index(index).fetch_page(name, validators, reserve=lease.grow_to)
            except UpstreamTimeoutError as error:
                self._timeouts.put((index.name, name), str(error))
                raise
            except UpstreamAccessDeniedError as error:
                if error.status not in index.absent_status:
                    raise
                if _had_files(page, history):
                    raise AmbiguousAbsenceError(
                        f"{index.name} answered {error.status} for {name}, which had files: "
                        "the project may be gone, or the index denies access",
                        status=error.status,
                    ) from error
                answer = NoBody.ABSENT
            self._timeouts.pop((index.name, name))
            page = await self._accept_answer(index, name, answer, page, history)
        self._outages.pop(index.name, None)
        return page

    async def _accept_answer(
        self,
        index: IndexSettings,
        name: NormalizedName,
        fetched: FetchedDocument | NoBody,
        page: IndexPage | None,
        history: ProjectHistory,
    ) -> IndexPage | None:
        now = self._clock()
        PAGE_LOOKUPS.labels(
            "changed" if isinstance(fetched, FetchedDocument) else fetched.name.lower().replace("_", "-")
        ).inc()
        if fetched is NoBody.NOT_MODIFIED and page is not None:
            return await self._store_page(name, replace(page, confirmed_at=now, is_rolled_back=False))
        if isinstance(fetched, NoBody):
            # The index has no such project. If it had one before, the project was withdrawn.
            if page is not None:
                await self.moved.record(index, page.project, None)
                telemetry.warning("project-withdrawn", index=index.name, project=name, files=len(page.project.files))
            elif not history.files:
                self._absence_limit.count(current_client.get())
            await self._store_absence(index, name, page, now)
            return None
        if page is not None and page.content_digest == compute_content_digest(fetched):
            confirmed = replace(page, confirmed_at=now, validators=fetched.validators, is_rolled_back=False)
            return await self._store_page(name, confirmed)
        fresh = await self._parse_page(index, name, fetched, now, had_files=_had_files(page, history))
        serial, newest = fresh.project.serial, history.serial
        if history.is_rollback(serial, index.url, now):
            telemetry.security("serial-rollback", index=index.name, project=name, found=serial, newest=newest)
            if page is None or self._has_rollback_expired(index, history):
                raise SerialRollbackError(
                    f"{index.name} sent the page of {name} with serial {serial}, although it sent the higher serial"
                    f" {newest} before; it is believed after 7 days"
                )
            return await self._store_page(name, replace(page, confirmed_at=now, is_rolled_back=True))
        if history.rollback_since is not None and serial is not None and newest is not None and serial < newest:
            telemetry.warning("serial-believed", index=index.name, project=name, found=serial, newest=newest)
        if page is not None:
            await self.moved.record(index, page.project, fresh.project)
            _log_withdrawn_files(page, fresh)
        telemetry.event("page-fetched", index=index.name, project=name, files=len(fresh.project.files))
        return await self._store_page(name, fresh, fetched)

    async def _parse_page(
        self,
        index: IndexSettings,
        name: NormalizedName,
        fetched: FetchedDocument,
        checked_at: datetime,
        *,
        had_files: bool = False,
    ) -> IndexPage:
        """Parse a page.

        Raises:
            InvalidResponseError: the page is unusable or may be incomplete, as the docstring of this module describes.
        """
        if not fetched.is_delimited and not is_json_type(fetched.content_type):  # the syntax of JSON marks the end
            raise InvalidResponseError(f"the page of {name}: {UNDELIMITED}")
        parse = partial(
            parse_project,
            fetched.body,
            fetched.content_type,
            fetched.url,
            name,
            serial=fetched.serial,
            limits=PageLimits(max_files=index.limits.files_per_project),
            had_files=had_files,
        )
        project = parse() if len(fetched.body) < _OFFLOAD_MIN_BYTES else await asyncio.to_thread(parse)
        if project.serial is not None and project.serial > MAX_SERIAL:
            telemetry.warning("serial-implausible", index=index.name, project=name, serial=project.serial)
            project = replace(project, serial=None)
        return IndexPage(
            index=index,
            project=project,
            content_digest=compute_content_digest(fetched),
            confirmed_at=checked_at,
            validators=fetched.validators,
        )

    def _age(self, entry: _CacheEntry) -> timedelta:
        # The absolute value, because a clock that is set back must not make a page fresh permanently.
        return abs(self._clock() - entry.confirmed_at)

    def _is_young(self, index: IndexSettings, entry: _CacheEntry) -> bool:
        lifetime = index.freshness.page
        if not isinstance(entry, IndexPage):
            lifetime = min(lifetime, self._settings.absence_ttl)
        return self._age(entry) < lifetime

    async def _load_latest(
        self, index: IndexSettings, name: NormalizedName, history: ProjectHistory
    ) -> _CacheEntry | None:
        """Return the cached entry, or what another replica has recorded if the entry needs a renewal."""
        cached = await self._load(index, name)
        if cached is None or not self._records.is_shared or self._is_current(index, cached, history):
            return cached
        return await self._load_newer(index, name, cached)

    async def _load(self, index: IndexSettings, name: NormalizedName) -> _CacheEntry | None:
        key = (index.name, name)
        if (cached := self._memory.get(key) or self._absences.get(key)) is not None:
            return cached
        return await self._read_records(index, name)

    async def _load_newer(self, index: IndexSettings, name: NormalizedName, cached: _CacheEntry) -> _CacheEntry:
        """Return the page that another replica has recorded since `cached` was confirmed; else return `cached`."""
        key = (index.name, name)
        header = decode_header(await self._records.get(header_key(key)))
        if header is None or header.get("address") != index.url:
            return cached
        try:
            checked_at = get_checked_time(header)
        except (KeyError, TypeError, ValueError, OverflowError, OSError):
            return cached
        if checked_at <= cached.confirmed_at:
            return cached
        if isinstance(cached, IndexPage) and header.get("version") == cached.content_digest:
            is_rolled_back = header.get("rolled_back") is True
            validators = get_validators(header)
            return self._cache_in_memory(
                key, replace(cached, confirmed_at=checked_at, validators=validators, is_rolled_back=is_rolled_back)
            )
        newer = await self._read_records(index, name)
        if newer is None or newer.confirmed_at <= cached.confirmed_at:
            return cached
        self.moved.reload(index, name)  # the other replica may have recorded addresses that its new page does not list
        return newer

    async def _read_records(self, index: IndexSettings, name: NormalizedName) -> _CacheEntry | None:
        """Return the recorded page, and cache it in memory; None if no valid page is recorded."""
        key = (index.name, name)
        records = await self._records.get_many((header_key(key), body_key(key)))
        header = decode_header(records.get(header_key(key)))
        if header is None or header.get("address") != index.url:
            return None
        try:
            checked_at = get_checked_time(header)
            if header.get("absent") is True:
                return self._cache_in_memory(key, _CachedAbsence(confirmed_at=checked_at))
            body = records.get(body_key(key))
            if body is None:
                return None
            with self._bodies.open_lease() as lease:
                await lease.grow_to(await asyncio.to_thread(self._estimate_size, index, body))
                page = await self._parse_record(index, name, header, body, checked_at)
            return self._cache_in_memory(key, page)
        except (KeyError, TypeError, ValueError, OverflowError, OSError, zlib.error, UpstreamError) as error:
            telemetry.warning("record-corrupt", record="page", index=index.name, project=name, error=str(error))
            return None

    def _estimate_size(self, index: IndexSettings, body: bytes) -> int:
        """Return an upper limit on the size of a recorded body after decompression, in bytes."""
        free_bytes = self._settings.free_body_bytes
        if len(zlib.decompressobj().decompress(body, free_bytes + 1)) <= free_bytes:
            return free_bytes
        return min(index.limits.page, _MAX_COMPRESSION_RATIO * len(body))

    async def _parse_record(
        self, index: IndexSettings, name: NormalizedName, header: dict[str, Any], body: bytes, checked_at: datetime
    ) -> IndexPage:
        answer = FetchedDocument(
            body=await asyncio.to_thread(decompress_body, body, index.limits.page),
            content_type=str(header["content_type"]),
            url=str(header["url"]),
            validators=get_validators(header),
            serial=header.get("serial") if isinstance(header.get("serial"), int) else None,
        )
        if compute_content_digest(answer) != header.get("version"):
            raise ValueError("the body does not match the digest in the header")
        page = await self._parse_page(index, name, answer, checked_at)
        return replace(page, is_rolled_back=header.get("rolled_back") is True)

    async def _store_page(
        self, name: NormalizedName, page: IndexPage, fetched: FetchedDocument | None = None
    ) -> IndexPage:
        """Cache a page in memory and as records, and return it.

        Args:
            name: the project.
            page: the page.
            fetched: the document from which the page was parsed; None if the body of the page is already recorded.
        """
        key = (page.index.name, name)
        self._cache_in_memory(key, page)
        if fetched is None:
            header = decode_header(await self._records.get(header_key(key)))
            if header is not None and header.get("version") == page.content_digest:
                await self._records.put(header_key(key), encode_header(page, header))
            return page
        body = await asyncio.to_thread(zlib.compress, fetched.body, 1)
        # Both at once: another replica must not read the body of one page with the header of another.
        header_record = encode_header(page, describe_document(fetched))
        await self._records.put_many({body_key(key): body, header_key(key): header_record})
        return page

    async def _store_absence(
        self, index: IndexSettings, name: NormalizedName, page: IndexPage | None, now: datetime
    ) -> None:
        """Cache the absence of a project in memory, and delete the records of its former page.

        The absence itself is not recorded, so that invented names take no space in the storage.
        """
        key = (index.name, name)
        self._cache_in_memory(key, _CachedAbsence(confirmed_at=now))
        if page is not None:
            await self._records.delete(header_key(key))
            await self._records.delete(body_key(key))

    def _cache_in_memory(self, key: ProjectKey, entry: _CacheEntry) -> _CacheEntry:
        if isinstance(entry, IndexPage):
            self._absences.pop(key)
            self._memory.put(key, entry)
        else:
            self._memory.pop(key)
            self._absences.put(key, entry)
        return entry


def _log_failed_request(key: ProjectKey, error: BaseException) -> None:
    telemetry.event("page-refresh-failed", index=key[0], project=key[1], error=str(error))


def _log_withdrawn_files(page: IndexPage, fresh_page: IndexPage) -> None:
    """Log the files that the index no longer lists, because users may have installed them."""
    listed = {file.filename for file in fresh_page.project.files}
    gone = [file.filename for file in page.project.files if file.filename not in listed]
    if gone:
        telemetry.warning(
            "files-withdrawn",
            index=fresh_page.index.name,
            project=fresh_page.project.name,
            count=len(gone),
            filenames=sorted(gone)[:_MAX_LOGGED_FILENAMES],
        )


def _had_files(page: IndexPage | None, history: ProjectHistory) -> bool:
    """Return whether the cached page or the ledger shows that a project has had files."""
    return bool(history.files) or (page is not None and bool(page.project.files))


def _weigh(page: IndexPage) -> int:
    # An empty page has a weight too, so that the number of pages stays bounded.
    return 10 + len(page.project.files)
