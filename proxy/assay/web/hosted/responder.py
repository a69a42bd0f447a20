"""Responder for uploads to hosted indexes, and for the acts of their managers. Each act is logged and audited."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import web

from assay import telemetry
from assay.errors import NotFoundError, UploadForbiddenError, UploadRefusedError
from assay.gate.uploads import UploadResult, UploadService
from assay.hosted.form import parse_form
from assay.hosted.management import StatusChange, YankChange, parse_status, parse_yank
from assay.hosted.rules import Placement, check_index_uploader
from assay.indexes import IndexSettings
from assay.policy.reasons import escape_controls
from assay.ports import HostedProject
from assay.publishers.signers import describe_signer
from assay.web.audit import AuditRecorder
from assay.web.exchange import Exchange, Rest
from assay.web.hosted.body import read_json, read_upload
from assay.web.hosted.upload_limit import UploadLimit
from assay.web.routing.routes import HostedChange, HostedProjects, UploadFile

HostedRoute = UploadFile | HostedProjects | HostedChange
_NO_STORE = {"Cache-Control": "no-store"}


class HostedResponder:
    """Responder for the routes of hosted indexes.

    Args:
        uploads: service that accepts uploads; None if no index is hosted.
        recorder: writer of audit entries.
    """

    def __init__(self, uploads: UploadService | None, recorder: AuditRecorder) -> None:
        self._uploads = uploads
        self._recorder = recorder
        self._limit = UploadLimit()

    def begin(self, exchange: Exchange, route: HostedRoute) -> Rest:
        """Return the work that answers a request.

        Raises:
            UploadForbiddenError: a web page sends a request that changes something.
        """
        if route.takes_body:
            _refuse_web_page(exchange)
        match route:
            case UploadFile(index=name):
                return partial(self._upload, exchange, name)
            case HostedProjects(index=name):
                return partial(self._list, exchange, name)
            case HostedChange():
                return partial(self._change, exchange, route)

    async def _upload(self, exchange: Exchange, name: str, request: web.BaseRequest) -> web.StreamResponse:
        uploads, index = self._require_index(name)
        user = _require_user(exchange)
        filename: str | None = None
        try:
            check_index_uploader(index, user)
            with self._limit.hold(user):
                async with uploads.storage.stage(index.name) as staged:
                    fields, filename = await read_upload(request, staged, index.limits.file)
                    form = parse_form(fields, filename)
                    uploads.check_permission(index, user, form.project)
                    result = await uploads.accept(index, form, staged, user)
        except UploadRefusedError as error:
            reason = escape_controls(str(error))
            telemetry.warning("upload-refused", index=name, filename=filename, user=exchange.user_name, reason=reason)
            await self._record(exchange, "upload-refused", index=name, filename=filename, reason=reason)
            raise
        await self._report_upload(exchange, index, result)
        return web.Response(text="OK\n", headers=_NO_STORE)

    async def _report_upload(self, exchange: Exchange, index: IndexSettings, result: UploadResult) -> None:
        file = result.file
        facts = {
            "index": index.name,
            "filename": file.filename,
            "sha256": file.sha256,
            "is_new": result.placement is Placement.NEW,
            "publishers": [escape_controls(describe_signer(each.claims)) for each in result.attestations],
        }
        telemetry.event("upload-accepted", user=exchange.user_name, **facts)
        await self._record(exchange, "uploaded", **facts)

    async def _list(self, exchange: Exchange, name: str, _request: web.BaseRequest) -> web.StreamResponse:
        uploads, index = self._require_index(name)
        _check_manager(exchange, index)
        await uploads.storage.refresh(name)
        found = (uploads.storage.find_project(name, project) for project in uploads.storage.list_projects(name))
        return web.json_response(
            {"index": name, "projects": [_describe_project(each) for each in found if each is not None]},
            headers=_NO_STORE,
        )

    async def _change(self, exchange: Exchange, route: HostedChange, request: web.BaseRequest) -> web.StreamResponse:
        uploads, index = self._require_index(route.index)
        _check_manager(exchange, index)
        await uploads.storage.refresh(index.name)
        project = uploads.storage.find_project(index.name, route.project)
        if project is None:
            raise NotFoundError(f"the index {index.name} has no project {route.project}")
        content = await read_json(request, route.max_body_bytes)
        change: StatusChange | YankChange
        if route.action == "status":
            change = parse_status(content)
            await uploads.storage.set_status(index.name, route.project, change.status, change.reason)
        else:
            change = parse_yank(content, project, undo=route.action == "unyank")
            await uploads.storage.set_yanked(index.name, route.project, change.filenames, change.reason)
        facts = {"index": index.name, "project": route.project, "action": route.action, **change.to_json()}
        telemetry.event("hosted-changed", user=exchange.user_name, **facts)
        await self._record(exchange, "hosted-changed", **facts)
        return web.json_response(facts, headers=_NO_STORE)

    def _require_index(self, name: str) -> tuple[UploadService, IndexSettings]:
        index = None if self._uploads is None else self._uploads.indexes.find_by_name(name)
        if self._uploads is None or index is None or not index.is_hosted:
            raise NotFoundError(f"this proxy hosts no index {name}")
        return self._uploads, index

    async def _record(self, exchange: Exchange, event: str, **facts: Any) -> None:  # noqa: ANN401 - JSON values
        await self._recorder.record_act(exchange, event, facts)


def _require_user(exchange: Exchange) -> str:
    if exchange.user is None:
        raise UploadForbiddenError("uploads need a user: the proxy has no [server.auth]")
    return exchange.user.name


def _refuse_web_page(exchange: Exchange) -> None:
    """Refuse a request that a browser sends for a web page, with the credentials that it remembers.

    Browsers send `Origin` with each POST request (Fetch standard), and no client of these routes does.

    Raises:
        UploadForbiddenError: a browser sends the request.
    """
    if {"Origin", "Sec-Fetch-Site"} & set(exchange.head.headers):
        raise UploadForbiddenError("uploads and changes are not accepted from web pages")


def _check_manager(exchange: Exchange, index: IndexSettings) -> None:
    user = _require_user(exchange)
    if user not in index.managers:
        raise UploadForbiddenError(f"the user {user} may not manage the index {index.name}")


def _describe_project(project: HostedProject) -> Mapping[str, Any]:
    return {
        "name": project.name,
        "status": project.status,
        **({} if project.reason is None else {"reason": project.reason}),
        "files": [
            {
                "filename": file.filename,
                "version": file.version,
                "sha256": file.sha256,
                "size": file.size,
                "uploaded": file.uploaded.isoformat(),
                "uploader": file.uploader,
                "publishers": [signer.subject for signer in file.signers],
                **({} if file.yanked is None else {"yanked": file.yanked}),
            }
            for file in project.files
        ],
    }
