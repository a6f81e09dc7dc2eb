"""One attempt of a delivery: load, sign, send, judge, record."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
import structlog

from novapulse.core.batch import Batcher
from novapulse.core.context import Runtime
from novapulse.core.errors import NotFound, Unavailable
from novapulse.core.exchange import OutboundAnswer, OutboundFailure, OutboundRequest
from novapulse.core.ids import derived_id
from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.states import GiveUp, Retry, Snooze
from novapulse.core.outbound import OutboundClient
from novapulse.core.telemetry import metrics
from novapulse.webhooks import answers, service, signing
from novapulse.webhooks.model import (
    AnswerClass,
    Attempt,
    AttemptTimings,
    DeliveryState,
    Subscription,
)
from novapulse.webhooks.planner import delivery_log
from novapulse.webhooks.store import WebhookStore

log = structlog.get_logger("webhooks")
_INFRA_SECONDS = 5.0
_RECORD_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Errand:
    """Which event goes where; the payload of a `webhook.deliver` job."""

    delivery_id: str
    webhook_id: str
    event_id: str
    event_type: str


class Dispatcher:
    """What the consumer of the webhook queue keeps: the client and the batched log."""

    def __init__(self, runtime: Runtime, client: OutboundClient) -> None:
        self.client = client
        self.log = delivery_log(runtime)
        self.attempts: Batcher[tuple[str, Attempt]] = Batcher(self.log.add_attempts)


async def deliver(ctx: JobContext, errand: Errand) -> None:
    """Send one attempt and record it.

    Raises:
        Retry: it failed and may be tried again, at the schedule or the receiver's Retry-After.
        GiveUp: no attempt can help: the receiver is gone or not allowed.
        Snooze: the fault is ours; no attempt is spent.
    """
    dispatcher = ctx.runtime.feature(Dispatcher)
    webhooks = WebhookStore(ctx.read())
    try:
        subscription = await webhooks.get(errand.webhook_id)
    except NotFound as error:
        await dispatcher.log.set_state(errand.delivery_id, DeliveryState.DISCARDED, ctx.now())
        raise GiveUp("the webhook was deleted") from error
    body = await webhooks.find_body(errand.event_id)
    if body is None:
        await dispatcher.log.set_state(errand.delivery_id, DeliveryState.DISCARDED, ctx.now())
        raise GiveUp("the event is no longer kept")
    request = _request(ctx, errand, subscription=subscription, body=body)
    answer: OutboundAnswer | OutboundFailure
    try:
        answer = await dispatcher.client.send(request)
    except OutboundFailure as error:
        answer = error
    result = _class_of(answer)
    if result is AnswerClass.INFRA:
        raise Snooze("our own way out does not work", seconds=_INFRA_SECONDS)
    attempt = _attempt(ctx, errand, answer=answer, result=result)
    _account(attempt)
    await _recorded(lambda: dispatcher.attempts.add((subscription.company_id, attempt)))
    await _conclude(ctx, dispatcher, attempt)


async def _recorded(write: Callable[[], Awaitable[None]]) -> None:
    """What was sent is not sent again because the database is away: write until it is back."""
    while True:
        try:
            await write()
            return
        except Unavailable:
            await asyncio.sleep(_RECORD_AGAIN_SECONDS)


def _request(
    ctx: JobContext, errand: Errand, *, subscription: Subscription, body: bytes
) -> OutboundRequest:
    headers = signing.sign(
        service.open_secrets(ctx, subscription),
        event_id=errand.event_id,
        timestamp=int(time.time()),
        body=body,
    )
    headers |= {
        "Content-Type": "application/json",
        "X-NovaPulse-Event": errand.event_type,
        "X-NovaPulse-Webhook-Id": errand.webhook_id,
        "X-NovaPulse-Delivery": errand.delivery_id,
        "X-NovaPulse-Attempt": str(ctx.job.attempt),
    }
    webhook = subscription.webhook
    return OutboundRequest("POST", webhook.url, headers, body, float(webhook.timeout_seconds))


def _class_of(answer: OutboundAnswer | OutboundFailure) -> AnswerClass:
    if isinstance(answer, OutboundAnswer):
        return answers.classify(answer.status, answer.headers)
    if answer.kind == "blocked":
        return AnswerClass.BLOCKED
    return AnswerClass.INFRA if answer.kind == "proxy" else AnswerClass.TRANSIENT


def _attempt(
    ctx: JobContext,
    errand: Errand,
    *,
    answer: OutboundAnswer | OutboundFailure,
    result: AnswerClass,
) -> Attempt:
    got = answer if isinstance(answer, OutboundAnswer) else None
    return Attempt(
        id=derived_id("att", errand.delivery_id, str(ctx.job.attempt)),
        delivery_id=errand.delivery_id,
        event_id=errand.event_id,
        event=errand.event_type,
        webhook_id=errand.webhook_id,
        attempt=ctx.job.attempt,
        result=result,
        status=got.status if got else None,
        error=None if isinstance(answer, OutboundAnswer) else f"{answer.kind}: {answer.detail}",
        peer_ip=answer.peer_ip,
        timings=AttemptTimings(*msgspec.structs.astuple(answer.timings)),
        headers=dict(got.headers) if got else {},
        body=got.body.decode("utf-8", "replace") if got else "",
        truncated=got.truncated if got else False,
        created_at=ctx.now(),
    )


def _account(attempt: Attempt) -> None:
    metrics.webhook_attempts_total.labels(str(attempt.result)).inc()
    log.info(
        "webhook.attempt",
        deliveryId=attempt.delivery_id,
        eventId=attempt.event_id,
        webhookId=attempt.webhook_id,
        attempt=attempt.attempt,
        answer=str(attempt.result),
        status=attempt.status,
        error=attempt.error,
        seconds=round(attempt.timings.total_ms / 1000, 6),
    )


async def _conclude(ctx: JobContext, dispatcher: Dispatcher, attempt: Attempt) -> None:
    """Move the delivery on and tell the job engine, by its exceptions, what comes next."""
    job = ctx.job
    is_last = job.attempt - job.lapses >= job.max_attempts
    state = _next_state(attempt.result, is_last=is_last)
    at = ctx.now()
    await _recorded(lambda: dispatcher.log.set_state(attempt.delivery_id, state, at))
    if state is DeliveryState.DELIVERED:
        if attempt.attempt == 1:
            waited = (ctx.now() - job.created_at).total_seconds()
            metrics.webhook_latency_seconds.observe(max(0.0, waited))
        return
    reason = attempt.error or f"answered {attempt.status}"
    if state is DeliveryState.DISCARDED:
        raise GiveUp(f"{attempt.result}: {reason}")
    asked = answers.retry_after_seconds(attempt.headers.get("retry-after"), ctx.now())
    if attempt.result is not AnswerClass.THROTTLED or asked is None:
        raise Retry(reason)
    raise Retry(reason, after_seconds=max(asked, job.backoff.delay_seconds(job.attempt)))


def _next_state(result: AnswerClass, *, is_last: bool) -> DeliveryState:
    if result is AnswerClass.OK:
        return DeliveryState.DELIVERED
    if result in answers.FINAL:
        return DeliveryState.DISCARDED
    return DeliveryState.EXHAUSTED if is_last else DeliveryState.RETRY
