"""Use cases on what was sent to webhooks: look at it, try one, replay, recover."""

from datetime import datetime

from novapulse.core import paging
from novapulse.core.access import Scope
from novapulse.core.clock import to_utc
from novapulse.core.context import Context
from novapulse.core.errors import Invalid
from novapulse.core.paging import Listing
from novapulse.deliveries import service as deliveries
from novapulse.deliveries import store as delivery_store
from novapulse.deliveries.model import Attempt, Delivery, Health
from novapulse.subscriptions import store as subscription_store
from novapulse.subscriptions.store import SubscriptionStore
from novapulse.webhooks import store
from novapulse.webhooks.model import (
    AttemptQuery,
    DeliveryQuery,
    DeliveryReplayed,
    Recover,
    Recovering,
    Recovery,
    RecoveryStarted,
)
from novapulse.webhooks.store import LogStore


async def list_attempts(ctx: Context, webhook_id: str, query: AttemptQuery) -> Listing[Attempt]:
    """What was sent to a webhook and answered, newest first. Raises NotFound."""
    ctx.require(Scope.WEBHOOKS_READ)
    await SubscriptionStore(ctx.read()).get(webhook_id)
    rows = await LogStore(ctx.read()).page_of_attempts(webhook_id, query)
    return paging.listing(rows, query.limit)


async def list_deliveries(ctx: Context, webhook_id: str, query: DeliveryQuery) -> Listing[Delivery]:
    """The events that a webhook got or is to get, newest first. Raises NotFound."""
    ctx.require(Scope.WEBHOOKS_READ)
    await SubscriptionStore(ctx.read()).get(webhook_id)
    sending = await delivery_store.sending_ids(ctx.runtime.db, ctx.read())
    rows = await LogStore(ctx.read()).page_of_deliveries(webhook_id, query, sending=sending)
    return paging.listing(rows, query.limit)


async def get_health(ctx: Context, webhook_id: str) -> Health:
    """How a webhook does, as far as anything was sent to it. Raises NotFound."""
    ctx.require(Scope.WEBHOOKS_READ)
    await SubscriptionStore(ctx.read()).get(webhook_id)
    found = await delivery_store.health_of(ctx.read(), [webhook_id])
    return found.get(webhook_id, Health())


async def send_test(ctx: Context, webhook_id: str) -> Attempt:
    """Send `webhook.test` at once, whatever the webhook asked for. Raises NotFound."""
    ctx.require(Scope.WEBHOOKS_WRITE)
    return await deliveries.send_test(ctx, webhook_id)


async def replay(ctx: Context, delivery_id: str) -> Delivery:
    """Deliver the same event once more; raises NotFound or NotReplayable."""
    ctx.require(Scope.WEBHOOKS_WRITE)
    async with ctx.transaction() as tx:
        made = await deliveries.replay(ctx, delivery_id)
        tx.record(DeliveryReplayed(delivery=made))
    return made


async def recover(ctx: Context, webhook_id: str, command: Recover) -> Recovering:
    """Deliver anew what failed or was held in a span of time, in the background.

    Raises NotFound, WebhookInactive, or Invalid for a span that is too old or empty.
    """
    ctx.require(Scope.WEBHOOKS_WRITE)
    since = _moment("since", command.since)
    until = None if command.until is None else _moment("until", command.until)
    async with ctx.transaction() as tx:
        webhook = (await SubscriptionStore(tx).get(webhook_id)).webhook
        job_id = await deliveries.recover(ctx, webhook_id, since=since, until=until)
        recovery = Recovery(since=since, until=until, job_id=job_id)
        tx.record(RecoveryStarted(webhook=webhook, recovery=recovery))
    return Recovering(job_id=job_id)


async def acting_on_webhook(ctx: Context, webhook_id: str) -> Context:
    """The operator's context in the company of a webhook; raises NotFound."""
    return ctx.on_company(await subscription_store.company_of(ctx.runtime.db, webhook_id))


async def acting_on_delivery(ctx: Context, delivery_id: str) -> Context:
    """The operator's context in the company of a delivery; raises NotFound."""
    return ctx.on_company(await store.company_of(ctx.runtime.db, delivery_id))


def _moment(name: str, value: datetime) -> datetime:
    try:
        return to_utc(value)
    except OverflowError as error:
        raise Invalid.field(name, "is out of range") from error
