"""Traces: one from a request through its transaction and jobs to the webhook's attempts.

Here is what the program calls; without `tracing.endpoint` all of it does next to
nothing, and OpenTelemetry is not even imported (`core.telemetry.otlp`). A trace
crosses processes as a `traceparent` in the event's and the job's row.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from novapulse.core.telemetry import logs

if TYPE_CHECKING:
    from novapulse.core.jobs.rows import JobRow
    from novapulse.core.settings.tracing import Tracing
    from novapulse.core.telemetry.otlp import Backend, RequestSpan

_NOTHING: AbstractContextManager[None] = nullcontext()
FLUSH_SECONDS = 0.8


class _Switch:
    backend: "Backend | None" = None


_switch = _Switch()


def configure(settings: "Tracing", *, process: str) -> None:
    """Trace from now on, if the settings name a collector."""
    if settings.endpoint:
        from novapulse.core.telemetry.otlp import Backend

        _switch.backend = Backend(settings, process=process)


def shut_down() -> None:
    """Send what is waiting, for at most FLUSH_SECONDS: a collector that hangs holds nobody up."""
    backend, _switch.backend = _switch.backend, None
    if backend is not None:
        backend.close(FLUSH_SECONDS)


def enter_request(headers: Mapping[bytes, bytes]) -> "RequestSpan | None":
    """The span of a request that begins; whoever gets one calls its `leave`."""
    if _switch.backend is None:
        return None
    return _switch.backend.enter_request(headers)


def span(
    name: str, *, is_call: bool = False, **attributes: Any
) -> AbstractContextManager[Mapping[str, Any] | None]:
    """A part of the running trace; outside of one nothing.

    `is_call` says that somebody else does the work. What is given has no dots:
    `db_collection_name` becomes `db.collection.name`. Never an address or a payload.
    """
    backend = _switch.backend
    if backend is None or not backend.is_recording():
        return _NOTHING
    return backend.span(name, is_call=is_call, attributes=attributes)


class attempt:  # noqa: N801 - used as `with attempt(job):`; a generator costs three times as much
    """One attempt at a job: its lines carry its ids, its span belongs to who enqueued it."""

    __slots__ = ("_job", "_own", "_request", "_span")

    def __init__(self, job: "JobRow") -> None:
        self._job = job
        self._span: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        self._request = logs.request_id_of_task.set(self._job.request_id)
        self._own = logs.job_id_of_task.set(self._job.id)
        if _switch.backend is not None:
            self._span = _switch.backend.attempt(self._job)
            self._span.__enter__()

    def __exit__(self, *failure: Any) -> None:
        try:
            if self._span is not None:
                self._span.__exit__(*failure)
        finally:
            logs.job_id_of_task.reset(self._own)
            logs.request_id_of_task.reset(self._request)


def note(**attributes: Any) -> None:
    """Say more about the running span."""
    if _switch.backend is not None:
        _switch.backend.note(attributes)


def traceparent() -> str | None:
    """The running span as its successors name it, for a row that travels on."""
    return None if _switch.backend is None else _switch.backend.traceparent()
