"""Test index: PyPI's Simple API, files, ``.metadata`` and Integrity API on loopback, in process, correct or faulty.

::

    async with Index() as index:                       # JSON and HTML by Accept; the arguments change this
        listed = index.add(wheel("foo", "1.0"), provenance=b"{…}", upload_time="2024-01-01T00:00:00Z")
        index.url                                      # "http://127.0.0.1:PORT/simple/"
        listed.path, listed.url                        # of the file: "/packages/ab/cd/…/foo-1.0-py3-none-any.whl"
        listed.metadata_path, listed.provenance_path
        index.page_path("Foo")                         # "/simple/foo/"
        index.count(listed.path)                       # number of requests for it; `method=` selects a method
        index.requests                                 # each `Request`: method, path, query, headers, port

        index.inject_fault(listed.path, Reset(after=1000), times=1)     # for one request; times=None: for all
        index.inject_fault("*", Reply(429, headers={"Retry-After": "1"}), when=lambda request: …)
        stall = index.stall(listed.path, after=1000)   # then await stall.reached.wait(); stall.release.set()
        await index.wait_for_requests(listed.path, 2)  # until two requests for it have come
        index.clear_faults()                           # no more faults
        await index.down(); await index.up()           # connections are refused; then the same port again
        index.latency = 0.03                           # seconds before every response
        index.max_concurrent_requests                  # highest number of simultaneous requests
        index.connections                              # number of connections opened so far

        index.yank(listed, "broken"); index.remove(listed); index.replace(listed, wheel(…))   # each raises the serial
        index.set_status("foo", "archived", "moved"); index.serve_fixed("/any/path", CannedResponse(body=b"…"))

Faults are classes of `faulty_server`: Refuse Hang Drip Reset Truncate WrongLength Chunked UntilClose Stall Corrupt
Oversize Reply Redirect ChangeHeaders Gzip NoRange. ``entry={…}`` changes, adds or (with `ABSENT`) removes keys of a
file's entry on the page: ``index.add(built, entry={"size": 7, "hashes": {}, "upload-time": ABSENT, "x-new": 1})``.

The index is deterministic. Serials count changes, upload times default to one minute apart from 2024-01-01, and nothing
is random. The event loop of the test serves pip and uv in subprocesses. `threaded_index` serves them in synchronous
tests and outside tests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote, unquote

from packaging.utils import canonicalize_name

from tests.world.index.distributions import BuiltDistribution
from tests.world.index.faulty_server import CannedResponse, Fault, FaultyServer, Request, Stall
from tests.world.index.listing import (
    ABSENT,
    SIMPLE_HTML,
    SIMPLE_JSON,
    ListedFile,
    ProjectListing,
    escape_html,
    render_html_page,
    render_json_page,
    respond_with_file,
    respond_with_page,
)

__all__ = ["ABSENT", "SIMPLE_HTML", "SIMPLE_JSON", "Index", "ListedFile"]

_FIRST_UPLOAD = datetime(2024, 1, 1, tzinfo=UTC)


class Index:
    """Test index, described in the docstring of the module."""

    def __init__(
        self,
        *,
        content: Literal["both", "json", "html"] = "both",
        separate_files: bool = False,
        relative_urls: bool = False,
        api_version: str = "1.4",
        text_serials: bool = False,
    ) -> None:
        """Create an index that does not listen yet.

        Args:
            content: which representations it has; one that it lacks is answered with the other, as mirrors do.
            separate_files: files on a second port, as PyPI has them on a second host.
            relative_urls: file URLs relative to the page.
            api_version: what the pages say.
            text_serials: ``_last-serial`` as a string of digits, as a mirror sends it.
        """
        self._content = content
        self._relative = relative_urls
        self._api_version = api_version
        self._text_serials = text_serials
        self._shelves: dict[str, ProjectListing] = {}
        self._paths: dict[str, CannedResponse] = {}
        self._serial = 1000
        self._main = FaultyServer(self._respond)
        self._files = FaultyServer(self._respond) if separate_files else self._main

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()

    async def up(self) -> None:
        """Listen on any free port, and after `down` on the same port as before."""
        for server in {self._main, self._files}:
            await server.up()

    async def down(self) -> None:
        """Refuse new connections and reset open ones."""
        for server in {self._main, self._files}:
            await server.down()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._main.port}"

    @property
    def files_origin(self) -> str:
        return f"http://127.0.0.1:{self._files.port}"

    @property
    def files_host(self) -> str:
        """Value for an index's ``file-hosts``: ``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self._files.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/simple/"

    def page_path(self, project: str) -> str:
        return f"/simple/{canonicalize_name(project)}/"

    # Listed projects and files

    def add(
        self,
        built: BuiltDistribution,
        *,
        upload_time: datetime | str | None = "default",
        provenance: bytes | None = None,
        yanked: bool | str = False,
        metadata: bool = True,
        entry: Mapping[str, object] | None = None,
        directory: str | None = None,
    ) -> ListedFile:
        """List a distribution on the page of its project, after the existing files."""
        count = sum(len(shelf.listed) for shelf in self._shelves.values())
        digest = built.sha256
        listed = ListedFile(
            built=built,
            origin=self.origin,
            files_origin=self.files_origin,
            upload_time=_FIRST_UPLOAD + timedelta(minutes=count) if upload_time == "default" else upload_time,
            provenance=provenance,
            yanked=yanked,
            metadata=metadata,
            entry=dict(entry or {}),
            directory=f"{digest[:2]}/{digest[2:4]}/{digest[4:]}" if directory is None else directory,
        )
        self._shelf(built.project).listed.append(listed)
        self.bump_serial(built.project)
        return listed

    def add_project(self, name: str) -> None:
        """Add a project without files."""
        self._shelf(name)

    def remove(self, listed: ListedFile) -> None:
        """Take a file off its page and off the file host."""
        self._shelf(listed.built.project).listed.remove(listed)
        self.bump_serial(listed.built.project)

    def remove_project(self, project: str) -> None:
        """Remove a project, so that its page is 404."""
        del self._shelves[canonicalize_name(project)]
        self._serial += 1

    def replace(self, listed: ListedFile, built: BuiltDistribution) -> None:
        """Replace the content of a file under the same URL."""
        listed.built = built
        self.bump_serial(built.project)

    def yank(self, listed: ListedFile, reason: bool | str = True) -> None:
        """Yank a file, with or without a reason; ``False`` reverts the yank."""
        listed.yanked = reason
        self.bump_serial(listed.built.project)

    def set_status(self, project: str, status: str, reason: str | None = None) -> None:
        """Set the status of a project (PEP 792)."""
        self._shelf(project).status = {"status": status} if reason is None else {"status": status, "reason": reason}
        self.bump_serial(project)

    def set_page_keys(self, project: str, **keys: Any) -> None:
        """Set further keys of the project's JSON page, such as ``namespaces`` (PEP 752)."""
        self._shelf(project).more = keys
        self.bump_serial(project)

    def bump_serial(self, project: str) -> None:
        """Raise the project's serial."""
        self._serial += 1
        self._shelf(project).serial = self._serial

    def set_serial(self, project: str, serial: int) -> None:
        """Set the serial of a project to any value, also a lower one."""
        self._shelf(project).serial = serial

    def serve_fixed(self, path: str, answer: CannedResponse) -> None:
        """Serve a fixed response for a path, on both ports."""
        self._paths[path] = answer

    # Faults

    def inject_fault(
        self,
        path: str,
        fault: Fault,
        *,
        times: int | None = None,
        when: Callable[[Request], bool] | None = None,
    ) -> None:
        """Apply `fault` to the next `times` requests for `path` (``"*"``: any); the first fault that applies wins."""
        for server in {self._main, self._files}:
            server.inject_fault(path, fault, times, when)

    def stall(self, path: str, after: int | None = None, *, times: int | None = 1) -> Stall:
        """Stop the next response for `path` after some bytes (None: before its head) until the test releases it."""
        stall = Stall(after)
        self.inject_fault(path, stall, times=times)
        return stall

    def clear_faults(self, path: str | None = None) -> None:
        """Remove the faults of `path`, or all faults."""
        for server in {self._main, self._files}:
            server.clear_faults(path)

    @property
    def latency(self) -> float:
        return self._main.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._main.latency = self._files.latency = seconds

    # Received requests

    @property
    def requests(self) -> list[Request]:
        """All requests on both ports; the requests of each port are in order."""
        if self._main is self._files:
            return self._main.requests
        return [*self._main.requests, *self._files.requests]

    @property
    def max_concurrent_requests(self) -> int:
        return max(self._main.peak, self._files.peak)

    @property
    def connections(self) -> int:
        """Number of connections opened so far."""
        return sum(server.connections for server in {self._main, self._files})

    def count(self, path: str, method: str | None = None) -> int:
        """Return the number of requests for `path`, which is not decoded."""
        return sum(request.path == path and method in {None, request.method} for request in self.requests)

    def reset_log(self) -> None:
        """Clear the list of requests."""
        self._main.requests.clear()
        self._files.requests.clear()

    async def wait_for_requests(self, path: str, count: int = 1) -> None:
        """Wait until `count` requests for `path` have been received in total."""
        server = self._files if path.startswith("/packages/") else self._main
        await server.wait_until(lambda: self.count(path) >= count)

    async def wait_until_idle(self) -> None:
        """Wait until no request is in progress."""
        for server in {self._main, self._files}:
            await server.wait_until(lambda server=server: server.active == 0)  # type: ignore[misc]  # mypy cannot infer a lambda's default

    # Correct responses

    def _shelf(self, project: str) -> ProjectListing:
        name = canonicalize_name(project)
        if name not in self._shelves:
            self._serial += 1
            self._shelves[name] = ProjectListing(display=project, serial=self._serial)
        return self._shelves[name]

    def _respond(self, request: Request) -> CannedResponse:
        if request.path in self._paths:
            return self._paths[request.path]
        if request.method not in {"GET", "HEAD"}:
            return CannedResponse(status=405, headers={"Allow": "GET, HEAD"})
        if request.path == "/simple/":
            return self._root(self._representation(request))
        if request.path.startswith("/simple/"):
            return self._page(request)
        for shelf in self._shelves.values():
            for listed in shelf.listed:
                if (answer := respond_with_file(request.path, listed)) is not None:
                    return answer
        return CannedResponse(status=404, body=b"404 Not Found", headers={"Content-Type": "text/plain"})

    def _representation(self, request: Request) -> str:
        accept = request.headers.get("accept", "")
        if self._content == "json" or (self._content == "both" and SIMPLE_JSON in accept):
            return SIMPLE_JSON
        return SIMPLE_HTML if SIMPLE_HTML in accept else "text/html"

    def _page(self, request: Request) -> CannedResponse:
        asked = unquote(request.path.removeprefix("/simple/").rstrip("/"))
        name = canonicalize_name(asked)
        if asked != name or not request.path.endswith("/"):
            return CannedResponse(status=301, headers={"Location": f"/simple/{quote(name)}/"})
        if name not in self._shelves:
            return CannedResponse(status=404, body=b"404 Not Found", headers={"Content-Type": "text/plain"})
        shelf = self._shelves[name]
        kind = self._representation(request)
        version, relative = self._api_version, self._relative
        if kind == SIMPLE_JSON:
            text = self._text_serials
            body = render_json_page(name, shelf, api_version=version, text_serials=text, relative=relative)
        else:
            body = render_html_page(name, shelf, api_version=version, relative=relative)
        return respond_with_page(body, kind, shelf.serial)

    def _root(self, kind: str) -> CannedResponse:
        if kind == SIMPLE_JSON:
            projects = [{"name": shelf.display, "_last-serial": shelf.serial} for shelf in self._shelves.values()]
            meta = {"api-version": self._api_version, "_last-serial": self._serial}
            body = json.dumps({"meta": meta, "projects": projects}).encode()
        else:
            links = (
                f'<a href="{name}/">{escape_html(shelf.display)}</a><br/>' for name, shelf in self._shelves.items()
            )
            body = "\n".join(["<!DOCTYPE html><html><body>", *links, "</body></html>"]).encode()
        return respond_with_page(body, kind, self._serial)
