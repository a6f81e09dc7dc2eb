"""The worker: claims due jobs, runs their coroutines, writes how they ended.

One asyncio loop a consumer. Claims and finishes travel in batches beside the
running handlers; a drain claims no more, waits for the handlers until its
deadline and gives the rest back.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog
from huey import signals

from novapulse.core import errors
from novapulse.core.access import Principal, Role
from novapulse.core.batch import Batcher
from novapulse.core.context import Context, Runtime
from novapulse.core.jobs.bell import Ear
from novapulse.core.jobs.kinds import Queue, find_kind, hueys
from novapulse.core.jobs.ledger import BEAT_SECONDS, Ledger
from novapulse.core.jobs.rows import JobRow
from novapulse.core.jobs.states import GiveUp, Outcome, Snooze, State, outcome_of

log = structlog.get_logger("jobs")
_TROUBLE_SECONDS = 1.0


class JobContext(Context):
    """What a handler runs with: the job's company, and which attempt this is."""

    __slots__ = ("job",)

    def __init__(self, runtime: Runtime, job: JobRow) -> None:
        principal = Principal(
            user_id="system", role=Role.SUPER_ADMIN, company_id=job.company_id, is_operator=True
        )
        super().__init__(runtime, principal, request_id=job.request_id, via="job")
        self.job = job


class Worker:
    """Runs one queue's jobs, `concurrency` at a time, until `stop` is called."""

    def __init__(
        self, runtime: Runtime, queue: Queue, *, owner: str, concurrency: int, lease_seconds: float
    ) -> None:
        self._runtime = runtime
        self._queue = queue
        self._concurrency = concurrency
        self._renew_seconds = lease_seconds / 3
        self._ledger = Ledger(runtime.db, queue, owner, lease_seconds=lease_seconds)
        self._ear = Ear(runtime.cache, (str(queue),))
        self._running: dict[asyncio.Task[None], JobRow] = {}
        self._finished: Batcher[tuple[JobRow, Outcome]] = Batcher(self._write)
        self._is_stopping = False

    async def run(self, *, drain_seconds: float) -> None:
        """Claim and run until stopped, then drain."""
        helpers = [
            asyncio.create_task(self._ear.listen()),
            asyncio.create_task(self._renew()),
            asyncio.create_task(self._beat()),
        ]
        try:
            while not self._is_stopping:
                await self._turn()
            await self._drain(drain_seconds)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    def stop(self) -> None:
        """Claim no more; thread-unsafe, to be called in the loop."""
        self._is_stopping = True
        self._ear.ring()

    async def _turn(self) -> None:
        """Fill the free slots, then sleep until there is a reason to look again."""
        free = self._concurrency - len(self._running)
        try:
            claimed = await self._ledger.claim(free) if free > 0 else []
            wait = await self._seconds_to_wait(free, claimed)
        except errors.Unavailable as error:
            log.warning("jobs.claim_failed", queue=str(self._queue), error=error.detail)
            claimed, wait = [], _TROUBLE_SECONDS
        for job in claimed:
            task = asyncio.create_task(self._run_job(job))
            self._running[task] = job
            task.add_done_callback(self._ended)
        if wait:
            await self._ear.wait(wait)

    async def _seconds_to_wait(self, free: int, claimed: Sequence[JobRow]) -> float:
        if claimed and len(claimed) < free:
            return 0.0  # there may be more: the claim raced with others
        if claimed or not free:
            return 3600.0  # full: an ended job rings
        due = await self._ledger.next_due_seconds()
        return 3600.0 if due is None else max(due, 0.0)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        self._ear.ring()

    async def _run_job(self, job: JobRow) -> None:
        """One attempt, from Huey's signal that it starts to the written outcome."""
        kind = find_kind(job.kind)
        huey = hueys[self._queue]
        started = time.perf_counter()
        if kind is None:
            failure: BaseException | None = GiveUp(f"there is no job kind {job.kind!r}")
            await self._finish(job, failure, started)
            return
        task = kind(kwargs=job.payload, id=job.id, retries=job.max_attempts - job.attempt)
        huey._emit(signals.SIGNAL_EXECUTING, task)
        failure = await self._attempt(kind.handler, job)
        if failure is None:
            huey._emit(signals.SIGNAL_COMPLETE, task)
        else:
            huey._emit(signals.SIGNAL_ERROR, task, failure)
        await self._finish(job, failure, started)

    async def _attempt(self, handler: Any, job: JobRow) -> BaseException | None:
        """Run the handler; its error, or None."""
        try:
            async with asyncio.timeout(job.timeout_seconds):
                await handler(JobContext(self._runtime, job), **job.payload)
        except (errors.Unavailable, errors.StorageFull) as error:
            return Snooze(error.detail, seconds=_TROUBLE_SECONDS)
        except Exception as error:  # a handler may raise anything; the ledger keeps it
            return error
        return None

    async def _finish(self, job: JobRow, failure: BaseException | None, started: float) -> None:
        outcome = outcome_of(
            failure,
            attempt=job.attempt - job.lapses,
            max_attempts=job.max_attempts,
            backoff=job.backoff,
        )
        seconds = time.perf_counter() - started
        log_outcome(job, outcome, seconds)
        while True:
            try:
                await self._finished.add((job, outcome))
                return
            except errors.Unavailable:
                await asyncio.sleep(_TROUBLE_SECONDS)

    async def _write(self, ended: Sequence[tuple[JobRow, Outcome]]) -> None:
        await self._ledger.finish(ended, self._runtime.clock())

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._renew_seconds)
            if self._running:
                with suppress(errors.Unavailable):
                    await self._ledger.renew()

    async def _beat(self) -> None:
        while True:
            with suppress(errors.Unavailable):
                await self._ledger.beat()
            await asyncio.sleep(BEAT_SECONDS)

    async def _drain(self, seconds: float) -> None:
        if not self._running:
            return
        await asyncio.wait(self._running, timeout=seconds)
        left = dict(self._running)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1)
            await self._ledger.give_back(list(left.values()))
        await self._finished.close()


def log_outcome(job: JobRow, outcome: Outcome, seconds: float) -> None:
    """The job's line and numbers, one for each attempt."""
    from novapulse.core.telemetry import metrics

    status = str(outcome.state)
    duration, total = metrics.job_attempt(str(job.queue), job.kind, status)
    duration.observe(seconds)
    total.inc()
    if outcome.state is not State.COMPLETED:
        metrics.queue_job_errors_total.labels(str(job.queue), job.kind).inc()
    log.info(
        "job.finished",
        jobId=job.id,
        kind=job.kind,
        companyId=job.company_id,
        requestId=job.request_id,
        attempt=job.attempt,
        state=status,
        reason=outcome.reason or None,
        seconds=round(seconds, 6),
    )
