"""Traces: what a request waited for, as OpenTelemetry spans, where the operator's OTEL_* variables ask for them.

Owns the one use of OpenTelemetry, an optional extra that is imported only then: off, a span costs one look at a name.
What goes out is for the operator: routes, hosts of the configuration, projects, digests and counts; never a path, a
query, a header, a client or a message. Nothing goes to indexes: a trace's context is not put into requests to them.

The variables are those of every OpenTelemetry SDK (endpoint, headers, sampler, service name …); of protocols there is
http/protobuf alone.
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
"""Seconds that the last spans may take at the end: a collector that is gone must not hold up a shutdown."""
# Semantic conventions, "HTTP spans"; whatever else we say is ours.
_ATTRIBUTE_NAMES: Final = {
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
    "host": "server.address",
    "error": "error.type",
}


class Span(Protocol):
    """A span, or the absence of one."""

    def __enter__(self) -> Self:
        """Begin; what is begun meanwhile is a part of it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End."""

    def activate(self) -> AbstractContextManager[object]:
        """Return a context in which spans that begin are parts of this one; leaving it does not end this one."""

    def set_attributes(self, **facts: str | int | None) -> None:
        """Add to what is said of it."""

    def rename(self, name: str) -> None:
        """Call it otherwise than at its beginning: again one of few."""

    def end(self, error: str | None = None) -> None:
        """End one that was begun by `start_span`; `error`: the stable name of what went wrong."""


class _NoopSpan:
    """Every span while there is no tracing."""

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
    __slots__ = ("_span", "_token")

    def __init__(self, span: OpenTelemetrySpan) -> None:
        self._span = span
        self._token: object = None

    def __enter__(self) -> Self:
        from opentelemetry import context, trace  # noqa: PLC0415 - only where tracing is on

        self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        from opentelemetry import context  # noqa: PLC0415

        context.detach(self._token)  # type: ignore[arg-type]  # the token that attach gave
        self.end(kind.__name__ if kind is not None else None)

    def activate(self) -> AbstractContextManager[object]:
        from opentelemetry.trace import use_span  # noqa: PLC0415

        # Exceptions are not recorded: their messages hold addresses.
        return use_span(self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False)

    def set_attributes(self, **facts: str | int | None) -> None:
        self._span.set_attributes(_build_attributes(facts))

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def end(self, error: str | None = None) -> None:
        from opentelemetry.trace import StatusCode  # noqa: PLC0415

        if error is not None:
            # Its name alone: messages hold addresses.
            self.set_attributes(error=error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


NO_SPAN: Final[Span] = _NoopSpan()
"""Every span while there is no tracing."""
_tracer: Tracer | None = None


def is_enabled() -> bool:
    """Whether spans go anywhere: for what would only be worked out for them."""
    return _tracer is not None


def span(
    name: str, /, *, kind: SpanKindName = "internal", parent: str | None = None, **facts: str | int | None
) -> Span:
    """A span for a ``with`` statement.

    Args:
        name: what is done, one of few.
        kind: its side of a connection.
        parent: a trusted ``traceparent`` header; None: the current span.
        facts: what is known at its beginning.
    """
    if _tracer is None:
        return NO_SPAN
    return _RecordingSpan(_start_otel_span(_tracer, name, kind, parent, facts))


def start_span(
    name: str, /, *, kind: SpanKindName = "internal", parent: str | None = None, **facts: str | int | None
) -> Span:
    """Start a span that its holder ends; what begins meanwhile is no part of it, except while it is activated."""
    return NO_SPAN if _tracer is None else _RecordingSpan(_start_otel_span(_tracer, name, kind, parent, facts))


def _start_otel_span(
    tracer: Tracer, name: str, kind: SpanKindName, parent: str | None, attributes: Mapping[str, str | int | None]
) -> OpenTelemetrySpan:
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    context = None if parent is None else _extract_context(parent)
    return tracer.start_span(name, context, kind=SpanKind[kind.upper()], attributes=_build_attributes(attributes))


def _extract_context(traceparent: str) -> Context:
    """W3C Trace Context, section 3.2: what is malformed is ignored; ``tracestate`` would be carried to nobody."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})


def _build_attributes(attributes: Mapping[str, str | int | None]) -> dict[str, str | int]:
    return {_ATTRIBUTE_NAMES.get(key, f"assay.{key}"): value for key, value in attributes.items() if value is not None}


@contextmanager
def export_spans_to(processor: SpanProcessor, service: Mapping[str, str] | None = None) -> Iterator[None]:
    """Give all spans to `processor` meanwhile; the caller closes it."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    global _tracer  # noqa: PLW0603 - one for the whole process, like the loggers and the registry
    provider = TracerProvider(resource=Resource.create(service), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    _tracer = provider.get_tracer(_SERVICE_NAME)
    try:
        yield
    finally:
        _tracer = None


def is_export_requested(environ: Mapping[str, str]) -> bool:
    """Whether OTEL_* variables ask for traces.

    Raises:
        ConfigurationError: they ask for what is not to be had here.
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
        raise ConfigurationError(f"{name}: expected {_SUPPORTED_PROTOCOL} (or nothing), found {environ[name]!r}")
    return True


@asynccontextmanager
async def export_spans(environ: Mapping[str, str]) -> AsyncIterator[None]:
    """Export spans by OTLP meanwhile, if OTEL_* variables ask for it.

    Raises:
        ConfigurationError: they cannot be obeyed, or the extra is not installed.
    """
    if not is_export_requested(environ):
        yield
        return
    taker = await asyncio.to_thread(_create_span_processor)
    with export_spans_to(taker, _build_resource_attributes(environ)):
        try:
            yield
        finally:
            # A thread that nobody waits for any longer than this, not even the interpreter.
            flushing = threading.Thread(target=taker.shutdown, name="flush spans", daemon=True)
            flushing.start()
            await asyncio.to_thread(flushing.join, _FLUSH_TIMEOUT_SECONDS)


def _create_span_processor() -> SpanProcessor:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            f"traces are asked for ({', '.join(_ENDPOINT_VARIABLES)}), and {error.name} is not installed: "
            "pip install 'assay-proxy[otel]', or set OTEL_SDK_DISABLED=true"
        ) from error
    try:
        return BatchSpanProcessor(OTLPSpanExporter())
    except ValueError as error:  # a time-out or compression that is none
        raise ConfigurationError(f"OTEL_*: {error}") from error


def _build_resource_attributes(environ: Mapping[str, str]) -> dict[str, str]:
    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return {} if named else {"service.name": _SERVICE_NAME}
