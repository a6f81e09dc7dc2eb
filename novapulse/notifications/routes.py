"""`/notifications`."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.paging import Listing
from novapulse.core.routing import Routes
from novapulse.notifications import service
from novapulse.notifications.model import (
    MarkedRead,
    Notification,
    NotificationQuery,
    UnreadCount,
)

routes = Routes("notifications")


@routes.add("GET", "/notifications", scope=Scope.PROFILE)
async def list_notifications(ctx: Context, query: NotificationQuery) -> Listing[Notification]:
    """List one's notifications, newest first."""
    return await service.list_notifications(ctx, query)


@routes.add("GET", "/notifications/unread-count", scope=Scope.PROFILE)
async def count_unread(ctx: Context) -> UnreadCount:
    """Count one's unread notifications, up to 10,000."""
    return await service.count_unread(ctx)


@routes.add("POST", "/notifications/read-all", scope=Scope.PROFILE)
async def mark_all_read(ctx: Context) -> MarkedRead:
    """Mark all of one's notifications as read."""
    return await service.mark_all_read(ctx)


@routes.add("POST", "/notifications/{id}/read", scope=Scope.PROFILE)
async def mark_read(ctx: Context, notification_id: str) -> Notification:
    """Mark one notification as read."""
    return await service.mark_read(ctx, notification_id)
