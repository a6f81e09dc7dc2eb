"""Every query on webhooks, deliveries and attempts."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from novapulse.core import paging, wire
from novapulse.core.documents import from_document, to_document
from novapulse.core.errors import NotFound, VersionConflict
from novapulse.core.events import EVENTS
from novapulse.core.mongo import Binary, Database, TenantSession, UpdateOne
from novapulse.webhooks.model import (
    Attempt,
    Delivery,
    DeliveryState,
    PageQuery,
    SealedSecret,
    Subscription,
    Webhook,
)

WEBHOOKS = "webhooks"
DELIVERIES = "webhook_deliveries"
ATTEMPTS = "webhook_attempts"

_NEWEST = [("companyId", 1), ("webhookId", 1), ("createdAt", -1), ("_id", -1)]
_EXPIRY = {"name": "expiry", "keys": [("expiresAt", 1)], "expireAfterSeconds": 0}
INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    WEBHOOKS: ({"name": "newest", "keys": [("companyId", 1), ("createdAt", -1), ("_id", -1)]},),
    DELIVERIES: ({"name": "newest", "keys": _NEWEST}, _EXPIRY),
    ATTEMPTS: ({"name": "newest", "keys": _NEWEST}, _EXPIRY),
}


class WebhookStore:
    def __init__(self, session: TenantSession) -> None:
        self._company_id = session.company_id
        self._rows = session.rows(WEBHOOKS)
        self._attempts = session.rows(ATTEMPTS)
        self._deliveries = session.rows(DELIVERIES)
        self._events = session.rows(EVENTS)

    async def insert(self, webhook: Webhook, secret: SealedSecret) -> None:
        document = to_document(webhook)
        document["secrets"] = [msgspec.to_builtins(secret, builtin_types=(datetime,))]
        await self._rows.insert(document)

    async def count(self, *, limit: int) -> int:
        return await self._rows.count({}, limit=limit)

    async def get(self, webhook_id: str) -> Subscription:
        """Raises NotFound."""
        document = await self._rows.find_one({"_id": webhook_id})
        if document is None:
            raise NotFound("There is no such webhook")
        return Subscription(
            webhook=from_document(document, Webhook),
            company_id=self._company_id,
            secrets=tuple(wire.convert(row, SealedSecret) for row in document["secrets"]),
        )

    async def page(self, query: PageQuery) -> list[Webhook]:
        found = await self._rows.find(
            paging.after(query.cursor), sort=paging.NEWEST_FIRST, limit=query.limit + 1
        )
        return [from_document(document, Webhook) for document in found]

    async def delete(self, webhook_id: str, *, if_version: int | None) -> None:
        """Raises NotFound or VersionConflict."""
        webhook = (await self.get(webhook_id)).webhook
        if if_version is not None and webhook.version != if_version:
            raise VersionConflict()
        await self._rows.delete_one({"_id": webhook_id})

    async def page_of_attempts(self, webhook_id: str, query: PageQuery) -> list[Attempt]:
        found = await self._attempts.find(
            {"webhookId": webhook_id, **paging.after(query.cursor)},
            sort=paging.NEWEST_FIRST,
            limit=query.limit + 1,
        )
        return [from_document(document, Attempt) for document in found]

    async def find_body(self, event_id: str) -> bytes | None:
        """The event's payload as it was stored for its first delivery."""
        row = await self._events.find_one({"_id": event_id}, projection={"body": 1})
        return bytes(row["body"]) if row and "body" in row else None


class DeliveryLog:
    """Writes of the dispatcher and the planner, in batches across companies."""

    def __init__(self, db: Database, *, keep_attempts: timedelta, keep: timedelta) -> None:
        self._db = db
        self._keep_attempts = keep_attempts
        self._keep = keep

    async def add_attempts(self, rows: Sequence[tuple[str, Attempt]]) -> None:
        """`(company id, attempt)` each; a repeat of the same attempt is one row."""
        documents = [
            {
                **to_document(attempt),
                "companyId": company_id,
                "expiresAt": attempt.created_at + self._keep_attempts,
            }
            for company_id, attempt in rows
        ]
        await self._db.platform(ATTEMPTS).insert_missing(documents)

    async def add_deliveries(self, rows: Sequence[tuple[str, Delivery]]) -> None:
        documents = [
            {
                **to_document(delivery),
                "companyId": company_id,
                "expiresAt": delivery.created_at + self._keep,
            }
            for company_id, delivery in rows
        ]
        await self._db.platform(DELIVERIES).insert_missing(documents)

    async def set_state(self, delivery_id: str, state: DeliveryState, at: datetime) -> None:
        change = {"$set": {"state": str(state), "updatedAt": at}}
        await self._db.platform(DELIVERIES).update_one({"_id": delivery_id}, change)

    async def keep_bodies(self, bodies: dict[str, bytes]) -> None:
        """Store payloads once: every attempt and replay sends these bytes."""
        writes = [
            UpdateOne(
                {"_id": event_id, "body": {"$exists": False}}, {"$set": {"body": Binary(body)}}
            )
            for event_id, body in bodies.items()
        ]
        await self._db.platform(EVENTS).bulk(writes)

    async def subscribers(self, company_ids: Sequence[str]) -> dict[str, list[Webhook]]:
        """The active webhooks of these companies."""
        found = await self._db.platform(WEBHOOKS).find(
            {"companyId": {"$in": list(company_ids)}, "isActive": True}, limit=100_000
        )
        table: dict[str, list[Webhook]] = {}
        for row in found:
            table.setdefault(row["companyId"], []).append(from_document(row, Webhook))
        return table
