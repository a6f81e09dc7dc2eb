"""What is written about deliveries and attempts, in batches and across companies.

Reading them for people is not done here.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from novapulse.core.context import Runtime, Transaction
from novapulse.core.documents import from_document, to_document
from novapulse.core.errors import TransientConflict
from novapulse.core.jobs.claims import held_jobs
from novapulse.core.jobs.kinds import Queue
from novapulse.core.jobs.rows import JOBS
from novapulse.core.mongo import (
    Database,
    Document,
    Rows,
    TenantSession,
    UpdateMany,
    UpdateOne,
)
from novapulse.deliveries.model import AnswerClass, Delivery, DeliveryState, Health
from novapulse.subscriptions.model import Webhook, WebhookState
from novapulse.subscriptions.store import WEBHOOKS

DELIVERIES = "webhook_deliveries"
ATTEMPTS = "webhook_attempts"
HEALTH = "webhook_health"
STATE = "state"
ONCE = "once"
_MOST_SENDING = 2_000

_UNDELIVERED = [
    str(state)
    for state in DeliveryState
    if state not in (DeliveryState.DELIVERED, DeliveryState.SENDING)
]
_EXPIRY: Document = {"name": "expiry", "keys": [("expiresAt", 1)], "expireAfterSeconds": 0}
# A delivery that arrived leaves the index of the states: nearly all do, and every key costs.
INDEXES: dict[str, tuple[Document, ...]] = {
    DELIVERIES: (
        {
            "name": ONCE,
            "keys": [("eventId", 1), ("webhookId", 1), ("replay", 1)],
            "unique": True,
        },
        {
            "name": STATE,
            "keys": [
                ("companyId", 1),
                ("webhookId", 1),
                ("state", 1),
                ("createdAt", -1),
                ("_id", -1),
            ],
            "partialFilterExpression": {"state": {"$in": _UNDELIVERED}},
        },
        _EXPIRY,
    ),
    ATTEMPTS: (_EXPIRY,),
    HEALTH: (),
}


class Ending(msgspec.Struct, kw_only=True, gc=False):
    """What one start of a delivery came to; `attempt` is the row of the request, if one was made.

    `number` is the attempt's, over all of the delivery's jobs.
    """

    delivery_id: str
    number: int
    holds: int
    state: DeliveryState
    at: datetime
    attempt: Document | None = None
    status: int | None = None
    result: AnswerClass | None = None
    reason: str | None = None
    due_at: datetime | None = None


class DeliveryLog:
    """What the planner reads and the dispatcher writes.

    Those writes are durable once a later durable one is: that their jobs are finished.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._db = runtime.db
        self._runtime = runtime
        self._deliveries = runtime.db.platform(DELIVERIES)
        self._swift_deliveries = runtime.db.swift(DELIVERIES)
        self._swift_attempts = runtime.db.swift(ATTEMPTS)
        self._webhooks = runtime.db.platform(WEBHOOKS)

    @property
    def keep_attempts(self) -> timedelta:
        return timedelta(days=self._runtime.settings.webhooks.attempt_keep_days)

    @property
    def keep(self) -> timedelta:
        return timedelta(days=self._runtime.settings.webhooks.delivery_keep_days)

    def row(self, company_id: str, delivery: Delivery) -> Document:
        return {
            **to_document(delivery),
            "companyId": company_id,
            "expiresAt": delivery.created_at + self.keep,
        }

    async def add_deliveries(self, rows: Sequence[tuple[str, Delivery]]) -> None:
        """`(company id, delivery)` each; one that is there already stays as it is."""
        documents = [self.row(company_id, delivery) for company_id, delivery in rows]
        await self._swift_deliveries.insert_missing(documents)

    async def subscribers(self, company_ids: Sequence[str]) -> dict[str, list[Document]]:
        """Company to `_id`, `events`, `retries` and `state` of its webhooks, paused ones too."""
        found = await self._db.brief(WEBHOOKS).find(
            {"companyId": {"$in": list(company_ids)}},
            limit=100_000,
            projection={"companyId": 1, "events": 1, "retries": 1, "state": 1},
        )
        table: dict[str, list[Document]] = {}
        for row in found:
            table.setdefault(row["companyId"], []).append(row)
        return table

    async def active(self, webhook_ids: Sequence[str]) -> set[str]:
        """Those that are active as of now."""
        where = {"_id": {"$in": list(webhook_ids)}, "state": str(WebhookState.ACTIVE)}
        found = await self._webhooks.find(where, limit=len(webhook_ids), projection={"_id": 1})
        return {row["_id"] for row in found}

    async def record(self, endings: Sequence[Ending]) -> None:
        """Attempts and what their deliveries became; a repeat changes nothing."""
        attempts = [ending.attempt for ending in endings if ending.attempt is not None]
        if attempts:
            await self._swift_attempts.insert_missing(attempts)
        await self._swift_deliveries.bulk(_changes(endings))

    async def find(self, delivery_id: str) -> Document | None:
        return await self._deliveries.find_one({"_id": delivery_id})


def _changes(endings: Sequence[Ending]) -> list[Any]:
    """One write for all that arrived alike, one for each of the others."""
    alike: dict[tuple[int, int | None], list[str]] = {}
    writes: list[Any] = []
    for ending in endings:
        if ending.state is DeliveryState.DELIVERED:
            alike.setdefault((ending.number, ending.status), []).append(ending.delivery_id)
        else:
            writes.append(_change(ending))
    for (number, status), ids in alike.items():
        delivered = {
            "state": str(DeliveryState.DELIVERED),
            "attempts": number,
            "status": status,
            "class": str(AnswerClass.OK),
            "updatedAt": endings[0].at,
        }
        # A later start has recorded already: what comes late changes nothing.
        where = {"_id": {"$in": ids}, "attempts": {"$lt": number}}
        writes.append(UpdateMany(where, {"$set": delivered, "$unset": {"dueAt": "", "reason": ""}}))
    return writes


def _change(ending: Ending) -> UpdateOne:
    fields: Document = {
        "state": str(ending.state),
        "updatedAt": ending.at,
        "reason": ending.reason,
        "dueAt": ending.due_at,
    }
    where: Document = {"_id": ending.delivery_id}
    if ending.attempt is None:
        where["state"] = {"$in": [str(DeliveryState.PENDING), str(DeliveryState.RETRY)]}
    else:
        where["attempts"] = {"$lt": ending.number}
        fields |= {"attempts": ending.number, "status": ending.status, "class": ending.result}
    change: Document = {"$set": fields}
    if ending.state is DeliveryState.HELD:
        where["holds"] = ending.holds or {"$in": [0, None]}
        change["$inc"] = {"holds": 1}
    return UpdateOne(where, change)


def still_in(webhook_id: str, state: WebhookState) -> UpdateOne:
    """A change that meets the webhook in this state only, for a transaction that relies on it.

    A snapshot does not see who resumes it at the same moment: its settling would be over before
    what the transaction leaves for it is there. Writing the row makes the two conflict.
    """
    return UpdateOne({"_id": webhook_id, "state": str(state)}, {"$inc": {"reliedOn": 1}})


async def rely_on(tx: Transaction, webhook: Webhook) -> None:
    """Raises TransientConflict unless the webhook's state holds until the commit."""
    if not await tx.platform(WEBHOOKS).bulk([still_in(webhook.id, webhook.state)]):
        raise TransientConflict()


async def bodies(rows: Rows, event_ids: Sequence[str]) -> dict[str, Document]:
    """Event id to its `body` and `createdAt`, where it is still kept."""
    found = await rows.find(
        {"_id": {"$in": list(event_ids)}},
        limit=len(event_ids),
        projection={"body": 1, "createdAt": 1},
    )
    return {row["_id"]: row for row in found if "body" in row}


async def sending_ids(db: Database, session: TenantSession) -> set[str]:
    """Deliveries of the session's company that are being sent: their job runs now."""
    held = await held_jobs(db, Queue.WEBHOOK)
    running = await session.rows(JOBS).find(
        {"_id": {"$in": held}, "kind": "webhook.deliver", "lease.claim": {"$gt": ""}},
        limit=_MOST_SENDING,
        projection={"payload.delivery_id": 1},
    )
    return {row["payload"]["delivery_id"] for row in running}


async def health_of(session: TenantSession, webhook_ids: Sequence[str]) -> dict[str, Health]:
    """Webhook to how it does, where anything was ever sent."""
    where = {"_id": {"$in": list(webhook_ids)}}
    found = await session.rows(HEALTH).find(where, limit=len(webhook_ids))
    return {row["_id"]: from_document(row, Health) for row in found}
