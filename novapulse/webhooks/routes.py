"""`/webhooks/…`: what was sent, and sending again. Subscribing is in `subscriptions.routes`."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.paging import Listing
from novapulse.core.routing import Routes
from novapulse.deliveries.model import Attempt, Delivery, Health
from novapulse.webhooks import service
from novapulse.webhooks.model import AttemptQuery, DeliveryQuery, Recover, Recovering

routes = Routes("webhooks")


@routes.add("GET", "/webhooks/{id}/logs", scope=Scope.WEBHOOKS_READ)
async def list_attempts(ctx: Context, webhook_id: str, query: AttemptQuery) -> Listing[Attempt]:
    """List the attempts to reach a webhook, newest first."""
    return await service.list_attempts(ctx, webhook_id, query)


@routes.add("GET", "/webhooks/{id}/deliveries", scope=Scope.WEBHOOKS_READ)
async def list_deliveries(ctx: Context, webhook_id: str, query: DeliveryQuery) -> Listing[Delivery]:
    """List the events that a webhook got or is to get, newest first."""
    return await service.list_deliveries(ctx, webhook_id, query)


@routes.add("GET", "/webhooks/{id}/health", scope=Scope.WEBHOOKS_READ)
async def get_health(ctx: Context, webhook_id: str) -> Health:
    """Say how a webhook does: since when it fails, its last answer, its circuit."""
    return await service.get_health(ctx, webhook_id)


@routes.add("POST", "/webhooks/{id}/test", scope=Scope.WEBHOOKS_WRITE)
async def send_test(ctx: Context, webhook_id: str) -> Attempt:
    """Send `webhook.test` at once and say what came of it."""
    return await service.send_test(ctx, webhook_id)


@routes.add("POST", "/webhooks/{id}/recover", scope=Scope.WEBHOOKS_WRITE, status=202)
async def recover(ctx: Context, webhook_id: str, body: Recover) -> Recovering:
    """Deliver anew what failed or was held in a span of time, as a job in the background."""
    return await service.recover(ctx, webhook_id, body)


@routes.add("POST", "/webhooks/deliveries/{id}/replay", scope=Scope.WEBHOOKS_WRITE, status=202)
async def replay(ctx: Context, delivery_id: str) -> Delivery:
    """Deliver the same event once more, with attempts of its own."""
    return await service.replay(ctx, delivery_id)
