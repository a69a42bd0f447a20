"""Error responses, which state the reason to pip, uv and browsers. Pure except for the response object.

This module maps each error to a status code (docs/architecture.md, "Routes and status codes"). It also makes the texts:

- the reason phrase, which pip prints;
- the problem document (RFC 9457), whose title and detail uv prints;
- the HTML page for browsers.

Untrusted text is escaped or removed here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from aiohttp import web

from assay.config import HelpSettings
from assay.errors import (
    AssayError,
    EvidencePendingError,
    EvidenceUnavailableError,
    FileNotListedError,
    NotFoundError,
    NotReadyError,
    ProjectNotFoundError,
    ProvenanceNotFoundError,
    StorageError,
    TooManyRequestsError,
    UploadForbiddenError,
    UploadRefusedError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    VerificationUnavailableError,
)
from assay.gate.gate import WithheldError
from assay.policy.reasons import ReasonJson, reasons_to_json, summarize_withheld
from assay.web.ui.layout import HTML_HEADERS, render_page
from assay.web.ui.markup import element

RETRY_AFTER_SECONDS = "5"
"""Value of ``Retry-After`` in 503 responses, in seconds. pip waits that long without a message, up to five times, so a
longer time would look like a hang."""
_TEMPORARY_STATUSES = frozenset({HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS})
_MAX_PATIENCE_SECONDS = 25.0
"""Time in seconds for which pip follows ``Retry-After``: five times `RETRY_AFTER_SECONDS`."""
_MAX_REASON_PHRASE_BYTES = 200
_KEPT_END_CHARACTERS = 60
"""Number of characters that are kept at the end of a phrase that is too long. Most messages begin with a URL and end
with the problem, so the middle is removed."""
_HELP_WORDS: Final = "; help: "


_PROBLEMS: Final[tuple[tuple[type[AssayError], HTTPStatus, str, str], ...]] = (
    (ProjectNotFoundError, HTTPStatus.NOT_FOUND, "project-not-found", "No such project"),
    (FileNotListedError, HTTPStatus.NOT_FOUND, "file-not-listed", "No page of this proxy lists the file"),
    (ProvenanceNotFoundError, HTTPStatus.NOT_FOUND, "no-provenance", "No provenance is available"),
    (NotFoundError, HTTPStatus.NOT_FOUND, "not-found", "Not found"),
    (TooManyRequestsError, HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests", "Too many requests"),
    (EvidencePendingError, HTTPStatus.SERVICE_UNAVAILABLE, "not-yet", "The file's provenance is being fetched"),
    (NotReadyError, HTTPStatus.SERVICE_UNAVAILABLE, "not-yet", "The page is not ready"),
    (
        EvidenceUnavailableError,
        HTTPStatus.FAILED_DEPENDENCY,
        "evidence-unavailable",
        "The file's provenance is unavailable",
    ),
    (UpstreamUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE, "upstream-unavailable", "The index is unavailable"),
    (UpstreamError, HTTPStatus.BAD_GATEWAY, "upstream-nonsense", "The index sent an unusable response"),
    (
        VerificationUnavailableError,
        HTTPStatus.SERVICE_UNAVAILABLE,
        "verification-unavailable",
        "Attestations cannot be verified now",
    ),
    (UploadForbiddenError, HTTPStatus.FORBIDDEN, "not-your-project", "You may not do this"),
    (UploadRefusedError, HTTPStatus.BAD_REQUEST, "upload-refused", "The upload was refused"),
    (StorageError, HTTPStatus.SERVICE_UNAVAILABLE, "storage", "The storage of the proxy failed"),
)
"""Class of error, status, kind and title of the problem. The first entry whose class matches the error counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Content of an error response (RFC 9457)."""

    status: HTTPStatus
    kind: str
    """Stable name of the kind of problem. It is the last part of the URN in ``type``."""
    title: str
    detail: str
    phrase: str
    """Text of the reason phrase, which pip prints. `build_problem_response` replaces characters that a phrase cannot
    contain."""
    reasons: list[ReasonJson] = field(default_factory=list)
    """Reasons for which the file is withheld. Empty if the problem is not a withheld file."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further header fields of the response."""
    help: str | None = None
    """URL or contact from the table ``[help]`` of the configuration, for a withheld file."""


def build_problem(
    error: AssayError,
    *,
    is_of_one_file: bool = False,
    is_repeated: bool = False,
    help_settings: HelpSettings | None = None,
) -> Problem:
    """Return the problem for an error, with the status from docs/architecture.md, "Routes and status codes".

    Args:
        error: error that the request ended with.
        is_of_one_file: True if the request is for a file, its METADATA or its provenance. If the index failed for such
            a request, and repeating the request does not help, the status is 424 instead of 502 or 503. After 502 or
            503, pip and uv repeat a request for about ten seconds, and pip then does not print the reason.
        is_repeated: True if an earlier request for the same target failed too, so repeating has not helped.
        help_settings: help for users whose file is withheld; None if the configuration has none.
    """
    if isinstance(error, WithheldError):
        return _build_withheld_problem(error, help_settings)
    status, kind, title = _classify_error(error)
    if is_of_one_file and (is_repeated or _is_final(error)):
        status = HTTPStatus.FAILED_DEPENDENCY
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if status in _TEMPORARY_STATUSES else {}
    return Problem(status=status, kind=kind, title=title, detail=str(error), phrase=str(error), headers=headers)


def _build_withheld_problem(error: WithheldError, help_settings: HelpSettings | None) -> Problem:
    withheld = error.withheld
    reasons = reasons_to_json(withheld)
    forms = () if help_settings is None else help_settings.list_forms(withheld.file.filename, reasons[0]["code"])
    detail = " ".join(str(reason["message"]) for reason in reasons)
    return Problem(
        status=HTTPStatus.FORBIDDEN,
        kind="withheld",
        title=f"{error} by policy",
        detail=f"{detail}{_HELP_WORDS}{forms[0]}" if forms else detail,
        phrase=add_help_to_phrase(summarize_withheld(withheld), forms),
        reasons=reasons,
        help=forms[0] if forms else None,
    )


def add_help_to_phrase(reason: str, forms: Sequence[str]) -> str:
    """Return a reason phrase of at most 200 characters that ends with the help.

    The first form that fits beside the whole reason is used. If none fits, the last form is used and the middle of the
    reason is removed.

    Args:
        reason: the reason, at most 200 characters.
        forms: forms of the help, as `HelpSettings.list_forms` returns them; empty for no help.
    """
    if not forms:
        return reason
    room = _MAX_REASON_PHRASE_BYTES - len(_HELP_WORDS)
    form = next((each for each in forms if len(reason) + len(each) <= room), forms[-1])
    return f"{_shorten(reason, room - len(form))}{_HELP_WORDS}{form}"


def _is_final(error: AssayError) -> bool:
    """Return whether the index failed in such a way that an installer's next requests would fail too.

    This is the case after a timeout, after a failure that is not temporary, and if ``Retry-After`` is longer than
    `_MAX_PATIENCE_SECONDS`.
    """
    if isinstance(error, UpstreamTimeoutError):
        return True
    if isinstance(error, UpstreamUnavailableError):
        return error.retry_after is not None and error.retry_after > _MAX_PATIENCE_SECONDS
    return isinstance(error, UpstreamError)


def _classify_error(error: AssayError) -> tuple[HTTPStatus, str, str]:
    for kind_of_error, status, kind, title in _PROBLEMS:
        if isinstance(error, kind_of_error):
            return status, kind, title
    return HTTPStatus.INTERNAL_SERVER_ERROR, "fault", "Internal error of the proxy"


def build_problem_response(
    problem: Problem, accept: str | None, root: str, render: Callable[[str], bytes] | None = None
) -> web.Response:
    """Return the response for a problem: an HTML page for browsers, a problem document for all other clients.

    Args:
        problem: content of the response.
        accept: the ``Accept`` header of the request.
        root: relative URL of the view's home page from the requested URL.
        render: function that returns the HTML page for `root`; None for a page with the title and the detail.
    """
    headers = {"Cache-Control": "no-store", "Vary": "Accept", **problem.headers}
    if _prefers_html(accept):
        headers |= HTML_HEADERS
        body = _render_problem_page(problem, root) if render is None else render(root)
    else:
        headers |= {"Content-Type": "application/problem+json", "X-Content-Type-Options": "nosniff"}
        document: dict[str, object] = {
            "type": f"urn:assay:problem:{problem.kind}",
            "title": problem.title,
            "status": problem.status.value,
            "detail": problem.detail,
        }
        if problem.reasons:
            document["reasons"] = problem.reasons
        if problem.help is not None:
            document["help"] = problem.help
        body = json.dumps(document).encode()
    return web.Response(
        status=problem.status.value, reason=sanitize_reason_phrase(problem.phrase), headers=headers, body=body
    )


def build_unknown_route_response(accept: str | None, root: str, index: str) -> web.Response:
    """Return the 404 response for a path that no route has: an HTML page for browsers, one line for other clients.

    Args:
        accept: the ``Accept`` header of the request.
        root: relative URL of the view's home page from the requested URL.
        index: path of the package index, which the response names.
    """
    headers = {"Cache-Control": "no-store", "Vary": "Accept"}
    if not _prefers_html(accept):
        text = f"Not found. The index is at {index}.\n"
        return web.Response(status=HTTPStatus.NOT_FOUND, text=text, headers=headers)
    body = render_page(
        "Page not found",
        element("h1", "Page not found"),
        element(
            "p",
            "This proxy has no page at this address. Enter the name of a project above, or go to the ",
            element("a", "home page", href=root or "./"),
            ".",
        ),
        element("p", "The package index for pip, uv and other installers is at ", element("code", index), "."),
        root=root,
    )
    return web.Response(status=HTTPStatus.NOT_FOUND, body=body, headers={**headers, **HTML_HEADERS})


def sanitize_reason_phrase(text: str) -> str:
    """Return `text` as a reason phrase of 1 to 200 printable ASCII characters.

    Other characters become ``?``. An empty text becomes ``-``, because pip prints no message if the phrase is empty.
    """
    printable = "".join(character if " " <= character <= "~" else "?" for character in text)
    return _shorten(printable, _MAX_REASON_PHRASE_BYTES) or "-"


def _shorten(text: str, max_chars: int) -> str:
    """Return the text, without its middle if it has more than `max_chars` characters."""
    if len(text) <= max_chars:
        return text
    kept_end = min(_KEPT_END_CHARACTERS, max_chars * 2 // 5)
    return f"{text[: max_chars - kept_end - 3]}...{text[-kept_end:]}"


def _prefers_html(accept: str | None) -> bool:
    """Return True if the first type in ``Accept`` is HTML without a q-value, as browsers send it.

    pip and uv list ``text/html`` last, after the media types of the Simple API.
    """
    first = (accept or "").partition(",")[0]
    return first.strip().lower() in {"text/html", "application/xhtml+xml"}


def _render_problem_page(problem: Problem, root: str) -> bytes:
    return render_page(
        problem.title,
        element("h1", problem.title),
        element("p", problem.detail),
        root=root,
        show_version=problem.status is not HTTPStatus.UNAUTHORIZED,
    )
