"""Tracing: OpenTelemetry spans of a request and of the work that the request waits for.

The standard OTEL_* environment variables enable tracing and configure it (endpoint, headers, sampler, service name, …).
The only supported protocol is http/protobuf.

This is the only module that uses OpenTelemetry, an optional extra. It imports OpenTelemetry only if tracing is enabled.
While tracing is off, a span costs one check of a global variable.

Spans contain routes, configured hosts, projects, digests and counts. They never contain a path, a query, a header, a
client's address or an error message. Only requests to other replicas carry the trace context; those to indexes do not.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Protocol, Self

from assay.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span as OpenTelemetrySpan
    from opentelemetry.trace import Tracer

SpanKindName = Literal["internal", "server", "client"]
_ENDPOINT_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOL_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SUPPORTED_PROTOCOL: Final = "http/protobuf"
_SERVICE_NAME: Final = "assay-proxy"
_FLUSH_TIMEOUT_SECONDS: Final = 3.0
"""Maximum time in seconds for sending the last spans, so that an unreachable collector does not delay the shutdown."""
# Names from the OpenTelemetry semantic conventions for HTTP spans. Other attributes get the prefix `assay.`.
_ATTRIBUTE_NAMES: Final = {
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
    "host": "server.address",
    "error": "error.type",
}


class Span(Protocol):
    """Span of a trace. While tracing is off, it is an object without effect."""

    def __enter__(self) -> Self:
        """Make this span the current one: the parent of all spans that start until the context ends."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the span. If there is an exception, record its type as the error of the span."""

    def activate(self) -> AbstractContextManager[object]:
        """Return a context in which this span is the current one. The end of the context does not end the span."""

    def set_attributes(self, **facts: str | int | None) -> None:
        """Set attributes of the span. A value of None is ignored."""

    def rename(self, name: str) -> None:
        """Replace the name of the span. `name` must come from a small fixed set."""

    def end(self, error: str | None = None) -> None:
        """End a span that `start_span` returned.

        Args:
            error: stable name of the failure; None if the operation succeeded.
        """


class _NoopSpan:
    """Span without effect, used for all operations while tracing is off."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def activate(self) -> AbstractContextManager[object]:
        return self

    def set_attributes(self, **facts: str | int | None) -> None:
        pass

    def rename(self, name: str) -> None:
        pass

    def end(self, error: str | None = None) -> None:
        pass


class _RecordingSpan:
    """Wrapper of an OpenTelemetry span."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: OpenTelemetrySpan) -> None:
        self._span = span
        self._token: object = None

    def __enter__(self) -> Self:
        from opentelemetry import context, trace  # noqa: PLC0415 - only if tracing is on

        self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        from opentelemetry import context  # noqa: PLC0415

        context.detach(self._token)  # type: ignore[arg-type]  # the token that attach returned
        self.end(kind.__name__ if kind is not None else None)

    def activate(self) -> AbstractContextManager[object]:
        from opentelemetry.trace import use_span  # noqa: PLC0415

        # Exceptions are not recorded, because their messages contain URLs.
        return use_span(self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False)

    def set_attributes(self, **facts: str | int | None) -> None:
        self._span.set_attributes(_build_attributes(facts))

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def end(self, error: str | None = None) -> None:
        from opentelemetry.trace import StatusCode  # noqa: PLC0415

        if error is not None:
            # Only the name of the error, because messages contain URLs.
            self.set_attributes(error=error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


NO_SPAN: Final[Span] = _NoopSpan()
"""Span without effect, used for all operations while tracing is off."""
_tracer: Tracer | None = None


def is_enabled() -> bool:
    """Return True if tracing is on. If it is off, callers skip work that only spans need."""
    return _tracer is not None


def span(
    name: str, /, *, kind: SpanKindName = "internal", parent: str | None = None, **facts: str | int | None
) -> Span:
    """Start a span for a ``with`` statement, which makes the span the current one and ends it.

    Args:
        name: name of the operation, from a small fixed set.
        kind: "server" for a request from a client, "client" for a request to a server, else "internal".
        parent: a trusted ``traceparent`` header; None: the current span is the parent.
        facts: attributes of the span; a value of None is ignored.
    """
    if _tracer is None:
        return NO_SPAN
    return _RecordingSpan(_start_otel_span(_tracer, name, kind, parent, facts))


def start_span(
    name: str, /, *, kind: SpanKindName = "internal", parent: str | None = None, **facts: str | int | None
) -> Span:
    """Start a span that the caller ends with `Span.end`. The arguments are those of `span`.

    The new span is the parent of other spans only inside the context of `Span.activate`.
    """
    return NO_SPAN if _tracer is None else _RecordingSpan(_start_otel_span(_tracer, name, kind, parent, facts))


def _start_otel_span(
    tracer: Tracer, name: str, kind: SpanKindName, parent: str | None, attributes: Mapping[str, str | int | None]
) -> OpenTelemetrySpan:
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    context = None if parent is None else _extract_context(parent)
    return tracer.start_span(name, context, kind=SpanKind[kind.upper()], attributes=_build_attributes(attributes))


def _extract_context(traceparent: str) -> Context:
    """Parse a ``traceparent`` header (W3C Trace Context, section 3.2). A malformed header is ignored.

    ``tracestate`` is not parsed, because Assay sends it to no other server.
    """
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})


def format_traceparent() -> str | None:
    """Return the current span as a ``traceparent`` header (W3C Trace Context, section 3.2) for another replica.

    Return None if tracing is off or no span is current.
    """
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def _build_attributes(attributes: Mapping[str, str | int | None]) -> dict[str, str | int]:
    return {_ATTRIBUTE_NAMES.get(key, f"assay.{key}"): value for key, value in attributes.items() if value is not None}


@contextmanager
def export_spans_to(processor: SpanProcessor, service: Mapping[str, str] | None = None) -> Iterator[None]:
    """Send all spans to `processor` while the context is open. The caller closes the processor."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    global _tracer  # noqa: PLW0603 - one tracer for the whole process, like the loggers and the registry
    provider = TracerProvider(resource=Resource.create(service), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    _tracer = provider.get_tracer(_SERVICE_NAME)
    try:
        yield
    finally:
        _tracer = None


def is_export_requested(environ: Mapping[str, str]) -> bool:
    """Return True if OTEL_* variables enable the export of traces.

    Raises:
        ConfigurationError: a variable selects an exporter or a protocol that Assay does not support.
    """
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    if exporter not in {"", "otlp"}:
        raise ConfigurationError(f"OTEL_TRACES_EXPORTER: expected otlp or none, found {exporter!r}")
    if exporter != "otlp" and not any(environ.get(name) for name in _ENDPOINT_VARIABLES):
        return False
    name = next((name for name in _PROTOCOL_VARIABLES if environ.get(name)), None)
    if name is not None and environ[name].strip().lower() != _SUPPORTED_PROTOCOL:
        raise ConfigurationError(f"{name}: expected {_SUPPORTED_PROTOCOL} or no value, found {environ[name]!r}")
    return True


@asynccontextmanager
async def export_spans(environ: Mapping[str, str]) -> AsyncIterator[None]:
    """If OTEL_* variables enable it, export spans by OTLP while the context is open.

    Raises:
        ConfigurationError: an OTEL_* variable has an unsupported value, or the extra `otel` is not installed.
    """
    if not is_export_requested(environ):
        yield
        return
    processor = await asyncio.to_thread(_create_span_processor)
    with export_spans_to(processor, _build_resource_attributes(environ)):
        try:
            yield
        finally:
            # A daemon thread: after the timeout, neither this function nor the interpreter's exit waits for it.
            flushing = threading.Thread(target=processor.shutdown, name="flush spans", daemon=True)
            flushing.start()
            await asyncio.to_thread(flushing.join, _FLUSH_TIMEOUT_SECONDS)


def _create_span_processor() -> SpanProcessor:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            f"OTEL_* variables enable traces, but {error.name} is not installed: "
            "pip install 'assay-proxy[otel]', or set OTEL_SDK_DISABLED=true"
        ) from error
    try:
        return BatchSpanProcessor(OTLPSpanExporter())
    except ValueError as error:  # an invalid timeout or compression
        raise ConfigurationError(f"OTEL_*: {error}") from error


def _build_resource_attributes(environ: Mapping[str, str]) -> dict[str, str]:
    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return {} if named else {"service.name": _SERVICE_NAME}
