"""Every query on notifications."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from novapulse.core import paging
from novapulse.core.documents import find_as, from_document, to_document
from novapulse.core.errors import NotFound
from novapulse.core.mongo import Document, TenantSession
from novapulse.identity.model import User
from novapulse.identity.store import USERS
from novapulse.notifications.model import (
    MAX_COUNT,
    Notification,
    NotificationQuery,
    NotificationRow,
)

NOTIFICATIONS = "notifications"
# Only so many administrators of one company are told of its troubles.
MAX_ADMINS = 50

INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    NOTIFICATIONS: (
        {
            "name": "newest",
            "keys": [("companyId", 1), ("userId", 1), ("createdAt", -1), ("_id", -1)],
        },
        {
            "name": "read",
            "keys": [
                *(("companyId", 1), ("userId", 1), ("isRead", 1)),
                *(("createdAt", -1), ("_id", -1)),
            ],
        },
        {"name": "expiry", "keys": [("expiresAt", 1)], "expireAfterSeconds": 0},
    ),
}


class NotificationStore:
    """The notifications of one user, in one company."""

    def __init__(self, session: TenantSession, *, user_id: str) -> None:
        self._rows = session.rows(NOTIFICATIONS)
        self._own = {"userId": user_id}

    async def page(self, query: NotificationQuery) -> list[Notification]:
        """One more than the page holds, when there are more; newest first."""
        where: Document = {} if query.is_read is None else {"isRead": query.is_read}
        found = await self._rows.find(
            {**self._own, **where, **paging.after(query.cursor)},
            sort=paging.NEWEST_FIRST,
            limit=query.limit + 1,
        )
        return [from_document(document, Notification) for document in found]

    async def unread_count(self) -> int:
        return await self._rows.count({**self._own, "isRead": False}, limit=MAX_COUNT, hint="read")

    async def mark_read(self, notification_id: str, *, at: datetime) -> Notification:
        """It as read; one that was read before keeps its time. Raises NotFound."""
        where = {"_id": notification_id, **self._own}
        unread = {**where, "isRead": False}
        document = await self._rows.find_and_update(
            unread, {"$set": {"isRead": True, "readAt": at}}
        )
        found = find_as(document or await self._rows.find_one(where), Notification)
        if found is None:
            raise NotFound("There is no such notification")
        return found

    async def mark_all_read(self, *, at: datetime) -> int:
        """How many were unread."""
        where = {**self._own, "isRead": False}
        return await self._rows.update_many(where, {"$set": {"isRead": True, "readAt": at}})


class Mailroom:
    """Where a company's new notifications are put, and who there is to get them."""

    def __init__(self, session: TenantSession) -> None:
        self._rows = session.rows(NOTIFICATIONS)
        self._users = session.rows(USERS)

    async def add(self, rows: Iterable[NotificationRow]) -> None:
        """Insert the rows; those that are there already stay as they are."""
        documents = [to_document(row) for row in rows]
        if documents:
            await self._rows.insert_missing(documents)

    async def members(self, user_ids: Sequence[str]) -> dict[str, User]:
        """Those of the users that are active members, by their id."""
        if not user_ids:
            return {}
        where = {"_id": {"$in": list(user_ids)}, "status": "active"}
        found = await self._users.find(where, limit=len(user_ids))
        return {row["_id"]: from_document(row, User) for row in found}

    async def admins(self) -> dict[str, User]:
        """The active administrators, by their id."""
        where = {"role": "company_admin", "status": "active"}
        found = await self._users.find(where, limit=MAX_ADMINS)
        return {row["_id"]: from_document(row, User) for row in found}
