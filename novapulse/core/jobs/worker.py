"""The worker: claims due jobs, runs their coroutines, writes how they ended.

One asyncio loop a consumer. Claims and finishes travel in batches beside the
running handlers: while one batch runs the next is claimed and the last is
written. A drain claims no more, waits for the handlers until its deadline and
gives the rest back.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

import structlog

from novapulse.core import errors
from novapulse.core.clock import until_next
from novapulse.core.context import Runtime
from novapulse.core.deadlines import Deadlines, Limit
from novapulse.core.jobs import presence, signals
from novapulse.core.jobs.bell import Ear
from novapulse.core.jobs.context import JobContext, Workbench
from novapulse.core.jobs.hueys import as_ours
from novapulse.core.jobs.intake import Intake
from novapulse.core.jobs.kinds import Pool, Queue, hueys
from novapulse.core.jobs.ledger import Ledger
from novapulse.core.jobs.rows import JobRow, open_payload
from novapulse.core.jobs.states import (
    CLAIMABLE_STATES,
    Cancelled,
    GiveUp,
    Outcome,
    Snooze,
    State,
    outcome_of,
)
from novapulse.core.tasks import begin, end_all
from novapulse.core.telemetry import tracing

log = structlog.get_logger("jobs")
_TROUBLE_SECONDS = 1.0
_WATCH_SECONDS = 1.0
_PAUSE_SECONDS = 0.5
_WRITERS = 2
_BREATH_SECONDS = 0.002
Start = tuple[str, str]  # a job's id, and the claim that it runs under


class Worker:
    """Runs one queue's jobs, `concurrency` at a time, until `stop` is called.

    What a crash can make run twice are the running jobs and those that ended
    while the last batch was written: seldom more than run, never more than
    `Intake.most_unwritten`.

    A queue that serves its jobs in an order of its own brings its own intake,
    and with it the ledger that both use.
    """

    def __init__(
        self,
        runtime: Runtime,
        queue: Queue,
        *,
        owner: str,
        concurrency: int,
        lease_seconds: float,
        make_pool: Callable[[Pool], Executor],
        ledger: Ledger | None = None,
        intake: Intake | None = None,
    ) -> None:
        self._runtime = runtime
        self._queue = queue
        self._huey = hueys[queue]
        self._kinds: dict[str, Any] = self._huey._registry._registry
        self._owner = owner
        self._concurrency = concurrency
        self._renew_seconds = lease_seconds / 3
        self._watch_seconds = min(_WATCH_SECONDS, self._renew_seconds)
        self._ledger = ledger or Ledger(runtime.db, queue, owner=owner, lease_seconds=lease_seconds)
        self._bench = Workbench(self._ledger, make_pool)
        self._intake = intake or Intake(self._ledger, concurrency=concurrency)
        self._loop_time = asyncio.get_running_loop().time
        self._deadlines = Deadlines()
        self._ear = Ear(runtime.cache, (str(queue),))
        self._ready: deque[JobRow] = deque()
        # Lanes are tasks that run one job after the other: cheaper than a task a job.
        self._lanes: set[asyncio.Task[None]] = set()
        # By claim: a job that came back to us after its lease lapsed may run twice at once.
        self._running: dict[Start, tuple[asyncio.Task[None], JobRow]] = {}
        self._ended: list[tuple[JobRow, Outcome]] = []
        self._writers: set[asyncio.Task[None]] = set()
        self._unwritten = 0
        self._is_stopping = False
        self._dropped: set[Start] = set()
        self._pause_seen = 0.0
        self._pause = False

    async def run(self, *, drain_seconds: float) -> None:
        """Claim and run until stopped, then drain."""
        helpers = [
            asyncio.create_task(part) for part in (self._ear.listen(), self._watch(), self._beat())
        ]
        for helper in helpers:
            helper.add_done_callback(lambda _: self._ear.ring())
        try:
            while not self._is_stopping:
                for helper in helpers:
                    if helper.done():  # without it leases lapse, and what runs here runs twice
                        helper.result()
                await self._turn()
            await self._drain(drain_seconds)
        finally:
            await end_all(helpers)
            self._bench.close()

    def stop(self) -> None:
        """Claim no more; to be called in the loop."""
        self._is_stopping = True
        self._ear.ring()

    async def _turn(self) -> None:
        """Claim what there is room for, then sleep until there is a reason to look again."""
        wait: float | None = 0.0
        try:
            if await self._is_paused():
                await self._return_ready()
                wait = None
            else:
                claimed, wait = await self._intake.claim(
                    len(self._ready), len(self._running), unwritten=self._unwritten
                )
                self._intake.ran_dry |= not self._ready
                self._ready.extend(claimed)
                self._start_ready()
        except (errors.Unavailable, errors.StorageFull) as error:
            log.warning("jobs.claim_failed", queue=str(self._queue), error=error.detail)
            wait = _TROUBLE_SECONDS
        if wait != 0.0:
            await self._ear.wait(3600.0 if wait is None else wait)

    async def _is_paused(self) -> bool:
        """As of at most half a second ago; whoever pauses or resumes rings the bell."""
        now = time.monotonic()
        if self._pause or now - self._pause_seen > _PAUSE_SECONDS:
            self._pause = await presence.is_paused(self._runtime.db, self._queue)
            self._pause_seen = now
        return self._pause

    def _start_ready(self) -> None:
        """Open as many lanes as there are jobs that may start now."""
        while self._may_start() and len(self._lanes) < self._concurrency:
            if len(self._lanes) > len(self._running):
                return  # a lane that is about to look takes it
            lane = asyncio.create_task(self._run_lane())
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)

    def _may_start(self) -> bool:
        """Whether a ready job may run beside those that do; not after a stop."""
        if not self._ready or self._is_stopping:
            return False
        return self._intake.may_start(len(self._running), self._unwritten)

    async def _run_lane(self) -> None:
        """Run ready jobs until there is none; lets the loop breathe between very short ones."""
        lane = asyncio.current_task()
        assert lane is not None  # noqa: S101 - a coroutine of create_task has a task
        breathed = time.perf_counter()
        while self._may_start():
            job = self._ready.popleft()
            self._running[_start(job)] = (lane, job)
            self._start_ready()  # a lane beside this one, if there is more
            try:
                with tracing.attempt(job):
                    outcome = await self._run_job(job)
                self._note(job, outcome)
            finally:
                self._left(job)
            if time.perf_counter() - breathed > _BREATH_SECONDS:
                await asyncio.sleep(0)
                breathed = time.perf_counter()
        self._lanes.discard(lane)  # now, not when the loop comes round: it takes no more

    def _left(self, job: JobRow) -> None:
        self._running.pop(_start(job), None)
        self._intake.free(job)
        if self._is_stopping or self._intake.wants(len(self._ready), len(self._running)):
            self._ear.ring()

    async def _run_job(self, job: JobRow) -> Outcome:
        """One attempt, from Huey's signal that it starts to the noted outcome."""
        started = time.perf_counter()
        kind = self._kinds.get(job.kind)
        failure: BaseException | None
        if kind is None:
            failure = GiveUp(f"there is no job kind {job.kind!r}")
            outcome = self._outcome(job, failure)
        else:
            failure = signals.starting(self._huey, kind, job=job)
            if failure is None:
                failure = await self._attempt(kind, job)
            outcome = self._outcome(job, failure)
            signals.ended(self._huey, kind, job=job, outcome=outcome, failure=failure)
        signals.account(job, outcome, seconds=time.perf_counter() - started)
        tracing.note(state=str(outcome.state))
        return outcome

    async def _attempt(self, kind: Any, job: JobRow) -> BaseException | None:
        """Run the handler; its error, or None."""
        ctx = JobContext(self._runtime, job, bench=self._bench, pool=kind.pool)
        ends_at = self._loop_time() + job.timeout_seconds
        limit: Limit | None = None
        try:
            payload = job.payload
            if kind.sealed:
                payload = open_payload(payload, kind.sealed, keys=self._runtime.keys, job_id=job.id)
            handler = kind.handler(ctx, **payload)
            if (rest := begin(handler)) is not None:  # else it is over, and no timer was needed
                with self._deadlines.until(ends_at) as limit:
                    await rest
        except (errors.Unavailable, errors.StorageFull) as error:
            return Snooze(error.detail, seconds=_TROUBLE_SECONDS)
        except TimeoutError as error:
            if limit is not None and limit.expired:
                return TimeoutError(f"timed out after {job.timeout_seconds:g} s")
            return error
        except asyncio.CancelledError as error:
            if _start(job) in self._dropped:
                return Cancelled("it was cancelled while it ran")
            if self._running[_start(job)][0].cancelling():
                raise  # a drain: the job goes back to its queue
            return error  # of something that the handler waited for
        except BaseException as error:  # a handler may raise anything; the ledger keeps it
            return as_ours(error)
        finally:
            if _start(job) in self._dropped:
                self._dropped.discard(_start(job))
                self._running[_start(job)][0].uncancel()  # the lane goes on with the next job
        return None

    def _outcome(self, job: JobRow, failure: BaseException | None) -> Outcome:
        return outcome_of(
            failure,
            attempt=job.attempt - job.lapses,
            max_attempts=job.max_attempts,
            backoff=job.backoff,
        )

    def _note(self, job: JobRow, outcome: Outcome) -> None:
        """Queue the outcome for the next batch; what ends while one is written joins the next."""
        self._ended.append((job, outcome))
        self._unwritten += 1
        # A second one only for a batch that is worth its round trip.
        if not self._writers or (len(self._writers) < _WRITERS and self._is_batch()):
            writer = asyncio.create_task(self._write())
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)

    def _is_batch(self) -> bool:
        return len(self._ended) >= self._intake.outcomes_at_once

    async def _write(self) -> None:
        while self._ended:
            most = self._intake.outcomes_at_once
            await asyncio.sleep(0)  # who ends in this turn of the loop joins the batch
            joined = 0
            while joined < len(self._ended) < most and self._may_start():
                joined = len(self._ended)  # very short jobs: more of them end with every turn
                await asyncio.sleep(0)
            batch, self._ended = self._ended[:most], self._ended[most:]
            await self._write_batch(batch)
            self._unwritten -= len(batch)
            self._start_ready()
            if any(outcome.state in CLAIMABLE_STATES for _, outcome in batch):
                self._ear.ring()  # a look from before the write does not tell when they are due
        if (writer := asyncio.current_task()) is not None:
            self._writers.discard(writer)  # now, as a lane does

    async def _write_batch(self, batch: list[tuple[JobRow, Outcome]]) -> None:
        """Until it is written; repeating is harmless, each row is fenced by its claim."""
        while True:
            try:
                return await self._ledger.finish(batch)
            except errors.Error as error:
                log.warning("jobs.finish_failed", jobs=len(batch), error=error.detail)
                await asyncio.sleep(_TROUBLE_SECONDS)
            except Exception:  # ours to mend; their leases lapse, and they run once more
                log.exception("jobs.outcomes_lost", jobs=[job.id for job, _ in batch])
                return None

    async def _watch(self) -> None:
        """Renew leases in time; end jobs that were cancelled or taken over."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(until_next(self._watch_seconds))
            with suppress(errors.Error):
                await self._ledger.tidy()
            held = [*(job for _, job in self._running.values()), *self._ready]
            if not held:
                continue
            with suppress(errors.Error):
                if time.monotonic() - renewed >= self._renew_seconds:
                    lost = await self._ledger.renew(held)
                    renewed = time.monotonic()
                else:
                    lost = await self._ledger.lost(held)
                for job in lost:
                    self._drop(job)

    def _drop(self, job: JobRow) -> None:
        """Stop it, if it is still here; what somebody else holds by now no word of ours changes."""
        start = _start(job)
        if start in self._running and start not in self._dropped:
            log.warning("job.stopped", jobId=job.id, reason="cancelled, or its lease was lost")
            self._dropped.add(start)
            self._running[start][0].cancel()
        elif job in self._ready:
            self._ready.remove(job)
            self._intake.free(job)
            self._note(job, Outcome(State.CANCELLED, reason="it was cancelled before it started"))

    async def _beat(self) -> None:
        while True:
            with suppress(errors.Error):
                await presence.beat(self._runtime.db, self._queue, owner=self._owner)
            await asyncio.sleep(presence.BEAT_SECONDS)

    async def _return_ready(self) -> None:
        """Give back what was claimed and not started."""
        waiting, self._ready = list(self._ready), deque()
        if not waiting:
            return
        try:
            await self._ledger.give_back(waiting)
        except errors.Error:
            self._ready.extend(waiting)  # still ours, and renewed
            raise
        for job in waiting:
            self._intake.free(job)

    async def _drain(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with suppress(errors.Error):
            await self._return_ready()
        if self._lanes:
            await asyncio.wait(self._lanes, timeout=seconds)
        left = list(self._running.values())
        for lane, _ in left:
            lane.cancel()
        if left:
            await asyncio.wait({lane for lane, _ in left}, timeout=_TROUBLE_SECONDS)
            # One that ended after all has its outcome, which must not be undone.
            cut_off = [job for lane, job in left if not lane.done() or lane.cancelled()]
            with suppress(errors.Error):
                await self._ledger.give_back(cut_off)
        if self._writers:
            rest = max(_TROUBLE_SECONDS, deadline - time.monotonic())
            await asyncio.wait(self._writers, timeout=rest)
        with suppress(errors.Error):
            await self._ledger.tidy()
            await presence.leave(self._runtime.db, owner=self._owner)


def _start(job: JobRow) -> Start:
    return job.id, job.claim
