"""Spans by OpenTelemetry, sent over OTLP/HTTP. Imported only where a collector is configured.

No span has a URL, a path, a payload or the words of an exception: any of these may hold a
secret. Routes are templates, the rest are ids, numbers and words of ours.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from novapulse import __version__
from novapulse.core.telemetry import logs

if TYPE_CHECKING:
    from novapulse.core.jobs.rows import JobRow
    from novapulse.core.settings.tracing import Tracing

_PATH = "/v1/traces"
_SEND_SECONDS = 5
_BATCH_MILLISECONDS = 1_000
_QUEUE = 8_192
_propagator = TraceContextTextMapPropagator()


class RequestSpan:
    """A request's span, current until `leave`."""

    __slots__ = ("_named", "_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span
        self._token = context.attach(trace.set_span_in_context(span))
        self._named = logs.trace_id_of_task.set(_trace_id(span))

    def leave(self, *, method: str, route: str, status: int, request_id: str) -> None:
        span = self._span
        if span.is_recording():
            span.update_name(f"{method} {route}")
            span.set_attributes(
                {
                    "http.request.method": method,
                    "http.route": route,
                    "http.response.status_code": status,
                    "novapulse.request_id": request_id,
                }
            )
            if status >= 500:
                span.set_status(StatusCode.ERROR)
        span.end()
        logs.trace_id_of_task.reset(self._named)
        context.detach(self._token)


class Backend:
    """This process's tracer and its sender, which has a thread of its own."""

    def __init__(self, settings: "Tracing", *, process: str) -> None:
        resource = Resource(
            {
                "service.name": settings.service_name,
                "service.version": __version__,
                "service.instance.id": process,
            }
        )
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.ratio)),
            resource=resource,
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=address_of(settings.endpoint), timeout=_SEND_SECONDS)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=_QUEUE,
                schedule_delay_millis=_BATCH_MILLISECONDS,
            )
        )
        self._tracer = self._provider.get_tracer("novapulse")

    def enter_request(self, headers: Mapping[bytes, bytes]) -> RequestSpan:
        carrier = {
            name: headers[name.encode()].decode("latin-1")
            for name in ("traceparent", "tracestate")
            if name.encode() in headers
        }
        parent = _propagator.extract(carrier)
        return RequestSpan(self._tracer.start_span("request", parent, SpanKind.SERVER))

    def is_recording(self) -> bool:
        return trace.get_current_span().is_recording()

    @contextmanager
    def span(
        self, name: str, *, is_call: bool, attributes: Mapping[str, Any]
    ) -> Iterator[Mapping[str, Any]]:
        kind = SpanKind.CLIENT if is_call else SpanKind.INTERNAL
        with self._running(self._tracer.start_span(name, kind=kind)):
            self.note(attributes)
            yield attributes

    @contextmanager
    def attempt(self, job: "JobRow") -> Iterator[None]:
        parent = _propagator.extract({"traceparent": job.trace}) if job.trace else None
        span = self._tracer.start_span(f"job {job.kind}", parent, SpanKind.CONSUMER)
        named = logs.trace_id_of_task.set(_trace_id(span))
        try:
            with self._running(span):
                self.note({"queue": str(job.queue), "job_id": job.id, "attempt": job.attempt})
                yield
        finally:
            logs.trace_id_of_task.reset(named)

    @contextmanager
    def _running(self, span: Span) -> Iterator[None]:
        token = context.attach(trace.set_span_in_context(span))
        try:
            yield
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR)
            raise
        finally:
            span.end()
            context.detach(token)

    def note(self, attributes: Mapping[str, Any]) -> None:
        span = trace.get_current_span()
        if span.is_recording():
            for name, value in attributes.items():
                if value is not None:
                    span.set_attribute(_dotted(name), value)

    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        return carrier.get("traceparent")

    def close(self, seconds: float) -> None:
        """Send the rest; who is not done in time is left behind."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(seconds)


def address_of(endpoint: str) -> str:
    """Where spans go: a collector's URL, with or without the path that OTLP gives them."""
    return endpoint if endpoint.endswith(_PATH) else endpoint.rstrip("/") + _PATH


def _dotted(name: str) -> str:
    return name.replace("_", ".") if name.startswith("db_") else f"novapulse.{name}"


def _trace_id(span: Span) -> str:
    return trace.format_trace_id(span.get_span_context().trace_id)
