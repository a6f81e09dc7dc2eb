"""Use cases on webhooks; sending is in `delivery`."""

from collections.abc import Sequence
from difflib import get_close_matches

from novapulse.core import paging
from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.crypto import Place
from novapulse.core.documents import new_object_id
from novapulse.core.errors import Invalid
from novapulse.core.events import CATALOGUE, matches
from novapulse.core.outbound import OutboundClient
from novapulse.core.paging import Listing
from novapulse.webhooks import signing
from novapulse.webhooks.model import (
    MAX_WEBHOOKS,
    Attempt,
    CreatedWebhook,
    NewWebhook,
    PageQuery,
    SealedSecret,
    Subscription,
    TooManyWebhooks,
    Webhook,
)
from novapulse.webhooks.store import WEBHOOKS, WebhookStore


async def create_webhook(ctx: Context, command: NewWebhook) -> CreatedWebhook:
    """Subscribe a URL; the answer is the only one that shows the signing secret.

    Raises Invalid for a URL that may not be called.
    """
    ctx.require(Scope.WEBHOOKS_WRITE)
    _check_patterns(command.events)
    settings = ctx.runtime.settings.webhooks
    await ctx.runtime.feature(OutboundClient).vet(command.url, resolve=True)
    now = ctx.now()
    webhook = Webhook(
        id=new_object_id(),
        url=command.url,
        events=tuple(dict.fromkeys(command.events)),
        retries=command.retries,
        is_active=command.is_active,
        description=command.description,
        timeout_seconds=command.timeout_seconds or round(settings.timeout_seconds),
        created_at=now,
        updated_at=now,
    )
    secret = signing.new_secret()
    secret_id = new_object_id()
    place = _place(webhook.id, secret_id, ctx.company_id)
    sealed = ctx.runtime.keys.seal(secret.encode(), place)
    async with ctx.transaction() as tx:
        webhooks = WebhookStore(tx)
        if await webhooks.count(limit=MAX_WEBHOOKS) >= MAX_WEBHOOKS:
            raise TooManyWebhooks()
        await webhooks.insert(webhook, SealedSecret(secret_id, sealed, now))
    fields = {name: getattr(webhook, name) for name in webhook.__struct_fields__}
    return CreatedWebhook(**fields, secret=secret)


def _check_patterns(patterns: Sequence[str]) -> None:
    """Raises Invalid for a pattern that no event can match: a typo would be silent for ever."""
    for position, pattern in enumerate(patterns):
        if any(matches(pattern, event_type) for event_type in CATALOGUE):
            continue
        nearest = get_close_matches(pattern, CATALOGUE, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise Invalid.field(f"events[{position}]", f"there is no event {pattern!r}{hint}")


async def get_webhook(ctx: Context, webhook_id: str) -> Webhook:
    """Raises NotFound."""
    ctx.require(Scope.WEBHOOKS_READ)
    return (await WebhookStore(ctx.read()).get(webhook_id)).webhook


async def list_webhooks(ctx: Context, query: PageQuery) -> Listing[Webhook]:
    """The company's webhooks, newest first."""
    ctx.require(Scope.WEBHOOKS_READ)
    return paging.listing(await WebhookStore(ctx.read()).page(query), query.limit)


async def delete_webhook(ctx: Context, webhook_id: str, *, if_version: int | None = None) -> None:
    """Unsubscribe; what is still on its way is discarded. Raises NotFound, VersionConflict."""
    ctx.require(Scope.WEBHOOKS_WRITE)
    async with ctx.transaction() as tx:
        await WebhookStore(tx).delete(webhook_id, if_version=if_version)


async def list_attempts(ctx: Context, webhook_id: str, query: PageQuery) -> Listing[Attempt]:
    """What was sent to a webhook and answered, newest first; raises NotFound."""
    ctx.require(Scope.WEBHOOKS_READ)
    webhooks = WebhookStore(ctx.read())
    await webhooks.get(webhook_id)
    return paging.listing(await webhooks.page_of_attempts(webhook_id, query), query.limit)


def open_secrets(ctx: Context, subscription: Subscription) -> list[str]:
    """The secrets that sign now, newest first."""
    keys = ctx.runtime.keys
    return [
        keys.open(
            secret.sealed, _place(subscription.webhook.id, secret.id, subscription.company_id)
        ).decode()
        for secret in subscription.secrets
    ]


def _place(webhook_id: str, secret_id: str, company_id: str) -> Place:
    return Place(WEBHOOKS, webhook_id, f"secrets.{secret_id}", company_id)
