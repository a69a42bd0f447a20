"""Client of GitHub's REST API for attestations: pages, bulk listing, rate limits, and bundles at another URL.

Sources: https://docs.github.com/rest/repos/attestations, https://docs.github.com/rest/orgs/attestations, and
https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api.

Each error is an `UpstreamUnavailableError`, because nothing that GitHub answers can prove that a file is bad. While a
rate limit is in force, no request is sent.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Final, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

from assay import telemetry
from assay.caching.background import gather_or_cancel
from assay.caching.lru import Lru
from assay.errors import UpstreamError, UpstreamTimeoutError, UpstreamUnavailableError
from assay.ports import ApiClient, ApiResponse
from assay.provenance.sources.github.responses import (
    MAX_ATTESTATIONS,
    BulkListing,
    Bundle,
    ListedAttestation,
    parse_bulk_listing,
    parse_bundle,
    parse_listing,
)
from assay.provenance.sources.github.snappy import SnappyError, decode_snappy

API_VERSION: Final = "2022-11-28"
"""Value of ``X-GitHub-Api-Version``."""
_PAGE_SIZE: Final = 100
_MAX_PAGES: Final = 20
_MAX_LISTING_BYTES: Final = 16 * 2**20
"""Limit on one page of a listing. A bundle has about 10 kB."""
MAX_BUNDLE_BYTES: Final = 2**20
"""Limit on one bundle, compressed and decoded."""
_MAX_DIGEST_BYTES: Final = 8 * 2**20
"""Limit on all bundles about one digest that have separate URLs, decoded."""
_MAX_ANSWER_BYTES: Final = 64 * 2**20
"""Limit on everything that is fetched for one call: pages of a listing, and bundles."""
_OFFLOAD_MIN_BYTES: Final = 64 * 1024
"""Size of a body from which it is parsed or decoded in a thread."""
_MAX_SECONDS: Final = 30.0
_MAX_TRIES: Final = 2
_MAX_HOLD: Final = timedelta(hours=1)
"""Longest time without requests because of a rate limit. GitHub resets its limits each hour."""
_SECONDARY_HOLD: Final = timedelta(minutes=1)
"""Time without requests after a response that states a rate limit but no time (GitHub: "at least one minute")."""
_MAX_OWNERS: Final = 10_000
_T = TypeVar("_T")
_LINK: Final = re.compile(r'<([^<>]*)>\s*;[^,<]*\brel="?next"?')


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubTiming:
    """Delays of the client and of the source. Tests shorten them."""

    retry_pause_seconds: float = 0.5
    """Pause before a request is repeated after a fault of the connection or a 5xx."""
    gather_seconds: float = 0.005
    """Time for which the questions about one owner are gathered before they are sent."""


class _Volume:
    """Counter of the bytes that were fetched for a call, and for the larger call that it is part of, if any."""

    def __init__(self, limit: int, outer: _Volume | None = None) -> None:
        self.limit = limit
        self._used = 0
        self._outer = outer

    def add(self, size: int) -> bool:
        """Count bytes; return whether the limits still hold."""
        self._used += size
        return self._used <= self.limit and (self._outer is None or self._outer.add(size))


class GitHubApi:
    """Client of the API of one GitHub server.

    Args:
        name: name of the evidence source, for messages.
        url: URL of the API, with a slash at the end.
        client: sends the requests.
        clock: returns the current time in UTC.
        timing: delays.
        max_requests: maximum number of concurrent requests. GitHub asks for few of them.
    """

    def __init__(
        self,
        *,
        name: str,
        url: str,
        client: ApiClient,
        clock: Callable[[], datetime],
        timing: GitHubTiming | None = None,
        max_requests: int = 8,
    ) -> None:
        self._name = name
        self._url = url
        self._client = client
        self._clock = clock
        self._timing = timing or GitHubTiming()
        self._slots = asyncio.Semaphore(max_requests)
        self._held_until: datetime | None = None
        self._user_owners = Lru[str, str](max_items=_MAX_OWNERS)

    async def list_bundles(self, repository: str, digest: str, check: Callable[[], None]) -> list[Bundle]:
        """Return the bundles in a repository's store about one digest; empty if it has none.

        Args:
            repository: ``owner/name``.
            digest: ``sha256:…``.
            check: called right before each request; it raises an exception to prevent the request.

        Raises:
            UpstreamUnavailableError: GitHub does not answer, or its answer cannot be used.
        """
        listed: list[ListedAttestation] = []
        volume = _Volume(_MAX_ANSWER_BYTES)
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            after = "" if cursor is None else f"&after={quote(cursor, safe='')}"
            url = f"{self._url}repos/{repository}/attestations/{digest}?per_page={_PAGE_SIZE}{after}"
            response = await self._call(url, check)
            if response is None:
                return []
            self._count(response, volume)
            listed += await self._parse(parse_listing, response.body)
            cursor = _find_next_cursor(response)
            if cursor is None:
                return await self._load_bundles(listed, check, volume)
            if len(listed) > MAX_ATTESTATIONS:
                break
        raise self._fail(f"{repository} has more than {MAX_ATTESTATIONS} attestations about {digest}")

    async def list_bundles_in_bulk(
        self, owner: str, digests: Sequence[str], check: Callable[[], None]
    ) -> dict[str, list[Bundle] | UpstreamUnavailableError]:
        """Return the bundles about several digests in the stores of all repositories of an owner, by digest.

        If the bundles about one digest cannot be used, that digest alone has an error.

        Raises:
            UpstreamUnavailableError: GitHub does not answer, or its answer cannot be used.
        """
        listed: dict[str, list[ListedAttestation]] = {}
        failed: dict[str, UpstreamUnavailableError] = {}
        volume = _Volume(_MAX_ANSWER_BYTES)
        body = json.dumps({"subject_digests": list(digests)}).encode()
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            after = "" if cursor is None else f"&after={quote(cursor, safe='')}"
            path = f"attestations/bulk-list?per_page={_PAGE_SIZE}{after}"
            page = await self._call_owner(owner, path, body, check, volume)
            for digest in digests:
                entries = listed.setdefault(digest, [])
                entries += page.by_digest.get(digest, ())
                if (problem := page.unusable.get(digest)) is not None:
                    failed[digest] = self._fail(str(problem))
                elif len(entries) > MAX_ATTESTATIONS:
                    failed[digest] = self._fail(f"{owner} has more than {MAX_ATTESTATIONS} attestations about {digest}")
                    entries.clear()
            cursor = page.next_cursor
            if cursor is None:
                usable = [digest for digest, entries in listed.items() if entries and digest not in failed]
                loaded = await gather_or_cancel(self._load_or_fail(listed[digest], check, volume) for digest in usable)
                return {**dict(zip(usable, loaded, strict=True)), **failed}
        raise self._fail(f"the listing of {owner} has more than {_MAX_PAGES} pages")

    async def _load_or_fail(
        self, listed: Sequence[ListedAttestation], check: Callable[[], None], volume: _Volume
    ) -> list[Bundle] | UpstreamUnavailableError:
        try:
            return await self._load_bundles(listed, check, volume)
        except UpstreamUnavailableError as error:
            return error

    async def _call_owner(
        self, owner: str, path: str, body: bytes, check: Callable[[], None], volume: _Volume
    ) -> BulkListing:
        """Return a page of a listing of an owner, which is an organization or a user."""
        kinds = ("users", "orgs") if self._user_owners.get(owner) else ("orgs", "users")
        for kind in kinds:
            response = await self._call(f"{self._url}{kind}/{owner}/{path}", check, body)
            if response is not None:
                if kind == "users":
                    self._user_owners.put(owner, kind)
                self._count(response, volume)
                return await self._parse(parse_bulk_listing, response.body)
        return BulkListing(by_digest={}, unusable={}, next_cursor=None)

    def _count(self, response: ApiResponse, volume: _Volume) -> None:
        if not volume.add(len(response.body)):
            raise self._fail(f"the listing has more than {volume.limit} bytes")

    async def _load_bundles(
        self, listed: Sequence[ListedAttestation], check: Callable[[], None], volume: _Volume
    ) -> list[Bundle]:
        own = _Volume(_MAX_DIGEST_BYTES, volume)
        return await gather_or_cancel(self._load_bundle(each, check, own) for each in listed)

    async def _load_bundle(self, listed: ListedAttestation, check: Callable[[], None], volume: _Volume) -> Bundle:
        if listed.bundle is not None:
            return listed.bundle
        response = await self._send(listed.url or "", {}, None, check, max_bytes=MAX_BUNDLE_BYTES)
        if response.status != HTTPStatus.OK:
            raise self._fail(f"the URL of a bundle answered {response.status}")
        body = response.body
        if not body.startswith(b"{"):
            try:
                body = await _offload_decoding(body)
            except SnappyError as error:
                raise self._fail(f"a bundle {error}") from error
        if not volume.add(len(body)):
            raise self._fail(f"the bundles have more than {volume.limit} bytes")
        return await self._parse(parse_bundle, body)

    async def _call(self, url: str, check: Callable[[], None], body: bytes | None = None) -> ApiResponse | None:
        """Send a request to the API; return the response with status 200, or None for 404.

        Raises:
            UpstreamUnavailableError: there was no such response, or a rate limit is in force.
        """
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": API_VERSION}
        if body is not None:
            headers["Content-Type"] = "application/json"
        response = await self._send(url, headers, body, check, max_bytes=_MAX_LISTING_BYTES)
        match response.status:
            case HTTPStatus.OK:
                return response
            case HTTPStatus.NOT_FOUND:
                return None
            case HTTPStatus.UNAUTHORIZED:
                raise self._fail("GitHub answered 401: the token is not valid")
            case HTTPStatus.FORBIDDEN | HTTPStatus.TOO_MANY_REQUESTS:
                raise self._obey_rate_limit(response)
            case status:
                raise self._fail(f"GitHub answered {status}")

    async def _send(
        self, url: str, headers: Mapping[str, str], body: bytes | None, check: Callable[[], None], *, max_bytes: int
    ) -> ApiResponse:
        """Send a request; repeat it once after a fault of the connection or a 5xx."""
        for attempt in range(1, _MAX_TRIES + 1):
            async with self._slots:
                self._check_hold()
                check()
                try:
                    response = await self._client.request(
                        url, headers=headers, body=body, max_bytes=max_bytes, max_seconds=_MAX_SECONDS
                    )
                except UpstreamUnavailableError as error:
                    if attempt == _MAX_TRIES or isinstance(error, UpstreamTimeoutError):
                        raise self._fail(str(error)) from error
                except UpstreamError as error:
                    raise self._fail(f"{error}") from error
                else:
                    if response.status < HTTPStatus.INTERNAL_SERVER_ERROR or attempt == _MAX_TRIES:
                        return response
            await asyncio.sleep(self._timing.retry_pause_seconds)
        raise AssertionError("the last attempt returns or raises")

    def _check_hold(self) -> None:
        if self._held_until is not None and (now := self._clock()) < self._held_until:
            raise self._fail(
                f"GitHub's rate limit is used up until {self._held_until:%H:%M:%S} UTC",
                retry_after=(self._held_until - now).total_seconds(),
            )

    def _obey_rate_limit(self, response: ApiResponse) -> UpstreamUnavailableError:
        """Return the error for a 403 or 429. If the response states a rate limit, send nothing until its end.

        The limit ends after ``retry-after``, or else at ``x-ratelimit-reset`` if no requests remain. A 403 without any
        of them is a refusal.
        """
        now = self._clock()
        after = _parse_number(response.headers.get("retry-after"))
        reset = _parse_number(response.headers.get("x-ratelimit-reset"))
        if after is not None:
            hold = timedelta(seconds=after)
        elif response.headers.get("x-ratelimit-remaining") == "0" and reset is not None:
            hold = datetime.fromtimestamp(reset, UTC) - now
        elif response.status == HTTPStatus.TOO_MANY_REQUESTS:
            hold = _SECONDARY_HOLD
        else:
            return self._fail("GitHub answered 403: it denies access, and the token may lack a permission")
        hold = max(timedelta(seconds=1), min(hold, _MAX_HOLD))
        self._held_until = max(now + hold, self._held_until or now)
        telemetry.warning("evidence-rate-limited", source=self._name, until=self._held_until.isoformat())
        return self._fail(
            f"GitHub answered {response.status}: the rate limit is used up until {self._held_until:%H:%M:%S} UTC",
            retry_after=hold.total_seconds(),
        )

    async def _parse(self, parse: Callable[[bytes], _T], body: bytes) -> _T:
        """Return the parsed body; parse a large one in a thread.

        Raises:
            UpstreamUnavailableError: the body is malformed.
        """
        try:
            return parse(body) if len(body) < _OFFLOAD_MIN_BYTES else await asyncio.to_thread(parse, body)
        except UpstreamError as error:
            raise self._fail(str(error)) from error

    def _fail(self, problem: str, *, retry_after: float | None = None) -> UpstreamUnavailableError:
        return UpstreamUnavailableError(f"{self._name}: {problem}", retry_after=retry_after)


async def _offload_decoding(block: bytes) -> bytes:
    """Return a decoded block; decode a large one in a thread.

    Raises:
        SnappyError: the block is malformed or too large.
    """
    if len(block) < _OFFLOAD_MIN_BYTES:
        return decode_snappy(block, MAX_BUNDLE_BYTES)
    return await asyncio.to_thread(decode_snappy, block, MAX_BUNDLE_BYTES)


def _find_next_cursor(response: ApiResponse) -> str | None:
    """Return the cursor of the next page from the ``Link`` header (RFC 8288); None on the last page.

    Only the cursor is used and not the URL, so that a response cannot choose what is requested.
    """
    match = _LINK.search(response.headers.get("link", "")[:8192])
    if match is None:
        return None
    try:
        found = parse_qs(urlsplit(match[1]).query, max_num_fields=20).get("after", [])
    except ValueError:
        return None
    return found[0] if found else None


def _parse_number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 11 else None  # noqa: PLR2004 - 3,000 years
