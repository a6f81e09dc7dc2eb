"""Pages: newest first, an opaque cursor, no page numbers and no totals."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec

from novapulse.core.errors import Invalid
from novapulse.core.mongo import Document

Item = TypeVar("Item")
DEFAULT_LIMIT = 50
NEWEST_FIRST = (("createdAt", -1), ("_id", -1))


class Page(msgspec.Struct, frozen=True, rename="camel"):
    next_cursor: str | None
    limit: int


class Listing(msgspec.Struct, Generic[Item], frozen=True):
    """A list answer: `{"data": [...], "page": {...}}`."""

    data: list[Item]
    page: Page


def encode_cursor(created_at: datetime, row_id: str) -> str:
    raw = f"{round(created_at.timestamp() * 1000)}:{row_id}"
    return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")


def after(cursor: str | None) -> Document:
    """The filter for rows older than the cursor's; raises Invalid for what is no cursor."""
    if cursor is None:
        return {}
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        milliseconds, _, row_id = raw.partition(":")
        moment = datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
    except (ValueError, OverflowError, OSError, binascii.Error) as error:
        raise Invalid.field("cursor", "is not a cursor of this list") from error
    older: list[Document] = [
        {"createdAt": {"$lt": moment}},
        {"createdAt": moment, "_id": {"$lt": row_id}},
    ]
    return {"$or": older}


def listing(rows: list[Any], limit: int) -> Listing[Any]:
    """A page out of up to `limit + 1` items with `created_at` and `id`."""
    data = rows[:limit]
    has_more = len(rows) > limit
    cursor = encode_cursor(data[-1].created_at, data[-1].id) if has_more else None
    return Listing(data=data, page=Page(next_cursor=cursor, limit=limit))
