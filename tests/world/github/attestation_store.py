"""Test server that answers as GitHub's documentation describes its REST API for attestations.

::

    async with AttestationStore() as github:
        github.add("acme/widget", sha256, bundle)      # a bundle in the store of a repository
        github.settings()                              # an `[[evidence]]` table, without a token
        github.requests                                # all requests to the API
        github.downloads                               # all requests for bundles
        github.page_size = 1                           # at most so many attestations on a page
        github.bundles = "url"                         # ``bundle`` is null, and ``bundle_url`` has it, as Snappy block
        github.users.add("octocat")                    # the owner is a user and not an organization
        github.token = "secret"                        # another token is answered with 401
        github.limit_rate(remaining=2, reset=NOW)      # two more requests, then 403 with the headers of a rate limit
        github.api.inject_fault("*", Reply(502), None, None)      # faults of `tests.world.index.faults`

The paths are those of https://docs.github.com/rest/repos/attestations and https://docs.github.com/rest/orgs/attestations.
Bundles are on a second port, as GitHub has them on another host.
"""

from __future__ import annotations

import json
from datetime import datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qs, quote

from tests.world.index.faulty_server import CannedResponse, FaultyServer, Request
from tests.world.index.snappy_block import encode_snappy

JSON_HEADERS = {"Content-Type": "application/json; charset=utf-8"}


class AttestationStore:
    """Test server, described in the docstring of the module."""

    def __init__(self) -> None:
        self.page_size = 100
        self.bundles: Literal["inline", "url"] = "inline"
        self.bulk_form: Literal["object", "list"] = "object"
        """Form of a bulk listing: as in GitHub's schema, or as in the example of its documentation."""
        self.users: set[str] = set()
        self.token: str | None = None
        self.api = FaultyServer(self._respond)
        self.storage = FaultyServer(self._respond_with_bundle)
        self._entries: dict[str, dict[str, list[Any]]] = {}
        self._blobs: dict[str, bytes] = {}
        self._remaining: int | None = None
        self._reset = 0
        self.retry_after: int | None = None
        """Seconds that a response beyond the rate limit states; None: it states only the time of the reset."""

    async def __aenter__(self) -> Self:
        await self.api.up()
        await self.storage.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.api.down()
        await self.storage.down()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api.port}/"

    @property
    def requests(self) -> list[Request]:
        return self.api.requests

    @property
    def downloads(self) -> list[Request]:
        return self.storage.requests

    def settings(self, **keys: Any) -> dict[str, Any]:
        """Return an `[[evidence]]` table for this server."""
        return {
            "name": "github",
            "kind": "github",
            "url": self.url,
            "issuer": "https://token.actions.githubusercontent.com",
            "bundle-hosts": [f"127.0.0.1:{self.storage.port}"],
            **keys,
        }

    def add(self, repository: str, sha256: str, *bundles: Any) -> None:
        """Add bundles about a digest to the store of a repository."""
        self._entries.setdefault(repository.lower(), {}).setdefault(f"sha256:{sha256}", []).extend(bundles)

    def remove(self, repository: str, sha256: str) -> None:
        """Remove all bundles about a digest from the store of a repository."""
        del self._entries[repository.lower()][f"sha256:{sha256}"]

    def limit_rate(self, remaining: int | None, reset: datetime | None = None) -> None:
        """Answer `remaining` more requests before `reset`; None: without limit."""
        self._remaining = remaining
        self._reset = 0 if reset is None else int(reset.timestamp())

    def list_asked_digests(self) -> set[str]:
        """Return all digests that any request to the API contains."""
        found: set[str] = set()
        for each in self.requests:
            if each.body:
                found.update(json.loads(each.body)["subject_digests"])
            else:
                found.add(each.path.rpartition("/")[2])
        return {digest.removeprefix("sha256:") for digest in found}

    def _respond(self, request: Request) -> CannedResponse:
        if self.token is not None and request.headers.get("authorization") != f"Bearer {self.token}":
            return _respond_with_problem(HTTPStatus.UNAUTHORIZED, "Bad credentials")
        if self._remaining is not None:
            if self._remaining == 0:
                return self._refuse_for_rate_limit()
            self._remaining -= 1
        match request.path.strip("/").split("/"):
            case ["repos", owner, name, "attestations", digest] if request.method == "GET":
                return self._list_repository(request, f"{owner}/{name}".lower(), digest)
            case [("orgs" | "users") as kind, owner, "attestations", "bulk-list"] if request.method == "POST":
                if (kind == "users") != (owner.lower() in self.users):
                    return _respond_with_problem(HTTPStatus.NOT_FOUND, "Not Found")
                return self._list_in_bulk(request, owner.lower())
            case _:
                return _respond_with_problem(HTTPStatus.NOT_FOUND, "Not Found")

    def _list_repository(self, request: Request, repository: str, digest: str) -> CannedResponse:
        entries = self._entries.get(repository, {}).get(digest, [])
        if not entries:
            return _respond_with_problem(HTTPStatus.NOT_FOUND, "Not Found")
        page, following = self._select_page(request, entries)
        headers = dict(JSON_HEADERS)
        if following is not None:
            # GitHub names the repository by its id in these links.
            target = f"{self.url}repositories/1/attestations/{digest}?per_page=100&after={quote(following)}"
            headers["Link"] = f'<{target}>; rel="next"'
        body = {"attestations": [self._write_entry(each) for each in page]}
        return CannedResponse(body=json.dumps(body).encode(), headers=headers)

    def _list_in_bulk(self, request: Request, owner: str) -> CannedResponse:
        wanted = json.loads(request.body)["subject_digests"]
        found = [
            (digest, entry)
            for digest in wanted
            for repository, store in self._entries.items()
            if repository.startswith(f"{owner}/")
            for entry in store.get(digest, [])
        ]
        page, following = self._select_page(request, found)
        by_digest: dict[str, list[Any] | None] = dict.fromkeys(wanted)
        for digest, entry in page:
            by_digest[digest] = [*(by_digest[digest] or []), self._write_entry(entry)]
        info = {"has_next": following is not None, "has_previous": False, "next": following or "", "previous": ""}
        listed = by_digest if self.bulk_form == "object" else [{key: value} for key, value in by_digest.items()]
        body = {"attestations_subject_digests": listed, "page_info": info}
        return CannedResponse(body=json.dumps(body).encode(), headers=JSON_HEADERS)

    def _select_page(self, request: Request, entries: list[Any]) -> tuple[list[Any], str | None]:
        query = parse_qs(request.query)
        start = int(query.get("after", ["cursor 0"])[0].removeprefix("cursor "))
        size = min(self.page_size, int(query.get("per_page", ["30"])[0]))
        following = f"cursor {start + size}" if start + size < len(entries) else None
        return entries[start : start + size], following

    def _write_entry(self, bundle: Any) -> dict[str, Any]:
        if self.bundles == "inline":
            return {"bundle": bundle, "repository_id": 1, "bundle_url": "https://unused.example/bundle"}
        path = f"/attestations/1/{len(self._blobs)}.json.sn"
        self._blobs[path] = bundle if isinstance(bundle, bytes) else encode_snappy(json.dumps(bundle).encode())
        url = f"http://127.0.0.1:{self.storage.port}{path}?sig=secret"
        return {"bundle": None, "repository_id": 1, "bundle_url": url}

    def _respond_with_bundle(self, request: Request) -> CannedResponse:
        blob = self._blobs.get(request.path)
        if blob is None:
            return CannedResponse(status=404)
        return CannedResponse(body=blob, headers={"Content-Type": "application/x-snappy"})

    def _refuse_for_rate_limit(self) -> CannedResponse:
        problem = _respond_with_problem(HTTPStatus.FORBIDDEN, "API rate limit exceeded")
        if self.retry_after is not None:
            return problem.with_headers(Retry_After=str(self.retry_after))
        return problem.with_headers(
            x_ratelimit_limit="60", x_ratelimit_remaining="0", x_ratelimit_reset=str(self._reset)
        )


def _respond_with_problem(status: HTTPStatus, message: str) -> CannedResponse:
    body = {"message": message, "documentation_url": "https://docs.github.com/rest", "status": str(status.value)}
    return CannedResponse(status=status, body=json.dumps(body).encode(), headers=JSON_HEADERS)
