"""The job kind that carries deliveries."""

from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.kinds import Queue, job
from novapulse.webhooks import delivery
from novapulse.webhooks.delivery import Errand


@job("webhook.deliver", queue=Queue.WEBHOOK, timeout_seconds=60)
async def deliver(
    ctx: JobContext, *, delivery_id: str, webhook_id: str, event_id: str, event_type: str
) -> None:
    """Send one event to one webhook; the receiver deduplicates by `webhook-id`."""
    await delivery.deliver(ctx, Errand(delivery_id, webhook_id, event_id, event_type))
