"""Huey's hooks and signals around an attempt, and the line and numbers that each leaves."""

from typing import Any

from huey import signals as huey_signals
from huey.exceptions import CancelExecution

from novapulse.core.jobs.rows import JobRow
from novapulse.core.jobs.states import Cancelled, Outcome, State
from novapulse.core.telemetry import logs, metrics

_BY_STATE = {
    State.COMPLETED: huey_signals.SIGNAL_COMPLETE,
    State.CANCELLED: huey_signals.SIGNAL_CANCELED,
    State.RETRYABLE: huey_signals.SIGNAL_RETRYING,
}


def starting(huey: Any, kind: Any, *, job: JobRow) -> Cancelled | None:
    """`executing`, then the pre-execute hooks; one of them may cancel the job."""
    _emit(huey, huey_signals.SIGNAL_EXECUTING, kind=kind, job=job)
    if huey._pre_execute:
        try:
            huey._run_pre_execute(_task(kind, job))
        except CancelExecution as error:
            return Cancelled(str(error) or "a pre-execute hook cancelled it")
    return None


def ended(
    huey: Any, kind: Any, *, job: JobRow, outcome: Outcome, failure: BaseException | None
) -> None:
    """The post-execute hooks, `error` for a failure, then what becomes of the job."""
    if huey._post_execute:
        huey._run_post_execute(_task(kind, job), None, failure)
    if failure is not None and outcome.state in (State.RETRYABLE, State.DEAD):
        _emit(huey, huey_signals.SIGNAL_ERROR, failure, kind=kind, job=job)
    if (name := _BY_STATE.get(outcome.state)) is not None:
        _emit(huey, name, kind=kind, job=job)


def _emit(huey: Any, signal: str, *arguments: Any, kind: Any, job: JobRow) -> None:
    """Tell the receivers; a Huey task is made only where somebody receives it."""
    receivers = huey._signal.receivers
    if receivers.get(signal) or receivers["any"]:
        huey._emit(signal, _task(kind, job), *arguments)


def _task(kind: Any, job: JobRow) -> Any:
    """The job as Huey knows it; `retries` are those that are left, sealed fields stay sealed."""
    left = job.max_attempts - (job.attempt - job.lapses)
    return kind(kwargs=job.payload, id=job.id, retries=left)


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
