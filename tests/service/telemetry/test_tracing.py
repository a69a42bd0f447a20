"""Traces of requests: their spans, the data that they must not contain, and the clients whose trace context counts."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from assay.telemetry import tracing
from tests.paths import ROOT
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import Reply
from tests.world.proxy.running_proxy import NOW, make_configuration, run_test_proxy
from tests.world.proxy.serve_process import run_serve_process
from tests.world.sigstore.private_sigstore import PrivateSigstore

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = PARENT.split("-")[1]


@pytest.fixture
def kept() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    with tracing.export_spans_to(SimpleSpanProcessor(exporter)):
        yield exporter


def named(spans: Sequence[ReadableSpan], name: str) -> list[dict[str, Any]]:
    return [dict(span.attributes or {}) for span in spans if span.name == name]


async def test_a_download_is_one_trace_from_the_request_to_the_index(
    tmp_path: Path, kept: InMemorySpanExporter
) -> None:
    sigstore = PrivateSigstore(seed=3)
    async with Index() as index, run_test_proxy(index, tmp_path, sigstore=sigstore) as proxy:
        built = wheel("foo", "1.0")
        listed = index.add(built, upload_time=NOW, provenance=sigstore.provenance(built.filename, built.sha256))
        answer = await proxy.get(f"{proxy.files_path(listed)}?token=secret", {"traceparent": PARENT})
        assert answer.status == 200
        assert (await proxy.get("/nowhere/secret")).status == 404
        async with asyncio.timeout(10):
            while not named(kept.get_finished_spans(), "download"):  # noqa: ASYNC110 - the span ends after its blob is stored
                await asyncio.sleep(0.01)
        spans = kept.get_finished_spans()
        requests = index.requests
    (request,) = named(spans, "GET file")
    assert request == {
        "http.request.method": "GET",
        "http.route": "file",
        "http.response.status_code": 200,
        "assay.request": answer.headers["X-Request-Id"],
    }
    assert named(spans, "judge") == [{"assay.index": "test", "assay.project": "foo", "assay.files": 1}]
    assert named(spans, "verify") == [{"assay.project": "foo", "assay.documents": 1}]
    assert named(spans, "download") == [{"assay.sha256": built.sha256, "assay.size": built.size, "assay.stored": False}]
    upstream = named(spans, "upstream")
    assert len(upstream) == 3, "page, provenance, file"
    host = {"server.address": index.files_host, "http.request.method": "GET", "http.response.status_code": 200}
    assert all(one == host for one in upstream)
    whole = next(span for span in spans if span.name == "GET file")
    assert whole.parent is None, "a stranger's traceparent begins nothing"
    parts = [span for span in spans if span.name in {"judge", "verify", "download", "upstream"}]
    assert {span.context.trace_id for span in parts} == {whole.context.trace_id}
    assert "secret" not in "".join(span.to_json() for span in spans)
    assert not any(name.lower() in {"traceparent", "tracestate", "baggage"} for one in requests for name in one.headers)


async def test_a_trusted_proxy_is_believed_and_failures_are_named(tmp_path: Path, kept: InMemorySpanExporter) -> None:
    async with Index() as index:
        trusting = make_configuration(
            index, tmp_path / "assay", server={"port": 0, "trusted-proxies": ["127.0.0.1/32"]}
        )
        async with run_test_proxy(index, tmp_path, configuration=trusting) as proxy:
            index.inject_fault("*", Reply(500))
            assert (await proxy.request("PUT", "/simple/foo/", {"traceparent": PARENT})).status == 405
            assert (await proxy.get("/simple/foo/", {"traceparent": PARENT})).status == 503
            await index.down()
            assert (await proxy.get("/simple/bar/", {"traceparent": PARENT})).status == 503
    spans = kept.get_finished_spans()
    assert {f"{span.context.trace_id:032x}" for span in spans} == {TRACE}
    assert [one["error.type"] for one in named(spans, "GET page")] == ["503", "503"]
    assert [one["http.request.method"] for one in named(spans, "_OTHER page")] == ["_OTHER"]
    assert {one.get("error.type", one.get("http.response.status_code")) for one in named(spans, "upstream")} == {
        500,
        "ClientConnectorError",
    }


class Collector:
    """OTLP server that collects spans."""

    def __init__(self) -> None:
        self.received: list[ExportTraceServiceRequest] = []
        self.headers: list[str] = []
        self.url = ""

    async def _take(self, request: web.BaseRequest) -> web.StreamResponse:
        self.received.append(ExportTraceServiceRequest.FromString(await request.read()))
        self.headers.append(f"{request.path} {request.headers['Content-Type']} {request.headers.get('x-key')}")
        return web.Response()

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._take))
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


async def test_the_process_exports_to_the_collector_that_the_environment_names(tmp_path: Path) -> None:
    async with Collector() as collector, Index() as index:
        index.add(wheel("foo"))
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_HEADERS": "x-key=abc"}
        async with run_serve_process(index, tmp_path, environ=environ) as proxy:
            await _get(f"{proxy.url}foo/")
            assert await proxy.stop() == 0
    assert set(collector.headers) == {"/v1/traces application/x-protobuf abc"}
    resources = [each for one in collector.received for each in one.resource_spans]
    assert {
        attribute.value.string_value
        for each in resources
        for attribute in each.resource.attributes
        if attribute.key == "service.name"
    } == {"assay-proxy"}
    assert {"GET page", "judge", "upstream"} <= {
        span.name for each in resources for scope in each.scope_spans for span in scope.spans
    }


async def test_a_collector_that_is_gone_holds_up_neither_requests_nor_the_end(tmp_path: Path) -> None:
    async with Collector() as collector:
        gone = collector.url
    async with Index() as index:
        index.add(wheel("foo"))
        async with run_serve_process(index, tmp_path, environ={"OTEL_EXPORTER_OTLP_ENDPOINT": gone}) as proxy:
            await _get(f"{proxy.url}foo/")
            began = asyncio.get_running_loop().time()
            assert await proxy.stop() == 0
            assert asyncio.get_running_loop().time() - began < 8


async def _get(url: str) -> None:
    import aiohttp  # noqa: PLC0415

    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("environ", "status", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, 2, "pip install 'assay-proxy[otel]'"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, 2, "expected otlp or none"),
        ({}, 0, "listening"),
    ],
)
async def test_asked_for_and_not_installed_is_said_before_anything_else(
    tmp_path: Path, environ: dict[str, str], status: int, said: str
) -> None:
    # Simulate an environment without the extra by an import finder that raises for opentelemetry.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nclass Without:\n def find_spec(self, name, path=None, target=None):\n"
        "  if name.partition('.')[0] == 'opentelemetry': raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Without())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "assay", "serve", "--log", "json",
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path), **environ,
             "ASSAY_SERVER__PORT": "0", "ASSAY_TRUST__REFRESH": "false",
             "ASSAY_STORAGE__DIRECTORY": str(tmp_path / "s")},
        cwd=ROOT,
    )  # fmt: skip
    assert process.stderr is not None
    told = ""
    async with asyncio.timeout(30):
        while line := (await process.stderr.readline()).decode():
            told += line
            if line.startswith("{") and json.loads(line)["event"] == "listening":
                process.terminate()
        assert await process.wait() == status
    assert said in told
