"""From events to deliveries: every webhook that asked gets one, exactly once planned."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from novapulse.core.context import Runtime
from novapulse.core.events import EventRow, matches
from novapulse.core.ids import derived_id
from novapulse.core.jobs.kinds import Priority
from novapulse.core.jobs.rows import NewJob, Policy
from novapulse.core.mongo import Document
from novapulse.core.pump import Plan
from novapulse.deliveries import answers
from novapulse.deliveries.model import Delivery, DeliveryState, Trigger
from novapulse.deliveries.store import DELIVERIES, DeliveryLog, still_in
from novapulse.subscriptions.model import WebhookState
from novapulse.subscriptions.store import WEBHOOKS

DELIVER = "webhook.deliver"
SETTLE = "webhook.settle"
RECOVER = "webhook.recover"
_RECOVER_LANE = "/recover"


def lane_of(webhook_id: str, trigger: Trigger) -> str:
    """Where a delivery waits: recovered ones apart, so that they can be kept to their share."""
    return webhook_id + _RECOVER_LANE if trigger is Trigger.RECOVER else webhook_id


def webhook_of(lane: str) -> str:
    return lane.removesuffix(_RECOVER_LANE)


def is_recovery(lane: str) -> bool:
    return lane.endswith(_RECOVER_LANE)


async def plan_deliveries(runtime: Runtime, events: Sequence[EventRow], plan: Plan) -> None:
    """Deliveries of these events and their jobs; ids derive from the event's and the webhook's."""
    log = DeliveryLog(runtime)
    subscribers = await log.subscribers(sorted({event.company_id for event in events}))
    held: dict[str, WebhookState] = {}
    for event in events:
        for webhook in subscribers.get(event.company_id, ()):
            if not any(matches(pattern, event.type) for pattern in webhook["events"]):
                continue
            delivery = _delivery(event, webhook)
            plan.keep_body(event)
            plan.insert(DELIVERIES, [log.row(event.company_id, delivery)])
            if delivery.state is DeliveryState.HELD:
                held[delivery.webhook_id] = WebhookState(webhook["state"])
                continue
            job = deliver_job(
                runtime,
                delivery,
                company_id=event.company_id,
                retries=webhook["retries"],
                request_id=event.request_id,
                trace=event.trace,
            )
            plan.enqueue([job])
    for webhook_id, state in held.items():
        plan.require(WEBHOOKS, still_in(webhook_id, state))


def _delivery(event: EventRow, webhook: Document) -> Delivery:
    is_active = webhook.get("state", WebhookState.ACTIVE) == WebhookState.ACTIVE
    return Delivery(
        id=derived_id("dlv", event.id, webhook["_id"], "0"),
        event_id=event.id,
        event=event.type,
        webhook_id=webhook["_id"],
        state=DeliveryState.PENDING if is_active else DeliveryState.HELD,
        created_at=event.created_at,
        updated_at=event.created_at,
    )


def settle_job(runtime: Runtime, webhook_id: str, company_id: str | None) -> Document:
    """A look at all of a webhook's open deliveries; one too many does no harm."""
    payload = {"webhook_id": webhook_id}
    return runtime.job_row(NewJob(kind=SETTLE, payload=payload, company_id=company_id))


def job_id(delivery_id: str, holds: int) -> str:
    """A delivery gets a new job each time it was held and released."""
    return derived_id("job", delivery_id, str(holds))


def deliver_job(
    runtime: Runtime,
    delivery: Delivery,
    *,
    company_id: str,
    retries: int,
    request_id: str = "",
    trace: str | None = None,
    holds: int = 0,
) -> Document:
    """The job that makes the delivery's attempts, as many as are left."""
    payload = {
        "delivery_id": delivery.id,
        "webhook_id": delivery.webhook_id,
        "event_id": delivery.event_id,
        "event_type": delivery.event,
    }
    if delivery.trigger is not Trigger.EVENT:
        payload["trigger"] = str(delivery.trigger)
    is_recovery = delivery.trigger is Trigger.RECOVER
    job = NewJob(
        kind=DELIVER,
        payload={**payload, **_history(delivery, holds)},
        company_id=company_id,
        request_id=request_id,
        trace=trace,
        id=job_id(delivery.id, holds),
        lane=lane_of(delivery.webhook_id, delivery.trigger),
        priority=Priority.LOW if is_recovery else Priority.NORMAL,
        policy=Policy(attempts=max(1, retries + 1 - delivery.attempts), backoff=answers.SCHEDULE),
    )
    return runtime.job_row(job)


def _history(delivery: Delivery, holds: int) -> dict[str, int]:
    history = {"before": delivery.attempts, "holds": holds}
    return {name: value for name, value in history.items() if value}


def again(delivery: Delivery, *, replay: int, trigger: Trigger, at: datetime) -> Delivery:
    """A new delivery of the same event to the same webhook."""
    return msgspec.structs.replace(
        delivery,
        id=derived_id("dlv", delivery.event_id, delivery.webhook_id, str(replay)),
        replay=replay,
        trigger=trigger,
        state=DeliveryState.PENDING,
        attempts=0,
        status=None,
        result=None,
        reason=None,
        due_at=None,
        created_at=at,
        updated_at=at,
    )
