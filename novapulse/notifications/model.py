"""Notifications: the document, and what a new one is made of."""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from novapulse.core import paging
from novapulse.core.errors import Invalid

MAX_RECIPIENTS = 200
# Unread ones are counted up to here: nobody reads on to a larger number.
MAX_COUNT = 10_000
_LONGEST_TITLE = 300
_LONGEST_BODY = 4_000
_LINK = re.compile(r"(?:/(?!/)|https?://)[^\s\x00-\x1f\x7f\\]{0,2000}")


class NotificationType(StrEnum):
    ASSIGNMENT = "assignment"
    COMMENT = "comment"
    MENTION = "mention"
    COMPLETION = "completion"
    REPORT = "report"
    WEBHOOK = "webhook"
    WORKFLOW = "workflow"
    MESSAGE = "message"


class Notification(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One as its owner sees it; `link` is a path below the public URL, or a URL."""

    id: str
    type: NotificationType
    title: str
    body: str | None = None
    link: str | None = None
    event_id: str | None = None
    is_read: bool = False
    read_at: datetime | None = None
    created_at: datetime


class NotificationRow(Notification, frozen=True, kw_only=True, rename="camel"):
    """As it is kept."""

    user_id: str
    expires_at: datetime


class NotificationQuery(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = paging.DEFAULT_LIMIT
    cursor: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    is_read: bool | None = None


class UnreadCount(msgspec.Struct, frozen=True):
    """At most `MAX_COUNT`."""

    count: int


class MarkedRead(msgspec.Struct, frozen=True):
    """How many were unread before."""

    count: int


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """What a notification says."""

    type: NotificationType
    title: str
    body: str | None = None
    link: str | None = None

    def to(
        self,
        user_id: str,
        *,
        cause: str,
        at: datetime,
        keep: timedelta,
        event_id: str | None = None,
    ) -> NotificationRow:
        """The row for one recipient; the same `cause` and recipient give the same id."""
        digest = hashlib.sha256(f"{cause}\0{user_id}".encode()).hexdigest()
        return NotificationRow(
            id=digest[:24],
            user_id=user_id,
            type=self.type,
            title=self.title[:_LONGEST_TITLE],
            body=self.body[:_LONGEST_BODY] if self.body else None,
            link=self.link,
            event_id=event_id,
            created_at=at,
            expires_at=at + keep,
        )


def check_payload(payload: Mapping[str, Any]) -> None:
    """Refuse what `notification.create` could not show; raises Invalid."""
    user_ids, title = payload.get("user_ids"), payload.get("title")
    if not isinstance(user_ids, list | tuple) or not 1 <= len(user_ids) <= MAX_RECIPIENTS:
        raise Invalid.field("user_ids", f"must be a list of 1 to {MAX_RECIPIENTS} ids")
    if not all(isinstance(one, str) and one for one in user_ids):
        raise Invalid.field("user_ids", "must be ids of users")
    if not isinstance(title, str) or not 1 <= len(title) <= _LONGEST_TITLE:
        raise Invalid.field("title", f"must have 1 to {_LONGEST_TITLE} characters")
    body, link = payload.get("body"), payload.get("link")
    if body is not None and not (isinstance(body, str) and len(body) <= _LONGEST_BODY):
        raise Invalid.field("body", f"must have at most {_LONGEST_BODY} characters")
    if link is not None and not (isinstance(link, str) and _LINK.fullmatch(link)):
        raise Invalid.field("link", "must be a path that begins with /, or an http(s) URL")
