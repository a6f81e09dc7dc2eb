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
from novapulse.core.context import Runtime
from novapulse.core.jobs import presence, signals
from novapulse.core.jobs.bell import Ear
from novapulse.core.jobs.context import JobContext, Workbench
from novapulse.core.jobs.intake import Intake
from novapulse.core.jobs.kinds import Pool, Queue, hueys
from novapulse.core.jobs.ledger import Ledger
from novapulse.core.jobs.rows import JobRow, open_payload
from novapulse.core.jobs.states import (
    MAX_LAPSES,
    Cancelled,
    GiveUp,
    Outcome,
    Snooze,
    outcome_of,
)

log = structlog.get_logger("jobs")
_TROUBLE_SECONDS = 1.0
_WATCH_SECONDS = 1.0
_PAUSE_SECONDS = 0.5
_UNWRITTEN = 4


class Worker:
    """Runs one queue's jobs, `concurrency` at a time, until `stop` is called.

    What a crash can make run twice are the running jobs and those that ended
    while the last batch was written: seldom more than run, never more than
    `_UNWRITTEN` times as many.
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
    ) -> None:
        self._runtime = runtime
        self._queue = queue
        self._huey = hueys[queue]
        self._kinds: dict[str, Any] = self._huey._registry._registry
        self._owner = owner
        self._concurrency = concurrency
        self._renew_seconds = lease_seconds / 3
        self._ledger = Ledger(runtime.db, queue, owner=owner, lease_seconds=lease_seconds)
        self._bench = Workbench(self._ledger, make_pool)
        self._intake = Intake(self._ledger, concurrency=concurrency)
        self._ear = Ear(runtime.cache, (str(queue),))
        self._ready: deque[JobRow] = deque()
        self._running: dict[str, tuple[asyncio.Task[None], JobRow]] = {}
        self._ended: list[tuple[JobRow, Outcome]] = []
        self._writing: asyncio.Task[None] | None = None
        self._unwritten = 0
        self._is_stopping = False
        self._dropped: set[str] = set()
        self._pause_seen = 0.0
        self._pause = False

    async def run(self, *, drain_seconds: float) -> None:
        """Claim and run until stopped, then drain."""
        helpers = [
            asyncio.create_task(part) for part in (self._ear.listen(), self._watch(), self._beat())
        ]
        try:
            while not self._is_stopping:
                await self._turn()
            await self._drain(drain_seconds)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
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
                claimed, wait = await self._intake.claim(len(self._ready), len(self._running))
                self._ready.extend(claimed)
                self._start_ready()
        except errors.Unavailable as error:
            log.warning("jobs.claim_failed", queue=str(self._queue), error=error.detail)
            wait = _TROUBLE_SECONDS
        if wait != 0.0:
            await self._ear.wait(3600.0 if wait is None else wait)

    async def _is_paused(self) -> bool:
        """As of at most half a second ago; whoever pauses or resumes rings the bell."""
        now = time.monotonic()
        if now - self._pause_seen > _PAUSE_SECONDS:
            self._pause = await presence.is_paused(self._runtime.db, self._queue)
            self._pause_seen = now
        return self._pause

    def _start_ready(self) -> None:
        """Fill the slots. A job that lost its consumers before runs alone, to be told apart."""
        while self._ready and self._unwritten < _UNWRITTEN * self._concurrency:
            is_suspect = self._ready[0].lapses >= MAX_LAPSES - 1
            limit = 1 if is_suspect or self._is_alone() else self._concurrency
            if len(self._running) >= limit:
                return
            job = self._ready.popleft()
            task = asyncio.create_task(self._run_job(job))
            self._running[job.id] = (task, job)
            task.add_done_callback(lambda _, job=job: self._left(job))  # type: ignore[misc]

    def _is_alone(self) -> bool:
        return len(self._running) == 1 and any(
            job.lapses >= MAX_LAPSES - 1 for _, job in self._running.values()
        )

    def _left(self, job: JobRow) -> None:
        self._running.pop(job.id, None)
        self._intake.free(job)
        if self._is_stopping:
            self._ear.ring()
            return
        self._start_ready()
        if self._intake.wants(len(self._ready), len(self._running)):
            self._ear.ring()

    async def _run_job(self, job: JobRow) -> None:
        """One attempt, from Huey's signal that it starts to the noted outcome."""
        started = time.perf_counter()
        kind = self._kinds.get(job.kind)
        if kind is None:
            failure: BaseException | None = GiveUp(f"there is no job kind {job.kind!r}")
            outcome = self._outcome(job, failure)
        else:
            task = kind(kwargs=job.payload, id=job.id, retries=job.max_attempts - job.attempt)
            signals.starting(self._huey, task)
            failure = await self._attempt(kind, job)
            outcome = self._outcome(job, failure)
            signals.ended(self._huey, task, outcome=outcome, failure=failure)
        signals.account(job, outcome, seconds=time.perf_counter() - started)
        self._note(job, outcome)

    async def _attempt(self, kind: Any, job: JobRow) -> BaseException | None:
        """Run the handler; its error, or None."""
        ctx = JobContext(self._runtime, job, bench=self._bench, pool=kind.pool)
        deadline = asyncio.timeout(job.timeout_seconds)
        try:
            payload = job.payload
            if kind.sealed:
                payload = open_payload(payload, kind.sealed, keys=self._runtime.keys, job_id=job.id)
            async with deadline:
                await kind.handler(ctx, **payload)
        except (errors.Unavailable, errors.StorageFull) as error:
            return Snooze(error.detail, seconds=_TROUBLE_SECONDS)
        except TimeoutError as error:
            if deadline.expired():
                return TimeoutError(f"timed out after {job.timeout_seconds:g} s")
            return error
        except asyncio.CancelledError:
            if job.id not in self._dropped:
                raise  # a drain: the job goes back to its queue
            self._dropped.discard(job.id)
            return Cancelled("it was cancelled while it ran")
        except Exception as error:  # a handler may raise anything; the ledger keeps it
            return error
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
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while self._ended:
            batch, self._ended = self._ended, []
            while True:
                try:
                    await self._ledger.finish(batch)
                    break
                except errors.Unavailable as error:
                    log.warning("jobs.finish_failed", jobs=len(batch), error=error.detail)
                    await asyncio.sleep(_TROUBLE_SECONDS)
            self._unwritten -= len(batch)
            self._start_ready()

    async def _watch(self) -> None:
        """Renew leases in time; end jobs that were cancelled or taken over."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            held = [*self._running, *(job.id for job in self._ready)]
            if not held:
                continue
            with suppress(errors.Unavailable):
                if time.monotonic() - renewed >= self._renew_seconds:
                    renewed = time.monotonic()
                    lost = await self._ledger.renew(held)
                else:
                    lost = await self._ledger.lost(held)
                self._drop(lost)

    def _drop(self, lost: set[str]) -> None:
        for job_id in lost & self._running.keys():
            task, job = self._running[job_id]
            log.warning("job.stopped", jobId=job.id, reason="cancelled, or its lease was lost")
            self._dropped.add(job_id)
            task.cancel()
        if lost:
            kept = [job for job in self._ready if job.id not in lost]
            for job in self._ready:
                if job.id in lost:
                    self._intake.free(job)
            self._ready = deque(kept)

    async def _beat(self) -> None:
        while True:
            with suppress(errors.Unavailable):
                await presence.beat(self._runtime.db, self._queue, owner=self._owner)
            await asyncio.sleep(presence.BEAT_SECONDS)

    async def _return_ready(self) -> None:
        """Give back what was claimed and not started."""
        waiting, self._ready = list(self._ready), deque()
        for job in waiting:
            self._intake.free(job)
        if waiting:
            await self._ledger.give_back(waiting)

    async def _drain(self, seconds: float) -> None:
        with suppress(errors.Unavailable):
            await self._return_ready()
        tasks = [task for task, _ in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        left = dict(self._running)
        for task, _ in left.values():
            task.cancel()
        if left:
            await asyncio.wait([task for task, _ in left.values()], timeout=1)
            with suppress(errors.Unavailable):
                await self._ledger.give_back([job for _, job in left.values()])
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=_TROUBLE_SECONDS)
        with suppress(errors.Unavailable):
            await presence.leave(self._runtime.db, owner=self._owner)
