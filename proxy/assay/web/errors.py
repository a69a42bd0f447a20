"""What went wrong, as an answer that explains itself to whoever meets it. Pure but for the response object.

Owns the table error → status (docs/architecture.md, "Routes and status codes"), the reason phrase (pip prints it), the
problem document (RFC 9457; uv prints its title and detail) and the HTML for browsers. Everything that comes from others
is escaped or dropped here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web

from assay.errors import (
    AssayError,
    FileNotListedError,
    NotFoundError,
    NotReadyError,
    ProjectNotFoundError,
    ProvenanceNotFoundError,
    StorageError,
    UpstreamError,
    UpstreamUnavailableError,
    VerificationUnavailableError,
)
from assay.gate.gate import WithheldError
from assay.policy.reasons import ReasonJson, reasons_to_json, summarize_withheld
from assay.simple.model import NormalizedName
from assay.web.ui.layout import HTML_HEADERS, render_page, render_reason
from assay.web.ui.markup import Markup, element, join_markup, markup_if

RETRY_AFTER_SECONDS = "5"
"""Seconds. pip obeys it silently, five times, so never say more."""
_MAX_REASON_PHRASE_BYTES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An answer that is no success (RFC 9457)."""

    status: HTTPStatus
    kind: str
    """Stable name, the end of the problem's ``type``."""
    title: str
    detail: str
    phrase: str
    """Reason phrase: what pip shows."""
    reasons: list[ReasonJson] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    project: NormalizedName | None = None
    """Whose page says more."""


def build_problem(error: AssayError) -> Problem:
    """Map an error to the answer that docs/architecture.md, "Routes and status codes", has for it."""
    if isinstance(error, WithheldError):
        phrase, distribution = summarize_withheld(error.withheld), error.withheld.file.distribution
        reasons = reasons_to_json(error.withheld)
        detail = " ".join(str(reason["message"]) for reason in reasons)
        return Problem(
            status=HTTPStatus.FORBIDDEN,
            kind="withheld",
            title=f"{error} by policy",
            detail=detail,
            phrase=phrase,
            reasons=reasons,
            project=distribution.project if distribution is not None else None,
        )
    status, kind, title = _classify_error(error)
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}
    return Problem(status=status, kind=kind, title=title, detail=str(error), phrase=str(error), headers=headers)


def _classify_error(error: AssayError) -> tuple[HTTPStatus, str, str]:
    match error:
        case ProjectNotFoundError():
            return HTTPStatus.NOT_FOUND, "project-not-found", "No such project"
        case FileNotListedError():
            return HTTPStatus.NOT_FOUND, "file-not-listed", "No page of this proxy lists this file"
        case ProvenanceNotFoundError():
            return HTTPStatus.NOT_FOUND, "no-provenance", "No provenance"
        case NotFoundError():
            return HTTPStatus.NOT_FOUND, "not-found", "Not found"
        case NotReadyError():
            return HTTPStatus.SERVICE_UNAVAILABLE, "not-yet", "The page is still being worked out"
        case UpstreamUnavailableError():
            return HTTPStatus.SERVICE_UNAVAILABLE, "upstream-unavailable", "The index cannot be reached now"
        case UpstreamError():
            return HTTPStatus.BAD_GATEWAY, "upstream-nonsense", "The index answered what cannot be served"
        case VerificationUnavailableError():
            return HTTPStatus.SERVICE_UNAVAILABLE, "verification-unavailable", "Attestations cannot be verified now"
        case StorageError():
            return HTTPStatus.SERVICE_UNAVAILABLE, "storage", "The proxy's storage fails"
        case _:
            return HTTPStatus.INTERNAL_SERVER_ERROR, "fault", "A fault of the proxy"


def build_problem_response(problem: Problem, accept: str | None, root: str) -> web.Response:
    """The problem as a response: HTML for a browser, a problem document for everybody else.

    Args:
        problem: what went wrong.
        accept: the request's header.
        root: relative address of ``/`` from the request's.
    """
    headers = {"Cache-Control": "no-store", "Vary": "Accept", **problem.headers}
    if _prefers_html(accept):
        headers |= HTML_HEADERS
        body = _render_problem_page(problem, root)
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
        body = json.dumps(document).encode()
    return web.Response(
        status=problem.status.value, reason=sanitize_reason_phrase(problem.phrase), headers=headers, body=body
    )


def sanitize_reason_phrase(text: str) -> str:
    """`text` as a reason phrase: printable ASCII, at most 200 bytes; an empty one would lose pip's message."""
    printable = "".join(character if " " <= character <= "~" else "?" for character in text)
    if len(printable) > _MAX_REASON_PHRASE_BYTES:
        printable = printable[: _MAX_REASON_PHRASE_BYTES - 3] + "..."
    return printable or "-"


def _prefers_html(accept: str | None) -> bool:
    """Browsers name text/html first and without a q-value; pip and uv name it last, behind the Simple API's own."""
    first = (accept or "").partition(",")[0]
    return first.strip().lower() in {"text/html", "application/xhtml+xml"}


def _render_problem_page(problem: Problem, root: str) -> bytes:
    more = element("a", "What is known of this project", href=f"{root}project/{problem.project}")
    return render_page(
        problem.title,
        element("h1", problem.title),
        _render_reasons(problem.reasons) if problem.reasons else element("p", problem.detail),
        markup_if(problem.project is not None, element("p", more)),
        root=root,
    )


def _render_reasons(reasons: list[ReasonJson]) -> Markup:
    """Each reason; the rule once, since it is one rule that governs a file."""
    rule = next((reason["rule"] for reason in reasons if reason["rule"]), None)
    listed = element("ul", *(element("li", render_reason(reason)) for reason in reasons))
    return join_markup((listed, markup_if(rule, element("p", f"The rule that governs it: {rule}.", class_="soft"))))
