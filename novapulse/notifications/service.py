"""Use cases on one's own notifications."""

from novapulse.core import paging
from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.paging import Listing
from novapulse.notifications.model import (
    MarkedRead,
    Notification,
    NotificationQuery,
    UnreadCount,
)
from novapulse.notifications.store import NotificationStore


async def list_notifications(ctx: Context, query: NotificationQuery) -> Listing[Notification]:
    """The caller's notifications, newest first."""
    return paging.listing(await _own(ctx).page(query), query.limit)


async def count_unread(ctx: Context) -> UnreadCount:
    """How many the caller has not read, counted from the rows themselves."""
    return UnreadCount(count=await _own(ctx).unread_count())


async def mark_read(ctx: Context, notification_id: str) -> Notification:
    """Mark one as read; again changes nothing. Raises NotFound."""
    return await _own(ctx).mark_read(notification_id, at=ctx.now())


async def mark_all_read(ctx: Context) -> MarkedRead:
    """Mark all that there are as read."""
    return MarkedRead(count=await _own(ctx).mark_all_read(at=ctx.now()))


def _own(ctx: Context) -> NotificationStore:
    """Outside of transactions: each use case is one atomic write, and parallel ones all succeed."""
    ctx.require(Scope.PROFILE)
    return NotificationStore(ctx.read_home(), user_id=ctx.principal.user_id)
