"""Huey's signals around an attempt, and the line and numbers that each attempt leaves."""

from typing import Any

from huey import signals as huey_signals

from novapulse.core.jobs.rows import JobRow
from novapulse.core.jobs.states import Outcome, State
from novapulse.core.telemetry import logs, metrics

_BY_STATE = {
    State.COMPLETED: huey_signals.SIGNAL_COMPLETE,
    State.CANCELLED: huey_signals.SIGNAL_CANCELED,
    State.RETRYABLE: huey_signals.SIGNAL_RETRYING,
}


def starting(huey: Any, task: Any) -> None:
    huey._emit(huey_signals.SIGNAL_EXECUTING, task)


def ended(huey: Any, task: Any, *, outcome: Outcome, failure: BaseException | None) -> None:
    """`error` for a failure, then what becomes of the job: as Huey's own consumer does."""
    if failure is not None and outcome.state in (State.RETRYABLE, State.DEAD):
        huey._emit(huey_signals.SIGNAL_ERROR, task, failure)
    if (name := _BY_STATE.get(outcome.state)) is not None:
        huey._emit(name, task)


def account(job: JobRow, outcome: Outcome, *, seconds: float) -> None:
    """The attempt's metrics and log line."""
    status = str(outcome.state)
    duration, total = metrics.job_attempt(str(job.queue), job.kind, status)
    duration.observe(seconds)
    total.inc()
    if outcome.state in (State.RETRYABLE, State.DEAD):
        metrics.queue_job_errors_total.labels(str(job.queue), job.kind).inc()
    logs.write(
        "job.finished",
        jobId=job.id,
        kind=job.kind,
        companyId=job.company_id,
        requestId=job.request_id or None,
        attempt=job.attempt,
        state=status,
        reason=outcome.reason or None,
        seconds=round(seconds, 6),
    )
