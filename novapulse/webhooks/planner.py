"""From events to deliveries: every active webhook that asked gets one, exactly once planned."""

from collections.abc import Sequence
from datetime import timedelta

from novapulse.core.context import Runtime
from novapulse.core.events import EventRow, matches
from novapulse.core.ids import derived_id
from novapulse.core.jobs.rows import NewJob, Policy
from novapulse.core.mongo import Document
from novapulse.webhooks import answers
from novapulse.webhooks.model import Delivery, Webhook
from novapulse.webhooks.store import DeliveryLog


def delivery_log(runtime: Runtime) -> DeliveryLog:
    settings = runtime.settings.webhooks
    return DeliveryLog(
        runtime.db,
        keep_attempts=timedelta(days=settings.attempt_keep_days),
        keep=timedelta(days=settings.delivery_keep_days),
    )


async def plan_deliveries(runtime: Runtime, events: Sequence[EventRow]) -> list[Document]:
    """The jobs that deliver these events; their ids derive from the event's and the webhook's."""
    writes = delivery_log(runtime)
    subscribers = await writes.subscribers(sorted({event.company_id for event in events}))
    wanted = [
        (event, webhook)
        for event in events
        for webhook in subscribers.get(event.company_id, ())
        if any(matches(pattern, event.type) for pattern in webhook.events)
    ]
    if not wanted:
        return []
    await writes.keep_bodies({event.id: event.body() for event, _ in wanted})
    planned = [(event, webhook, _delivery(event, webhook)) for event, webhook in wanted]
    await writes.add_deliveries([(event.company_id, item) for event, _, item in planned])
    return [
        _job(runtime, event, webhook=webhook, delivery=item) for event, webhook, item in planned
    ]


def _delivery(event: EventRow, webhook: Webhook) -> Delivery:
    return Delivery(
        id=derived_id("dlv", event.id, webhook.id, "0"),
        event_id=event.id,
        event=event.type,
        webhook_id=webhook.id,
        created_at=event.created_at,
        updated_at=event.created_at,
    )


def _job(runtime: Runtime, event: EventRow, *, webhook: Webhook, delivery: Delivery) -> Document:
    payload = {
        "delivery_id": delivery.id,
        "webhook_id": webhook.id,
        "event_id": event.id,
        "event_type": event.type,
    }
    job = NewJob(
        kind="webhook.deliver",
        payload=payload,
        company_id=event.company_id,
        request_id=event.request_id,
        id=derived_id("job", delivery.id),
        policy=Policy(attempts=webhook.retries + 1, backoff=answers.SCHEDULE),
    )
    return runtime.job_row(job)
