"""An index in process: PyPI's Simple API, files, ``.metadata`` and Integrity API on loopback, right or wrong at will.

::

    async with Index() as index:                       # JSON and HTML by Accept; see the arguments
        listed = index.add(wheel("foo", "1.0"), provenance=b"{…}", upload_time="2024-01-01T00:00:00Z")
        index.url                                      # "http://127.0.0.1:PORT/simple/"
        listed.path, listed.url                        # of the file: "/packages/ab/cd/…/foo-1.0-py3-none-any.whl"
        listed.metadata_path, listed.provenance_path
        index.page_path("Foo")                         # "/simple/foo/"
        index.count(listed.path)                       # how many requests came for it (`method=` narrows)
        index.requests                                 # each `Request`: method, path, query, headers, port

        index.fault(listed.path, Reset(after=1000), times=1)     # once, then good again; times=None: always
        index.fault("*", Reply(429, headers={"Retry-After": "1"}), when=lambda request: …)
        stall = index.stall(listed.path, after=1000)   # no sleeping: await stall.reached.wait(); stall.release.set()
        await index.requested(listed.path, 2)          # until two requests for it have come
        index.heal()                                   # no more faults
        await index.down(); await index.up()           # connections refused; then the same port again
        index.latency = 0.03                           # seconds before every answer
        index.peak                                     # the most requests in work at one time

        index.yank(listed, "broken"); index.remove(listed); index.replace(listed, wheel(…))   # each raises the serial
        index.set_status("foo", "archived", "moved"); index.serve("/any/path", Answer(body=b"…"))

Faults are in `tests.world.wire`: Refuse Hang Drip Reset Truncate Length Chunked UntilClose Stall Corrupt Oversize
Reply Redirect Headers Gzip NoRange. An entry's keys are changed, added or (with `ABSENT`) left out by ``entry={…}``:
``index.add(built, entry={"size": 7, "hashes": {}, "upload-time": ABSENT, "x-new": 1})``.

Deterministic: serials count changes, upload times default to a minute apart from 2024-01-01, nothing is random.
pip and uv as subprocesses are served by the test's own loop; `in_thread(Index())` serves them in synchronous tests, and
``python -m tests.world.index DIRECTORY`` serves a directory's distributions until it is interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import html
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import quote, unquote

from packaging.utils import canonicalize_name

from tests.world.distributions import Built, raw
from tests.world.wire import Answer, Fault, Request, Server, Stall

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
ABSENT: Final = object()
"""As an entry's value: leave the key out."""
_STATUS = {"status": "pypi:project-status", "reason": "pypi:project-status-reason"}
_FIRST_UPLOAD = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(kw_only=True, eq=False)
class Listed:
    """One file of the index. Change its fields freely; what is served follows."""

    built: Built
    origin: str
    files_origin: str
    upload_time: datetime | str | None
    provenance: bytes | None
    """The provenance document's bytes; None: 404, and the page says null unless `entry` promises one."""
    yanked: bool | str
    metadata: bool
    """Whether METADATA is offered (wheels only)."""
    entry: dict[str, object] = field(default_factory=dict)
    """Keys of the page's entry that are not what they should be."""
    directory: str = ""

    @property
    def path(self) -> str:
        return f"/packages/{self.directory}/{quote(self.built.filename)}"

    @property
    def url(self) -> str:
        return f"{self.files_origin}{self.path}"

    @property
    def metadata_path(self) -> str:
        return f"{self.path}.metadata"

    @property
    def provenance_path(self) -> str:
        parts = (canonicalize_name(self.built.project), self.built.version, self.built.filename)
        return f"/integrity/{'/'.join(quote(part, safe='') for part in parts)}/provenance"

    @property
    def provenance_url(self) -> str:
        return f"{self.origin}{self.provenance_path}"

    def as_entry(self, *, relative: bool) -> dict[str, object]:
        """The entry of this file in the JSON page."""
        offered = self.metadata and self.built.metadata is not None
        digest: object = {"sha256": self.built.metadata_sha256} if offered else False
        full: dict[str, object] = {
            "filename": self.built.filename,
            "url": f"../..{self.path}" if relative else self.url,
            "hashes": {"sha256": self.built.sha256},
            "requires-python": self.built.requires_python,
            "size": self.built.size,
            "upload-time": _instant(self.upload_time),
            "yanked": self.yanked,
            "core-metadata": digest,
            "data-dist-info-metadata": digest,
            "provenance": None if self.provenance is None else self.provenance_url,
            **self.entry,
        }
        return {key: value for key, value in full.items() if value is not ABSENT}


@dataclass(kw_only=True)
class _Shelf:
    """One project."""

    display: str
    serial: int
    listed: list[Listed] = field(default_factory=list)
    status: dict[str, str] = field(default_factory=lambda: {"status": "active"})


class Index:
    """See the module's docstring."""

    def __init__(
        self,
        *,
        content: Literal["both", "json", "html"] = "both",
        separate_files: bool = False,
        relative_urls: bool = False,
        api_version: str = "1.4",
        text_serials: bool = False,
    ) -> None:
        """Make an index that does not listen yet.

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
        self._shelves: dict[str, _Shelf] = {}
        self._paths: dict[str, Answer] = {}
        self._serial = 1000
        self._main = Server(self._respond)
        self._files = Server(self._respond) if separate_files else self._main

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()

    async def up(self) -> None:
        """Listen; the first time on any free port, then on the same."""
        for server in {self._main, self._files}:
            await server.up()

    async def down(self) -> None:
        """Refuse connections, and break those that are open."""
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
        """For an index's ``file-hosts``: ``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self._files.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/simple/"

    def page_path(self, project: str) -> str:
        return f"/simple/{canonicalize_name(project)}/"

    # What it lists

    def add(
        self,
        built: Built,
        *,
        upload_time: datetime | str | None = "default",
        provenance: bytes | None = None,
        yanked: bool | str = False,
        metadata: bool = True,
        entry: Mapping[str, object] | None = None,
        directory: str | None = None,
    ) -> Listed:
        """List a distribution on the page of its project, after those already there."""
        count = sum(len(shelf.listed) for shelf in self._shelves.values())
        digest = built.sha256
        listed = Listed(
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
        self.touch(built.project)
        return listed

    def project(self, name: str) -> None:
        """A project, though it may have no files."""
        self._shelf(name)

    def remove(self, listed: Listed) -> None:
        """Take a file off its page and off the file host."""
        self._shelf(listed.built.project).listed.remove(listed)
        self.touch(listed.built.project)

    def forget(self, project: str) -> None:
        """Remove a project: its page is 404."""
        del self._shelves[canonicalize_name(project)]
        self._serial += 1

    def replace(self, listed: Listed, built: Built) -> None:
        """Other content under the same address."""
        listed.built = built
        self.touch(built.project)

    def yank(self, listed: Listed, reason: bool | str = True) -> None:  # noqa: FBT001, FBT002 - PEP 691's own type
        """Yank a file, with a reason or without; ``False`` takes it back."""
        listed.yanked = reason
        self.touch(listed.built.project)

    def set_status(self, project: str, status: str, reason: str | None = None) -> None:
        """PEP 792."""
        self._shelf(project).status = {"status": status} if reason is None else {"status": status, "reason": reason}
        self.touch(project)

    def touch(self, project: str) -> None:
        """Raise the project's serial."""
        self._serial += 1
        self._shelf(project).serial = self._serial

    def set_serial(self, project: str, serial: int) -> None:
        """Any serial, a lower one too."""
        self._shelf(project).serial = serial

    def serve(self, path: str, answer: Answer) -> None:
        """Exactly this answer for that path, on both ports."""
        self._paths[path] = answer

    # What goes wrong

    def fault(
        self,
        path: str,
        fault: Fault,
        *,
        times: int | None = None,
        when: Callable[[Request], bool] | None = None,
    ) -> None:
        """Play `fault` for requests of `path` (``"*"``: all), `times` times; the first one that applies is played."""
        for server in {self._main, self._files}:
            server.arm(path, fault, times, when)

    def stall(self, path: str, after: int | None = None, *, times: int | None = 1) -> Stall:
        """Hold the next answer for `path` after so many bytes (None: before its head) until it is released."""
        stall = Stall(after)
        self.fault(path, stall, times=times)
        return stall

    def heal(self, path: str | None = None) -> None:
        """Forget the faults of `path`, or all."""
        for server in {self._main, self._files}:
            server.heal(path)

    @property
    def latency(self) -> float:
        return self._main.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._main.latency = self._files.latency = seconds

    # What was asked

    @property
    def requests(self) -> list[Request]:
        """All requests of both ports; those of one port in their order."""
        if self._main is self._files:
            return self._main.requests
        return [*self._main.requests, *self._files.requests]

    @property
    def peak(self) -> int:
        return max(self._main.peak, self._files.peak)

    def count(self, path: str, method: str | None = None) -> int:
        """How many requests came for `path`, not decoded."""
        return sum(request.path == path and method in {None, request.method} for request in self.requests)

    def reset_log(self) -> None:
        """Forget the requests so far."""
        self._main.requests.clear()
        self._files.requests.clear()

    async def requested(self, path: str, count: int = 1) -> None:
        """Until `count` requests for `path` have come in all."""
        server = self._files if path.startswith("/packages/") else self._main
        await server.until(lambda: self.count(path) >= count)

    async def idle(self) -> None:
        """Until no request is in work."""
        for server in {self._main, self._files}:
            await server.until(lambda server=server: server.active == 0)  # type: ignore[misc]  # mypy cannot infer a lambda's default

    # The right answers

    def _shelf(self, project: str) -> _Shelf:
        name = canonicalize_name(project)
        if name not in self._shelves:
            self._serial += 1
            self._shelves[name] = _Shelf(display=project, serial=self._serial)
        return self._shelves[name]

    def _respond(self, request: Request) -> Answer:
        if request.path in self._paths:
            return self._paths[request.path]
        if request.method not in {"GET", "HEAD"}:
            return Answer(status=405, headers={"Allow": "GET, HEAD"})
        if request.path == "/simple/":
            return self._root(self._representation(request))
        if request.path.startswith("/simple/"):
            return self._page(request)
        for shelf in self._shelves.values():
            for listed in shelf.listed:
                if (answer := _file_answer(request.path, listed)) is not None:
                    return answer
        return Answer(status=404, body=b"404 Not Found", headers={"Content-Type": "text/plain"})

    def _representation(self, request: Request) -> str:
        accept = request.headers.get("accept", "")
        if self._content == "json" or (self._content == "both" and JSON in accept):
            return JSON
        return HTML if HTML in accept else "text/html"

    def _page(self, request: Request) -> Answer:
        asked = unquote(request.path.removeprefix("/simple/").rstrip("/"))
        name = canonicalize_name(asked)
        if asked != name or not request.path.endswith("/"):
            return Answer(status=301, headers={"Location": f"/simple/{quote(name)}/"})
        if name not in self._shelves:
            return Answer(status=404, body=b"404 Not Found", headers={"Content-Type": "text/plain"})
        shelf = self._shelves[name]
        kind = self._representation(request)
        entries = [listed.as_entry(relative=self._relative) for listed in shelf.listed]
        body = self._json_page(name, shelf, entries) if kind == JSON else self._html_page(name, shelf, entries)
        return _page_answer(body, kind, shelf.serial)

    def _json_page(self, name: str, shelf: _Shelf, entries: list[dict[str, object]]) -> bytes:
        serial = str(shelf.serial) if self._text_serials else shelf.serial
        page = {
            "meta": {"api-version": self._api_version, "_last-serial": serial},
            "name": name,
            "project-status": shelf.status,
            "versions": list(dict.fromkeys(listed.built.version for listed in shelf.listed)),
            "files": entries,
        }
        return json.dumps(page).encode()

    def _html_page(self, name: str, shelf: _Shelf, entries: list[dict[str, object]]) -> bytes:
        lines = [
            "<!DOCTYPE html>",
            "<html><head>",
            f'<meta name="pypi:repository-version" content="{self._api_version}">',
            *(f'<meta name="{_STATUS[key]}" content="{_quoted(value)}">' for key, value in shelf.status.items()),
            f"<title>Links for {name}</title></head><body><h1>Links for {name}</h1>",
            *(_anchor(entry) for entry in entries),
            f"</body></html><!--SERIAL {shelf.serial}-->",
        ]
        return "\n".join(lines).encode()

    def _root(self, kind: str) -> Answer:
        if kind == JSON:
            projects = [{"name": shelf.display, "_last-serial": shelf.serial} for shelf in self._shelves.values()]
            meta = {"api-version": self._api_version, "_last-serial": self._serial}
            body = json.dumps({"meta": meta, "projects": projects}).encode()
        else:
            links = (f'<a href="{name}/">{_quoted(shelf.display)}</a><br/>' for name, shelf in self._shelves.items())
            body = "\n".join(["<!DOCTYPE html><html><body>", *links, "</body></html>"]).encode()
        return _page_answer(body, kind, self._serial)


def _file_answer(path: str, listed: Listed) -> Answer | None:
    built = listed.built
    if path == listed.path:
        return _stored(built.content, "application/octet-stream", ranges=True)
    if path == listed.metadata_path and listed.metadata and built.metadata is not None:
        return _stored(built.metadata, "text/plain; charset=utf-8", ranges=True)
    if path == listed.provenance_path and listed.provenance is not None:
        return _stored(listed.provenance, "application/vnd.pypi.integrity.v1+json", ranges=False)
    return None


def _stored(body: bytes, content_type: str, *, ranges: bool) -> Answer:
    headers = {"Content-Type": content_type, "ETag": _etag(body)}
    if ranges:
        headers |= {"Accept-Ranges": "bytes", "Cache-Control": "max-age=365000000, immutable, public"}
    return Answer(body=body, headers=headers, ranges=ranges)


def _page_answer(body: bytes, kind: str, serial: int) -> Answer:
    headers = {
        "Content-Type": kind if kind == JSON else f"{kind}; charset=UTF-8",
        "ETag": _etag(body),
        "Cache-Control": "max-age=600, public",
        "Vary": "Accept",
        "X-PyPI-Last-Serial": str(serial),
    }
    return Answer(body=body, headers=headers)


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _instant(moment: datetime | str | None) -> object:
    if moment is None:
        return ABSENT
    return moment if isinstance(moment, str) else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _quoted(value: object) -> str:
    return html.escape(str(value))


def _anchor(entry: Mapping[str, Any]) -> str:
    """PyPI's anchor for an entry; `size` and `upload-time` stay behind, as they do there."""
    hashes = entry.get("hashes") or {}
    href = entry["url"] + "".join(f"#{kind}={digest}" for kind, digest in list(hashes.items())[:1])
    attributes = [f'href="{_quoted(href)}"']
    if entry.get("requires-python"):
        attributes.append(f'data-requires-python="{_quoted(entry["requires-python"])}"')
    if entry.get("yanked"):
        reason = "" if entry["yanked"] is True else entry["yanked"]
        attributes.append(f'data-yanked="{_quoted(reason)}"')
    for key in ("data-dist-info-metadata", "core-metadata"):
        if entry.get(key):
            value = "true" if entry[key] is True else f"sha256={entry[key].get('sha256')}"
            attributes.append(f'{key if key.startswith("data-") else f"data-{key}"}="{_quoted(value)}"')
    if entry.get("provenance"):
        attributes.append(f'data-provenance="{_quoted(entry["provenance"])}"')
    return f"<a {' '.join(attributes)}>{_quoted(entry['filename'])}</a><br />"


@contextlib.contextmanager
def in_thread(make: Callable[[], Index] = Index) -> Iterator[Index]:
    """An index on a loop and thread of its own, for synchronous tests.

    `make` is called on that loop. Adding, counting and arming faults may be done from outside; of a `Stall`, only
    ``loop.call_soon_threadsafe(stall.release.set)`` is safe.
    """
    started = threading.Event()
    made: list[Index] = []
    stop: list[Callable[[], object]] = []

    async def live() -> None:
        async with make() as index:
            over = asyncio.Event()
            loop = asyncio.get_running_loop()
            made.append(index)
            stop.append(lambda: loop.call_soon_threadsafe(over.set))
            started.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(live(),), daemon=True)
    thread.start()
    started.wait(timeout=10)
    try:
        yield made[0]
    finally:
        stop[0]()
        thread.join(timeout=10)


async def _main(found: list[Built]) -> None:
    async with Index() as index:
        for built in found:
            index.add(built, metadata=False)
        print(index.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main([raw(path.name, path.read_bytes()) for path in sorted(Path(sys.argv[1]).iterdir())]))
