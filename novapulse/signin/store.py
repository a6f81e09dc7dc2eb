"""Queries of signing in: single-use tokens, known by their hash only."""

import secrets
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from novapulse.core.documents import find_as
from novapulse.core.mongo import Document
from novapulse.identity.refresh import digest
from novapulse.identity.store import TICKETS, RowSource

INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    TICKETS: (
        {"name": "expiry", "keys": [("expiresAt", 1)], "expireAfterSeconds": 0},
        {"name": "user", "keys": [("userId", 1)]},
    ),
}


class Purpose(StrEnum):
    CHALLENGE = "challenge"
    RESET = "reset"
    EMAIL = "email"


class Ticket(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A single-use token as it is kept: `id` is its hash."""

    id: str
    purpose: Purpose
    user_id: str
    expires_at: datetime
    attempts: int = 0
    email: str = ""


class TicketStore:
    """Tokens that open one door once. Finding needs the token itself."""

    def __init__(self, source: RowSource) -> None:
        self._rows = source.platform(TICKETS)

    async def issue(
        self, purpose: Purpose, user_id: str, *, expires_at: datetime, email: str = ""
    ) -> str:
        """The token, which is known nowhere else."""
        token = secrets.token_urlsafe(32)
        row: Document = {"_id": digest(token), "purpose": str(purpose), "userId": user_id}
        row |= {"expiresAt": expires_at, "attempts": 0, "email": email}
        await self._rows.insert(row)
        return token

    async def find(self, purpose: Purpose, token: str, *, now: datetime) -> Ticket | None:
        return find_as(await self._rows.find_one(_good(purpose, token, now=now)), Ticket)

    async def attempt(
        self, purpose: Purpose, token: str, *, now: datetime, most: int
    ) -> Ticket | None:
        """Count a use that may fail; None after `most` of them."""
        where = _good(purpose, token, now=now) | {"attempts": {"$lt": most}}
        return find_as(await self._rows.find_and_update(where, {"$inc": {"attempts": 1}}), Ticket)

    async def take(self, ticket: Ticket) -> bool:
        """Use it up; False when somebody else was quicker."""
        return bool(await self._rows.delete_one({"_id": ticket.id}))

    async def withdraw(self, purpose: Purpose, user_id: str) -> None:
        await self._rows.delete_many({"userId": user_id, "purpose": str(purpose)})


def _good(purpose: Purpose, token: str, *, now: datetime) -> Document:
    return {"_id": digest(token), "purpose": str(purpose), "expiresAt": {"$gt": now}}
