"""Spans have no effect while tracing is off, and OTEL_* variables turn it on and off."""

from __future__ import annotations

import subprocess
import sys
import timeit
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from assay.errors import ConfigurationError
from assay.telemetry import tracing

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def kept() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    with tracing.export_spans_to(SimpleSpanProcessor(exporter), {"service.name": "test"}):
        yield exporter


def test_without_tracing_nothing_is_imported_and_a_span_is_one_look() -> None:
    code = "import sys; import assay.cli.commands.serve, assay.telemetry.tracing as t;"
    code += "t.span('a').__enter__().set_attributes(a=1);"
    code += "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert not tracing.is_enabled()
    assert tracing.span("a") is tracing.start_span("b")
    seconds = min(timeit.repeat(lambda: tracing.span("a"), number=10_000, repeat=5)) / 10_000
    assert seconds < 20e-6, "some 0.2 microseconds where nothing else runs"


def test_a_span_says_what_is_known_and_whose_part_it_is(kept: InMemorySpanExporter) -> None:
    with tracing.span("outer", kind="server", parent=PARENT, method="GET") as outer:
        call = tracing.start_span("call", kind="client", host="h.example")
        with tracing.span("inner", project="foo", size=None):
            pass
        call.end()
        outer.set_attributes(status=200)
    inner, called, whole = kept.get_finished_spans()
    assert (whole.name, whole.kind.name) == ("outer", "SERVER")
    assert dict(whole.attributes or {}) == {"http.request.method": "GET", "http.response.status_code": 200}
    assert dict(inner.attributes or {}) == {"assay.project": "foo"}
    assert dict(called.attributes or {}) == {"server.address": "h.example"}
    assert whole.parent is not None
    assert f"{whole.parent.trace_id:032x}" == PARENT.split("-")[1]
    for part in (inner, called):
        assert part.parent is not None
        assert part.parent.span_id == whole.context.span_id
    assert whole.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("parent", ["", "x", PARENT.replace("0af7", "zzzz"), "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_parent_that_is_none_begins_a_trace(kept: InMemorySpanExporter, parent: str) -> None:
    with tracing.span("a", parent=parent):
        pass
    assert kept.get_finished_spans()[0].parent is None


def test_an_error_is_named_and_its_message_kept_back(kept: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="secret"), tracing.span("a"):
        raise ValueError("https://user:secret@h.example/?token=secret")
    (span,) = kept.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {}) == {"error.type": "ValueError"}
    assert "secret" not in span.to_json()


def test_spans_end_with_the_context(kept: InMemorySpanExporter) -> None:
    assert tracing.is_enabled()
    with tracing.span("a"):
        pass
    assert len(kept.get_finished_spans()) == 1


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "assay"}, False),
        ({ENDPOINT: ""}, False),
        ({ENDPOINT: "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({ENDPOINT: "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({ENDPOINT: "http://collector:4318", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({ENDPOINT: "http://collector:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
    ],
)
def test_the_variables_of_every_sdk_turn_it_on_and_off(environ: dict[str, str], wanted: bool) -> None:
    assert tracing.is_export_requested(environ) is wanted


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, "OTEL_TRACES_EXPORTER: expected otlp or none, found 'jaeger'"),
        (
            {ENDPOINT: "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf or no value, found 'grpc'",
        ),
        (
            {ENDPOINT: "http://c", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: expected http/protobuf or no value, found 'http/json'",
        ),
    ],
)
def test_what_cannot_be_obeyed_is_said(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        tracing.is_export_requested(environ)
    assert str(refused.value) == message
