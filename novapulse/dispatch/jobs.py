"""The job kind that carries deliveries: load, sign, send, judge, decide what comes next."""

from datetime import datetime, timedelta

from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.kinds import Queue, job
from novapulse.core.jobs.states import Cancelled, GiveUp, Retry, Snooze
from novapulse.core.mongo import Document
from novapulse.core.outbound import OutboundClient
from novapulse.core.telemetry import logs, metrics, tracing
from novapulse.deliveries import answers, sending
from novapulse.deliveries.model import (
    MAX_BODY_BYTES,
    TOO_LARGE,
    AnswerClass,
    DeliveryState,
    Trigger,
)
from novapulse.deliveries.planner import DELIVER
from novapulse.deliveries.sending import Answer, Errand, Opened
from novapulse.deliveries.store import Ending
from novapulse.dispatch.dispatcher import Dispatcher

_INFRA_SECONDS = 5.0
_UNKNOWN_SECONDS = 1.0
_LONGEST_SECONDS = 60


@job(DELIVER, queue=Queue.WEBHOOK, timeout_seconds=_LONGEST_SECONDS)
async def deliver(
    ctx: JobContext,
    *,
    delivery_id: str,
    webhook_id: str,
    event_id: str,
    event_type: str,
    trigger: str = Trigger.EVENT,
    before: int = 0,
    holds: int = 0,
) -> None:
    """Send one event to one webhook; the receiver deduplicates by `webhook-id`.

    `before` counts the attempts that earlier jobs of the delivery made.

    Raises:
        Retry: it failed and may be tried again, at the schedule or the receiver's Retry-After.
        GiveUp: no attempt can help: the receiver is gone or not allowed.
        Cancelled: nothing is to be sent: the webhook is paused, or was deleted.
        Snooze: the fault is ours; no attempt is spent.
    """
    number = before + ctx.job.attempt
    errand = Errand(delivery_id, webhook_id, event_id, event_type, number, Trigger(trigger))
    run = _Run(ctx, errand, holds)
    if ctx.job.lapses and await run.was_delivered():
        return
    opened, body = run.find_target(), run.take_body()
    await run.attempt(opened, body)


class _Run:
    """One start of a delivery's job."""

    __slots__ = ("_ctx", "_dispatcher", "_errand", "_holds")

    def __init__(self, ctx: JobContext, errand: Errand, holds: int) -> None:
        self._ctx = ctx
        self._errand = errand
        self._holds = holds
        self._dispatcher = ctx.runtime.feature(Dispatcher)

    async def was_delivered(self) -> bool:
        """A consumer died under this job, perhaps after it had recorded what came of it.

        Raises Cancelled or Snooze when it had, and that was no success.
        """
        row = await self._dispatcher.log.find(self._errand.delivery_id)
        if row is None or row.get("holds", 0) != self._holds:
            raise Cancelled("the delivery has another job by now")
        if row["attempts"] < self._errand.number - 1:
            return False
        if row["state"] == DeliveryState.RETRY:
            wait = (row["dueAt"] - self._ctx.now()).total_seconds()
            if wait > 0:
                raise Snooze("its last attempt failed", seconds=wait)
        elif row["state"] not in (DeliveryState.PENDING, DeliveryState.DELIVERED):
            raise Cancelled(f"the delivery was {row['state']} when its consumer ended")
        return bool(row["state"] == DeliveryState.DELIVERED)

    def find_target(self) -> Opened:
        """Raises Cancelled unless the webhook is there and active; Snooze while it is not known."""
        targets, webhook_id = self._dispatcher.targets, self._errand.webhook_id
        opened = targets.find(webhook_id)
        if opened is None:
            if not targets.is_known(webhook_id):
                raise Snooze("its webhook was not read yet", seconds=_UNKNOWN_SECONDS)
            self._end(DeliveryState.DISCARDED, reason="the webhook was deleted")
            raise Cancelled("the webhook was deleted")
        state = opened.subscription.webhook.state
        if not opened.subscription.webhook.is_active:
            self._end(DeliveryState.HELD, reason=None)
            raise Cancelled(f"the webhook is {state}")
        return opened

    def take_body(self) -> Document:
        """The event's row with `body` and `createdAt`."""
        found = self._dispatcher.bodies.pop((self._ctx.job.id, self._ctx.job.claim), None)
        if found is None:
            self._end(DeliveryState.DISCARDED, reason="the event is no longer kept")
            raise GiveUp("the event is no longer kept")
        if len(found["body"]) > MAX_BODY_BYTES:  # every attempt, replay and recovery comes by here
            self._end(DeliveryState.DISCARDED, reason=TOO_LARGE)
            raise GiveUp(TOO_LARGE)
        return found

    async def attempt(self, opened: Opened, event: Document) -> None:
        ctx, errand, dispatcher = self._ctx, self._errand, self._dispatcher
        begun = ctx.now()
        request = sending.request_of(opened, errand, body=bytes(event["body"]), at=begun)
        with tracing.span("webhook attempt", is_call=True, **errand.ids()):
            answer = await sending.send(ctx.runtime.feature(OutboundClient), request)
            result = sending.judge(answer)
            tracing.note(answer=result.value)
        if result is AnswerClass.INFRA:
            raise Snooze("our own way out does not work", seconds=_INFRA_SECONDS)
        at = ctx.now()
        dispatcher.judged(
            errand.webhook_id,
            sending.last_answer(answer, result, at=at),
            begun=begun.timestamp(),
        )
        row = sending.attempt_row(
            errand,
            answer,
            result=result,
            company_id=ctx.company_id,
            key_id=opened.key_id,
            at=begun,
            keep=dispatcher.log.keep_attempts,
        )
        self._account(row, event["createdAt"], at)
        if result is not AnswerClass.OK and dispatcher.targets.is_old:
            await dispatcher.targets.refresh()  # it may have been paused while we waited
        self._conclude(answer, result, row=row, at=at)

    def _account(self, row: Document, recorded_at: datetime, at: datetime) -> None:
        metrics.webhook_attempt(row["class"]).inc()
        if row["attempt"] == 1:
            waited = (at - recorded_at).total_seconds()
            metrics.webhook_latency_seconds.observe(max(0.0, waited))
        logs.write(
            "webhook.attempt",
            deliveryId=row["deliveryId"],
            eventId=row["eventId"],
            webhookId=row["webhookId"],
            attempt=row["attempt"],
            answer=row["class"],
            status=row["status"],
            error=row["error"],
            seconds=row["timings"]["totalMs"] / 1000,
        )

    def _conclude(
        self, answer: Answer, result: AnswerClass, *, row: Document, at: datetime
    ) -> None:
        """Note what becomes of the delivery; exceptions tell the job engine what comes next."""
        job = self._ctx.job
        if result is AnswerClass.OK:
            self._end(DeliveryState.DELIVERED, row=row, at=at)
            return
        reason = sending.reason_of(answer)
        if result in answers.FINAL:
            self._end(DeliveryState.DISCARDED, row=row, reason=reason, at=at)
            raise GiveUp(f"{result}: {reason}")
        if job.attempt - job.lapses >= job.max_attempts:
            self._end(DeliveryState.EXHAUSTED, row=row, reason=reason, at=at)
            raise Retry(reason)  # the last one: the job is dead
        targets, webhook_id = self._dispatcher.targets, self._errand.webhook_id
        opened = targets.find(webhook_id)
        is_active = opened is not None and opened.subscription.webhook.is_active
        if targets.is_known(webhook_id) and not is_active:
            state = DeliveryState.DISCARDED if opened is None else DeliveryState.HELD
            self._end(state, row=row, reason=reason, at=at)
            raise Cancelled(f"the delivery is {state}: its webhook is no longer active")
        delay = self._delay_seconds(answer, result)
        due_at = at + timedelta(seconds=delay)
        self._end(DeliveryState.RETRY, row=row, reason=reason, at=at, due_at=due_at)
        raise Retry(reason, after_seconds=delay)

    def _delay_seconds(self, answer: Answer, result: AnswerClass) -> float:
        headers = {} if isinstance(answer, Exception) else answer.headers
        return answers.delay_seconds(
            self._errand.number - self._ctx.job.lapses,
            result,
            retry_after=headers.get("retry-after"),
            now=self._ctx.now(),
        )

    def _end(
        self,
        state: DeliveryState,
        *,
        row: Document | None = None,
        reason: str | None = None,
        at: datetime | None = None,
        due_at: datetime | None = None,
    ) -> None:
        """To be written with the next batch, before the job's own end."""
        job = self._ctx.job
        self._dispatcher.endings[job.id, job.claim] = Ending(
            delivery_id=self._errand.delivery_id,
            number=self._errand.number,
            holds=self._holds,
            state=state,
            at=at or self._ctx.now(),
            attempt=row,
            status=row["status"] if row else None,
            result=row["class"] if row else None,
            reason=reason,
            due_at=due_at,
        )
