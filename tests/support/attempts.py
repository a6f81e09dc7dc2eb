"""Attempts and deliveries written straight to their collections, as the dispatcher writes them."""

from datetime import datetime, timedelta
from typing import Any

from novapulse.core.ids import derived_id, new_id
from novapulse.core.mongo import Document
from novapulse.deliveries.sending import attempt_id
from novapulse.deliveries.store import ATTEMPTS, DELIVERIES
from tests.support.api import Api

KEEP = timedelta(days=30)


def attempt_row(company_id: str, webhook_id: str, *, at: datetime, **fields: Any) -> Document:
    """One failed attempt; `fields` are those of the row that matter."""
    event_id = fields.get("eventId", new_id("evt"))
    delivery_id = fields.get("deliveryId", derived_id("dlv", event_id, webhook_id, "0"))
    number = fields.get("attempt", 1)
    return {
        "_id": attempt_id(delivery_id, number),
        "companyId": company_id,
        "deliveryId": delivery_id,
        "eventId": event_id,
        "event": "task.created",
        "webhookId": webhook_id,
        "attempt": number,
        "trigger": "event",
        "class": "transient",
        "status": 500,
        "error": None,
        "peerIp": "93.184.215.14",
        "timings": {
            "dnsMs": 0.5,
            "connectMs": 1.25,
            "tlsMs": 0.0,
            "firstByteMs": 3.0,
            "totalMs": 4.75,
        },
        "headers": {"content-type": "text/plain", "retry-after": "5"},
        "body": "né\0",
        "truncated": False,
        "keyId": "0" * 24,
        "createdAt": at,
        "expiresAt": at + KEEP,
        **fields,
    }


def delivery_row(company_id: str, webhook_id: str, *, at: datetime, **fields: Any) -> Document:
    """One delivery that arrived."""
    event_id = fields.get("eventId", new_id("evt"))
    replay = fields.get("replay", 0)
    return {
        "_id": derived_id("dlv", event_id, webhook_id, str(replay)),
        "companyId": company_id,
        "eventId": event_id,
        "event": "task.created",
        "webhookId": webhook_id,
        "replay": replay,
        "trigger": "event",
        "state": "delivered",
        "attempts": 1,
        "status": 200,
        "class": "ok",
        "createdAt": at,
        "updatedAt": at,
        "expiresAt": at + KEEP,
        **fields,
    }


async def write_attempts(api: Api, rows: list[Document]) -> None:
    await api.runtime.db.platform(ATTEMPTS).insert_many(rows)


async def write_deliveries(api: Api, rows: list[Document]) -> None:
    await api.runtime.db.platform(DELIVERIES).insert_many(rows)
