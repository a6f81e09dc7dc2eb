"""Every query on webhooks."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from novapulse.core import paging, wire
from novapulse.core.documents import from_document, to_document
from novapulse.core.errors import NotFound, TransientConflict, VersionConflict
from novapulse.core.mongo import Database, Document, TenantSession
from novapulse.subscriptions.model import (
    OwnedWebhook,
    PageQuery,
    SealedSecret,
    Subscription,
    Webhook,
)

WEBHOOKS = "webhooks"

INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    WEBHOOKS: ({"name": "newest", "keys": [("companyId", 1), ("createdAt", -1), ("_id", -1)]},),
}


class SubscriptionStore:
    def __init__(self, session: TenantSession) -> None:
        self._company_id = session.company_id
        self._rows = session.rows(WEBHOOKS)

    async def insert(self, subscription: Subscription) -> None:
        await self._rows.insert({"_id": subscription.webhook.id, **_fields(subscription)})

    async def count(self, *, limit: int) -> int:
        return await self._rows.count({}, limit=limit)

    async def find(self, webhook_id: str) -> Subscription | None:
        document = await self._rows.find_one({"_id": webhook_id})
        return None if document is None else to_subscription(document)

    async def get(self, webhook_id: str, *, if_version: int | None = None) -> Subscription:
        """Raises NotFound, or VersionConflict when it is at another version."""
        found = await self.find(webhook_id)
        if found is None:
            raise NotFound("There is no such webhook")
        if if_version is not None and found.webhook.version != if_version:
            raise VersionConflict()
        return found

    async def page(self, query: PageQuery) -> list[Webhook]:
        found = await self._rows.find(
            paging.after(query.cursor), sort=paging.NEWEST_FIRST, limit=query.limit + 1
        )
        return [from_document(document, Webhook) for document in found]

    async def save(self, subscription: Subscription, *, if_version: int) -> None:
        """Raises TransientConflict when somebody else saved it since it was read."""
        where = {"_id": subscription.webhook.id, "version": if_version}
        if not await self._rows.update_one(where, {"$set": _fields(subscription)}):
            raise TransientConflict()

    async def delete(self, webhook_id: str) -> None:
        await self._rows.delete_one({"_id": webhook_id})


async def company_of(db: Database, webhook_id: str) -> str:
    """Whose webhook it is; raises NotFound."""
    found = await db.platform(WEBHOOKS).find_one({"_id": webhook_id}, projection={"companyId": 1})
    if found is None:
        raise NotFound("There is no such webhook")
    return str(found["companyId"])


async def page_of_all(db: Database, query: PageQuery) -> list[OwnedWebhook]:
    """Of all companies, newest first."""
    found = await db.platform(WEBHOOKS).find(
        paging.after(query.cursor), sort=paging.NEWEST_FIRST, limit=query.limit + 1
    )
    return [from_document(document, OwnedWebhook) for document in found]


def _fields(subscription: Subscription) -> Document:
    document = to_document(subscription.webhook)
    del document["_id"]
    document["secrets"] = _plain(subscription.secrets)
    document["sealedHeaders"] = subscription.sealed_headers
    document["resumedAt"] = subscription.resumed_at
    return document


def _plain(secrets: Sequence[SealedSecret]) -> Any:
    return msgspec.to_builtins(secrets, builtin_types=(datetime,))


def to_subscription(document: Document) -> Subscription:
    """The webhook of a row, in whatever company."""
    return Subscription(
        webhook=from_document(document, Webhook),
        company_id=document["companyId"],
        secrets=tuple(wire.convert(row, SealedSecret) for row in document["secrets"]),
        sealed_headers=document.get("sealedHeaders"),
        resumed_at=document.get("resumedAt"),
    )
