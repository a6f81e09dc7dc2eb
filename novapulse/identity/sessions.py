"""Queries on sessions, and the rotation of their refresh tokens."""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from novapulse.core.documents import find_as, from_document, to_document
from novapulse.core.mongo import Document
from novapulse.identity.model import Session
from novapulse.identity.store import SESSIONS, TICKETS, RowSource

# How long a token may come again because its answer was lost, and how many such are remembered.
GRACE = timedelta(seconds=10)
_REMEMBERED = 16
_NEWEST_FIRST = (("createdAt", -1), ("_id", -1))
_ALL = 1_000


class Limits(msgspec.Struct, frozen=True):
    """How long sessions live, and how many one user has."""

    idle: timedelta
    absolute: timedelta
    per_user: int


class SessionStore:
    def __init__(self, source: RowSource) -> None:
        self._rows = source.platform(SESSIONS)

    async def insert(self, session: Session) -> None:
        await self._rows.insert(to_document(session))

    async def find(self, session_id: str, now: datetime) -> Session | None:
        return find_as(await self._rows.find_one(_alive(now) | {"_id": session_id}), Session)

    async def of_user(self, user_id: str, now: datetime) -> list[Session]:
        """Newest first."""
        where = _alive(now) | {"userId": user_id}
        found = await self._rows.find(where, sort=_NEWEST_FIRST, limit=_ALL)
        return [from_document(document, Session) for document in found]

    async def end(self, session_id: str, *, user_id: str | None = None) -> bool:
        """Whether there was such a session, of `user_id` when given."""
        owner: Document = {} if user_id is None else {"userId": user_id}
        return bool(await self._rows.delete_one({"_id": session_id, **owner}))

    async def end_of_user(self, user_id: str, *, keep: str | None = None) -> int:
        """End every session of the user but `keep`; how many."""
        return await self._rows.delete_many({"userId": user_id, "_id": {"$ne": keep}})

    async def end_of_company(self, company_id: str) -> int:
        return await self._rows.delete_many({"companyId": company_id})

    async def end_oldest(self, user_id: str, *, keep: int) -> None:
        """Leave the user the `keep` newest sessions."""
        found = await self._rows.find(
            {"userId": user_id}, sort=_NEWEST_FIRST, limit=_ALL, projection={"_id": 1}
        )
        if surplus := [row["_id"] for row in found[keep:]]:
            await self._rows.delete_many({"_id": {"$in": surplus}})

    async def rotate(
        self, session_id: str, *, presented: str, successor: str, now: datetime, limits: Limits
    ) -> Session | None:
        """Exchange the one good token (hashes) in one atomic update; None when it is not that."""
        where = _alive(now) | {"_id": session_id, "tokenHash": presented}
        rotation = {"tokenHash": presented, "at": now}
        change: dict[str, Any] = {
            "tokenHash": successor,
            "lastUsedAt": now,
            "expiresAt": {"$min": [now + limits.idle, "$endsAt"]},
            "recent": {"$slice": [{"$concatArrays": ["$recent", [rotation]]}, -_REMEMBERED]},
        }
        return find_as(await self._rows.find_and_update(where, [{"$set": change}]), Session)

    async def step_up(self, session_id: str, until: datetime) -> None:
        await self._rows.update_one({"_id": session_id}, {"$set": {"steppedUpUntil": until}})


def _alive(now: datetime) -> Document:
    return {"expiresAt": {"$gt": now}}


def is_repeat(session: Session, presented: str, now: datetime) -> bool:
    """Whether the token (its hash) was exchanged so shortly ago that its answer may be lost."""
    return any(
        rotation.token_hash == presented and now - rotation.at <= GRACE
        for rotation in session.recent
    )


async def end_access(source: RowSource, user_id: str, *, keep: str | None = None) -> None:
    """End every session of somebody but `keep`, and withdraw every ticket.

    Belongs into the transaction that sets a password or disables an account: whoever had
    the old password may have asked for another address with it, or stand before the second factor.
    """
    await SessionStore(source).end_of_user(user_id, keep=keep)
    await source.platform(TICKETS).delete_many({"userId": user_id})
