"""What the consumer of the webhook queue keeps: way out, shares, circuits, outcomes to write."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from novapulse.core import errors
from novapulse.core.context import Runtime
from novapulse.core.events import EVENTS
from novapulse.core.jobs.kinds import Queue
from novapulse.core.jobs.rows import JobRow
from novapulse.core.jobs.states import Outcome, State
from novapulse.core.mongo import Document
from novapulse.core.tasks import end_all
from novapulse.core.telemetry import metrics
from novapulse.deliveries import planner, store
from novapulse.deliveries.model import AnswerClass, DeliveryState, LastAnswer
from novapulse.deliveries.store import DeliveryLog, Ending
from novapulse.dispatch.board import Board
from novapulse.dispatch.health import Keeper
from novapulse.dispatch.intake import LaneIntake
from novapulse.dispatch.queue import LaneLedger, event_ids
from novapulse.dispatch.targets import Targets

Key = tuple[str, str]  # a job's id, and the claim that it runs under
_COUNTED_OUT = (AnswerClass.BLOCKED, AnswerClass.GONE)


class Dispatcher:
    """One of it in a consumer of the webhook queue."""

    def __init__(self, runtime: Runtime) -> None:
        self.log = DeliveryLog(runtime)
        self.board = Board()
        self.targets = Targets(runtime, self.board)
        self.keeper = Keeper(runtime, self.targets.vitals)
        self.bodies: dict[Key, Document] = {}
        self.endings: dict[Key, Ending] = {}
        self._runtime = runtime
        self._keeping: asyncio.Task[None] | None = None

    def worker_parts(self, *, owner: str, concurrency: int, lease_seconds: float) -> dict[str, Any]:
        """The ledger and the intake of the worker that this dispatcher serves.

        To be called in the running loop; from then on it keeps the webhooks' health.
        """
        self._keeping = asyncio.create_task(self.keeper.keep())
        ledger = DeliveryLedger(self, self._runtime, owner=owner, lease_seconds=lease_seconds)
        intake = LaneIntake(
            self._runtime,
            ledger,
            concurrency=concurrency,
            board=self.board,
            targets=self.targets,
        )
        return {"ledger": ledger, "intake": intake}

    def judged(self, webhook_id: str, answer: LastAnswer, *, begun: float) -> None:
        """Let circuit, cap and health of the webhook know of an answer."""
        seat = self.board.seats.get(webhook_id)
        vitals = self.targets.vitals.get(webhook_id)
        if seat is None or vitals is None:
            return
        now = answer.at.timestamp()
        if answer.result is AnswerClass.OK:
            seat.cap.succeeded(limit=self.board.per_webhook)
            seat.breaker.succeeded(now)
            vitals.succeeded(answer)
            return
        vitals.failed(answer)
        if answer.result is AnswerClass.BLOCKED:
            vitals.was_opened = True  # worth telling at once, although no circuit opens
            seat.breaker.abandon()
        elif answer.result is AnswerClass.GONE:
            vitals.disable_as = "gone"
            seat.is_ending = True
        else:
            self._count_failure(webhook_id, answer, now=now, begun=begun)

    def _count_failure(
        self, webhook_id: str, answer: LastAnswer, *, now: float, begun: float
    ) -> None:
        seat, vitals = self.board.seats[webhook_id], self.targets.vitals[webhook_id]
        if answer.result is AnswerClass.THROTTLED:
            seat.cap.throttled(now, limit=self.board.per_webhook, begun=begun)
        before = seat.breaker.open_until
        seat.breaker.failed(now)
        if seat.breaker.open_until != before:
            vitals.circuit(seat.breaker.opened_at, seat.breaker.open_until, clock=answer.at)

    async def aclose(self) -> None:
        """Write what is not written yet of the webhooks' health."""
        if self._keeping is not None:
            await end_all((self._keeping,))
        with suppress(errors.Error):
            await self.keeper.flush()


class DeliveryLedger(LaneLedger):
    """Brings the bodies along with a claim, and writes attempts and deliveries before outcomes."""

    def __init__(
        self, dispatcher: Dispatcher, runtime: Runtime, *, owner: str, lease_seconds: float
    ) -> None:
        super().__init__(runtime.db, Queue.WEBHOOK, owner=owner, lease_seconds=lease_seconds)
        self._dispatcher = dispatcher
        self._runtime = runtime
        self._events = runtime.db.brief(EVENTS)
        self._clock = runtime.clock

    async def claim(self, candidates: Sequence[Document]) -> list[JobRow]:
        """Their bodies are read meanwhile: seldom is another dispatcher quicker with some."""
        jobs, found = await asyncio.gather(
            super().claim(candidates), self._read_bodies(candidates), return_exceptions=True
        )
        if isinstance(jobs, BaseException):
            raise jobs
        if isinstance(found, BaseException):
            if jobs:  # else they wait for their lease to lapse
                self._doubt(jobs[0].claim, candidates)
            raise found
        for job in jobs:
            if (row := found.get(job.payload.get("event_id", ""))) is not None:
                self._dispatcher.bodies[job.id, job.claim] = row
        return jobs

    async def _read_bodies(self, candidates: Sequence[Document]) -> dict[str, Document]:
        ids = event_ids(candidates)
        return await store.bodies(self._events, ids) if ids else {}

    async def finish(self, ended: Sequence[tuple[JobRow, Outcome]]) -> None:
        """First what happened, then that its job is over: a repeat changes nothing."""
        endings = self._dispatcher.endings
        told = [(job, ending) for job, out in ended if (ending := self._ending(job, out))]
        if told:
            await self._dispatcher.log.record([ending for _, ending in told])
        held = [job for job, ending in told if ending.state is DeliveryState.HELD]
        if held:
            await self._release_late(held)
        await super().finish(ended)
        for job, _ in ended:
            endings.pop((job.id, job.claim), None)
            self._dispatcher.bodies.pop((job.id, job.claim), None)
        metrics.webhook_in_flight.set(self._dispatcher.board.in_flight)

    async def _release_late(self, held: Sequence[JobRow]) -> None:
        """A webhook that was resumed while we held something for it: its release may be over."""
        company_of = {job.payload["webhook_id"]: job.company_id for job in held}
        resumed = sorted(await self._dispatcher.log.active(list(company_of)))
        if not resumed:
            return
        await self._dispatcher.targets.reload(resumed)
        jobs = [planner.settle_job(self._runtime, one, company_of[one]) for one in resumed]
        await self._rows.insert_missing(jobs)
        self._runtime.bell.ring(self._queue)

    def _ending(self, job: JobRow, outcome: Outcome) -> Ending | None:
        found = self._dispatcher.endings.get((job.id, job.claim))
        if found is not None or outcome.state is not State.DEAD or job.kind != planner.DELIVER:
            return found
        return Ending(  # by an error of ours: nothing will try it again
            delivery_id=job.payload["delivery_id"],
            number=job.payload.get("before", 0) + job.attempt,
            holds=job.payload.get("holds", 0),
            state=DeliveryState.EXHAUSTED,
            at=self._clock(),
            reason=outcome.reason,
        )

    async def give_back(self, jobs: Sequence[JobRow]) -> None:
        await super().give_back(jobs)
        for job in jobs:
            self._dispatcher.bodies.pop((job.id, job.claim), None)
