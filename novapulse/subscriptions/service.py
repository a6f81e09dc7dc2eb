"""Use cases on webhooks: subscribe, change, pause, give a new secret, unsubscribe."""

from collections.abc import Sequence
from difflib import get_close_matches

import msgspec
from msgspec import UNSET, UnsetType

from novapulse.core import paging
from novapulse.core.access import Scope
from novapulse.core.context import Context, Transaction
from novapulse.core.documents import new_object_id
from novapulse.core.errors import Forbidden, Invalid
from novapulse.core.events import CATALOGUE
from novapulse.core.outbound import OutboundClient
from novapulse.core.paging import Listing
from novapulse.subscriptions import catalogue, headers, secrets, store
from novapulse.subscriptions.model import (
    MAX_WEBHOOKS,
    ChangeWebhook,
    CreatedWebhook,
    NewWebhook,
    OwnedWebhook,
    PageQuery,
    RotateSecret,
    Subscription,
    TooManyWebhooks,
    Webhook,
    WebhookCreated,
    WebhookDeleted,
    WebhookPaused,
    WebhookResumed,
    WebhookSecretRotated,
    WebhookUpdated,
)
from novapulse.subscriptions.store import SubscriptionStore

# The job kind that brings deliveries in line with their webhook: held, or sent again.
SETTLE = "webhook.settle"


async def create_webhook(ctx: Context, command: NewWebhook) -> CreatedWebhook:
    """Subscribe a URL; the answer is the only one that shows the signing secret.

    Raises:
        Invalid: a URL that may not be called, a type that there is not, a reserved header.
        TooManyWebhooks: the company has enough of them.
    """
    ctx.require(Scope.WEBHOOKS_WRITE)
    _check_patterns(command.events)
    headers.check(command.headers)
    await ctx.runtime.feature(OutboundClient).vet(command.url, resolve=True, party=ctx.company_id)
    settings, keys, now = ctx.runtime.settings.webhooks, ctx.runtime.keys, ctx.now()
    webhook_id, company_id = new_object_id(), ctx.company_id
    value, sealed = secrets.fresh(keys, webhook_id=webhook_id, company_id=company_id, at=now)
    webhook = Webhook(
        id=webhook_id,
        url=command.url,
        events=tuple(dict.fromkeys(command.events)),
        retries=command.retries,
        is_active=True,
        description=command.description,
        timeout_seconds=command.timeout_seconds or round(settings.timeout_seconds),
        rate=command.rate,
        header_names=tuple(command.headers),
        key_id=sealed.id,
        created_at=now,
        updated_at=now,
    ).activated(command.is_active)
    made = Subscription(
        webhook=webhook,
        company_id=company_id,
        secrets=(sealed,),
        sealed_headers=headers.seal(
            keys, command.headers, webhook_id=webhook_id, company_id=company_id
        ),
    )
    async with ctx.transaction() as tx:
        webhooks = SubscriptionStore(tx)
        if await webhooks.count(limit=MAX_WEBHOOKS) >= MAX_WEBHOOKS:
            raise TooManyWebhooks()
        await webhooks.insert(made)
        tx.record(WebhookCreated(webhook=webhook))
    return _with_secret(webhook, value)


def _with_secret(webhook: Webhook, value: str) -> CreatedWebhook:
    fields = {name: getattr(webhook, name) for name in webhook.__struct_fields__}
    return CreatedWebhook(**fields, secret=value)


def _check_patterns(patterns: Sequence[str]) -> None:
    """Raises Invalid for a pattern that no event can match: a typo would be silent for ever."""
    for position, pattern in enumerate(patterns):
        if catalogue.is_known(pattern):
            continue
        nearest = get_close_matches(pattern, CATALOGUE, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise Invalid.field(f"events[{position}]", f"there is no event {pattern!r}{hint}")


async def get_webhook(ctx: Context, webhook_id: str) -> Webhook:
    """Raises NotFound."""
    ctx.require(Scope.WEBHOOKS_READ)
    return (await SubscriptionStore(ctx.read()).get(webhook_id)).webhook


async def list_webhooks(ctx: Context, query: PageQuery) -> Listing[Webhook]:
    """The company's webhooks, newest first."""
    ctx.require(Scope.WEBHOOKS_READ)
    return paging.listing(await SubscriptionStore(ctx.read()).page(query), query.limit)


async def list_all_webhooks(ctx: Context, query: PageQuery) -> Listing[OwnedWebhook]:
    """Those of all companies, newest first; for the operator."""
    if not ctx.principal.is_operator:
        raise Forbidden()
    return paging.listing(await store.page_of_all(ctx.runtime.db, query), query.limit)


async def change_webhook(
    ctx: Context, webhook_id: str, *, change: ChangeWebhook, if_version: int | None = None
) -> Webhook:
    """Change some fields; changing nothing writes nothing.

    What is on its way already is sent as the webhook is when its next attempt begins.

    Raises NotFound, VersionConflict, or Invalid as `create_webhook` does.
    """
    ctx.require(Scope.WEBHOOKS_WRITE)
    if not isinstance(change.events, UnsetType):
        _check_patterns(change.events)
    if not isinstance(change.url, UnsetType):
        await ctx.runtime.feature(OutboundClient).vet(
            change.url, resolve=True, party=ctx.company_id
        )
    async with ctx.transaction() as tx:
        before = await SubscriptionStore(tx).get(webhook_id, if_version=if_version)
        subscription, values = before, headers.unseal(ctx.runtime.keys, before)
        given = values if change.headers is UNSET else headers.merged(values, change.headers)
        if given != values:
            sealed = headers.seal(
                ctx.runtime.keys, given, webhook_id=webhook_id, company_id=before.company_id
            )
            subscription = msgspec.structs.replace(before, sealed_headers=sealed)
        after = before.webhook.changed(change, header_names=tuple(given))
        changed = before.webhook.differs(after)
        if given != values and "headerNames" not in changed:
            changed = (*changed, "headers")
        if not changed:
            return before.webhook
        event = WebhookUpdated(webhook=after, changed=changed)
        return await _save(ctx, tx, subscription=subscription, event=event)


async def pause_webhook(ctx: Context, webhook_id: str) -> Webhook:
    """Hold what would be sent to it until it is resumed. Raises NotFound."""
    return await _set_active(ctx, webhook_id, is_active=False)


async def resume_webhook(ctx: Context, webhook_id: str) -> Webhook:
    """Send to it again, what was held first; also to one that was disabled. Raises NotFound."""
    return await _set_active(ctx, webhook_id, is_active=True)


async def _set_active(ctx: Context, webhook_id: str, *, is_active: bool) -> Webhook:
    ctx.require(Scope.WEBHOOKS_WRITE)
    async with ctx.transaction() as tx:
        before = await SubscriptionStore(tx).get(webhook_id)
        after = before.webhook.activated(is_active)
        if after == before.webhook:
            return after
        kind = WebhookResumed if is_active else WebhookPaused
        return await _save(ctx, tx, subscription=before, event=kind(webhook=after))


async def _save(
    ctx: Context,
    tx: Transaction,
    *,
    subscription: Subscription,
    event: WebhookUpdated | WebhookPaused | WebhookResumed | WebhookSecretRotated,
) -> Webhook:
    """Write the event's webhook as the next version of the subscription."""
    former = subscription.webhook
    webhook = event.webhook.next_version(at=ctx.now())
    was_resumed = webhook.is_active and not former.is_active
    subscription = msgspec.structs.replace(
        subscription,
        webhook=webhook,
        resumed_at=webhook.updated_at if was_resumed else subscription.resumed_at,
    )
    await SubscriptionStore(tx).save(subscription, if_version=former.version)
    tx.record(msgspec.structs.replace(event, webhook=webhook))
    if webhook.is_active != former.is_active:
        await tx.enqueue(SETTLE, {"webhook_id": webhook.id})
    return webhook


async def rotate_secret(ctx: Context, webhook_id: str, command: RotateSecret) -> CreatedWebhook:
    """Sign by a new secret, shown only now, and by the former ones until the overlap ends.

    Raises NotFound, or TooManySecrets.
    """
    ctx.require(Scope.WEBHOOKS_WRITE)
    now = ctx.now()
    async with ctx.transaction() as tx:
        before = await SubscriptionStore(tx).get(webhook_id)
        value, sealed = secrets.fresh(
            ctx.runtime.keys, webhook_id=webhook_id, company_id=before.company_id, at=now
        )
        overlap = command.overlap_seconds
        after = msgspec.structs.replace(
            before,
            secrets=secrets.rotated(before.secrets, sealed, now=now, overlap_seconds=overlap),
        )
        named = msgspec.structs.replace(before.webhook, key_id=sealed.id)
        event = WebhookSecretRotated(webhook=named)
        return _with_secret(await _save(ctx, tx, subscription=after, event=event), value)


async def delete_webhook(ctx: Context, webhook_id: str, *, if_version: int | None = None) -> None:
    """Unsubscribe; what is still on its way is discarded. Raises NotFound, VersionConflict."""
    ctx.require(Scope.WEBHOOKS_WRITE)
    async with ctx.transaction() as tx:
        webhooks = SubscriptionStore(tx)
        gone = (await webhooks.get(webhook_id, if_version=if_version)).webhook
        await webhooks.delete(webhook_id)
        tx.record(WebhookDeleted(webhook=gone))
        await tx.enqueue(SETTLE, {"webhook_id": webhook_id})
