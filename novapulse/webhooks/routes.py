"""`/webhooks`."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.paging import Listing
from novapulse.core.routing import Routes
from novapulse.webhooks import service
from novapulse.webhooks.model import Attempt, CreatedWebhook, NewWebhook, PageQuery, Webhook

routes = Routes("webhooks")


@routes.add("POST", "/webhooks", scope=Scope.WEBHOOKS_WRITE, status=201)
async def create_webhook(ctx: Context, body: NewWebhook) -> CreatedWebhook:
    """Subscribe a URL to events; the signing secret is shown only now."""
    return await service.create_webhook(ctx, body)


@routes.add("GET", "/webhooks", scope=Scope.WEBHOOKS_READ)
async def list_webhooks(ctx: Context, query: PageQuery) -> Listing[Webhook]:
    """List webhooks, newest first."""
    return await service.list_webhooks(ctx, query)


@routes.add("GET", "/webhooks/{id}", scope=Scope.WEBHOOKS_READ)
async def get_webhook(ctx: Context, webhook_id: str) -> Webhook:
    """Read one webhook."""
    return await service.get_webhook(ctx, webhook_id)


@routes.add("DELETE", "/webhooks/{id}", scope=Scope.WEBHOOKS_WRITE)
async def delete_webhook(ctx: Context, webhook_id: str, if_match: int | None) -> None:
    """Unsubscribe; what is still on its way is discarded."""
    await service.delete_webhook(ctx, webhook_id, if_version=if_match)


@routes.add("GET", "/webhooks/{id}/logs", scope=Scope.WEBHOOKS_READ)
async def list_attempts(ctx: Context, webhook_id: str, query: PageQuery) -> Listing[Attempt]:
    """List the attempts to reach a webhook, newest first."""
    return await service.list_attempts(ctx, webhook_id, query)
