"""Use cases on deliveries: try one at once, replay one, recover many.

Whether the caller may is for the caller of these to ask.
"""

from datetime import datetime, timedelta

import msgspec

from novapulse.core import wire
from novapulse.core.clock import rfc3339
from novapulse.core.context import Context, Transaction
from novapulse.core.documents import from_document
from novapulse.core.errors import Invalid, NotFound, TransientConflict
from novapulse.core.events import EVENTS
from novapulse.core.ids import new_id
from novapulse.core.mongo import Document, Duplicate
from novapulse.core.outbound import OutboundClient
from novapulse.deliveries import planner, sending, store
from novapulse.deliveries.model import (
    MOST_RECOVERED_DAYS,
    AnswerClass,
    Attempt,
    Delivery,
    DeliveryState,
    NotReplayable,
    Trigger,
    WebhookInactive,
    WebhookTested,
)
from novapulse.deliveries.store import ATTEMPTS, DELIVERIES, DeliveryLog
from novapulse.subscriptions.model import Subscription
from novapulse.subscriptions.store import SubscriptionStore


async def send_test(ctx: Context, webhook_id: str) -> Attempt:
    """Send `webhook.test` now, whatever the webhook asked for, and log it.

    There is one attempt, also to a paused or disabled webhook.

    Raises NotFound.
    """
    subscription = await SubscriptionStore(ctx.read()).get(webhook_id)
    at, event_id, delivery_id = ctx.now(), new_id("evt"), new_id("dlv")
    errand = sending.Errand(delivery_id, webhook_id, event_id, WebhookTested.type, 1, Trigger.TEST)
    opened = sending.Opened(ctx.runtime.keys, subscription, now=at)
    body = _test_body(subscription, event_id=event_id, at=at)
    request = sending.request_of(opened, errand, body=body, at=at)
    answer = await sending.send(ctx.runtime.feature(OutboundClient), request)
    log = DeliveryLog(ctx.runtime)
    row = sending.attempt_row(
        errand,
        answer,
        result=sending.judge(answer),
        company_id=ctx.company_id,
        key_id=opened.key_id,
        at=at,
        keep=log.keep_attempts,
    )
    await _log_test(ctx, log, row)
    return from_document(row, Attempt)


def _test_body(subscription: Subscription, *, event_id: str, at: datetime) -> bytes:
    """As every payload; it has no place in the company's sequence."""
    payload = {
        "id": event_id,
        "event": WebhookTested.type,
        "version": WebhookTested.version,
        "createdAt": at,
        "companyId": subscription.company_id,
        "sequence": 0,
        "data": {WebhookTested.resource: subscription.webhook},
    }
    return wire.encode(payload)


async def _log_test(ctx: Context, log: DeliveryLog, row: Document) -> None:
    is_ok = row["class"] == AnswerClass.OK
    delivery = Delivery(
        id=row["deliveryId"],
        event_id=row["eventId"],
        event=row["event"],
        webhook_id=row["webhookId"],
        trigger=Trigger.TEST,
        state=DeliveryState.DELIVERED if is_ok else DeliveryState.EXHAUSTED,
        attempts=1,
        status=row["status"],
        result=AnswerClass(row["class"]),
        reason=row["error"],
        created_at=row["createdAt"],
        updated_at=row["createdAt"],
    )
    await log.add_deliveries([(ctx.company_id, delivery)])
    await ctx.runtime.db.platform(ATTEMPTS).insert(row)


async def replay(ctx: Context, delivery_id: str) -> Delivery:
    """Deliver its event once more: a new delivery of the same event, with attempts of its own.

    Nothing else of the event is touched, a scheduled retry least of all. For a
    webhook that is not active it is held.

    Raises:
        NotFound: there is no such delivery, or its webhook was deleted.
        NotReplayable: its event is no longer kept, or was only a test.
    """
    async with ctx.transaction() as tx:
        found = await tx.rows(DELIVERIES).find_one({"_id": delivery_id})
        if found is None:
            raise NotFound("There is no such delivery")
        former = from_document(found, Delivery)
        subscription = await SubscriptionStore(tx).get(former.webhook_id)
        if not await store.bodies(tx.rows(EVENTS), [former.event_id]):
            raise NotReplayable()
        number = await _highest_replay(tx, former) + 1
        made = planner.again(former, replay=number, trigger=Trigger.REPLAY, at=ctx.now())
        if not subscription.webhook.is_active:
            await store.rely_on(tx, subscription.webhook)
            made = msgspec.structs.replace(made, state=DeliveryState.HELD)
        return await _add(ctx, tx, made=made, retries=subscription.webhook.retries)


async def _highest_replay(tx: Transaction, delivery: Delivery) -> int:
    where = {"eventId": delivery.event_id, "webhookId": delivery.webhook_id}
    found = await tx.rows(DELIVERIES).find(
        where, sort=(("replay", -1),), limit=1, hint=store.ONCE, projection={"replay": 1}
    )
    return int(found[0]["replay"])


async def _add(ctx: Context, tx: Transaction, *, made: Delivery, retries: int) -> Delivery:
    try:
        row = DeliveryLog(ctx.runtime).row(tx.company_id, made)
        await tx.rows(DELIVERIES).insert(row)
    except Duplicate as error:  # another replay of the same was quicker: this one is the next
        raise TransientConflict() from error
    if made.state is DeliveryState.PENDING:
        tx.plan(
            planner.deliver_job(
                ctx.runtime,
                made,
                company_id=tx.company_id,
                retries=retries,
                request_id=ctx.request_id,
            )
        )
    return made


async def recover(
    ctx: Context, webhook_id: str, *, since: datetime, until: datetime | None = None
) -> str:
    """Replay what failed for good between two moments, at a quarter of the webhook's share.

    Returns the id of the job that does it and shows how far it is; while one
    runs for the webhook, that one's.

    Raises:
        NotFound: there is no such webhook.
        WebhookInactive: it is paused or disabled.
        Invalid: `since` is more than 14 days ago, or not before `until`.
    """
    now = ctx.now()
    until = min(until or now, now)
    if since < now - timedelta(days=MOST_RECOVERED_DAYS):
        raise Invalid.field("since", f"is more than {MOST_RECOVERED_DAYS} days ago")
    if since >= until:
        raise Invalid.field("since", "must lie before `until`, and that not in the future")
    async with ctx.transaction() as tx:
        subscription = await SubscriptionStore(tx).get(webhook_id)
        if not subscription.webhook.is_active:
            raise WebhookInactive()
        payload = {"webhook_id": webhook_id, "since": rfc3339(since), "until": rfc3339(until)}
        return await tx.enqueue(planner.RECOVER, payload, key=webhook_id)
