"""`/webhooks`: subscriptions. What was sent to them, and sending, is in `webhooks.routes`."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.paging import Listing, Page
from novapulse.core.routing import Routes
from novapulse.subscriptions import catalogue, service
from novapulse.subscriptions.catalogue import EventType
from novapulse.subscriptions.model import (
    ChangeWebhook,
    CreatedWebhook,
    NewWebhook,
    PageQuery,
    RotateSecret,
    Webhook,
)

routes = Routes("webhooks")


@routes.add("GET", "/webhook-event-types", scope=Scope.WEBHOOKS_READ)
async def list_event_types(ctx: Context) -> Listing[EventType]:
    """List what a webhook can ask for: each type's JSON Schema and an example."""
    found = list(catalogue.event_types())
    return Listing(data=found, page=Page(next_cursor=None, limit=len(found)))


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


@routes.add("PATCH", "/webhooks/{id}", scope=Scope.WEBHOOKS_WRITE)
async def change_webhook(
    ctx: Context, webhook_id: str, *, body: ChangeWebhook, if_match: int | None
) -> Webhook:
    """Change some fields of a webhook."""
    return await service.change_webhook(ctx, webhook_id, change=body, if_version=if_match)


@routes.add("DELETE", "/webhooks/{id}", scope=Scope.WEBHOOKS_WRITE)
async def delete_webhook(ctx: Context, webhook_id: str, if_match: int | None) -> None:
    """Unsubscribe; what is still on its way is discarded."""
    await service.delete_webhook(ctx, webhook_id, if_version=if_match)


@routes.add("POST", "/webhooks/{id}/pause", scope=Scope.WEBHOOKS_WRITE)
async def pause_webhook(ctx: Context, webhook_id: str) -> Webhook:
    """Hold what would be sent until the webhook is resumed."""
    return await service.pause_webhook(ctx, webhook_id)


@routes.add("POST", "/webhooks/{id}/resume", scope=Scope.WEBHOOKS_WRITE)
async def resume_webhook(ctx: Context, webhook_id: str) -> Webhook:
    """Send again, what was held first; also for a webhook that was disabled."""
    return await service.resume_webhook(ctx, webhook_id)


@routes.add("POST", "/webhooks/{id}/rotate-secret", scope=Scope.WEBHOOKS_WRITE)
async def rotate_secret(ctx: Context, webhook_id: str, body: RotateSecret) -> CreatedWebhook:
    """Sign by a new secret, shown only now; former ones sign beside it for a while."""
    return await service.rotate_secret(ctx, webhook_id, body)
