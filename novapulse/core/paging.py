"""Pages: newest first unless a list says otherwise, an opaque cursor, no numbers, no totals."""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import msgspec

from novapulse.core.errors import Invalid
from novapulse.core.mongo import Document

Item = TypeVar("Item")
DEFAULT_LIMIT = 50
NEWEST_FIRST = (("createdAt", -1), ("_id", -1))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Order:
    """What a list is sorted by: a moment that all its rows have, then the id.

    Cursors carry `mark`, so that one of another order is refused.
    """

    field: str
    attribute: str
    direction: int
    mark: str = ""

    @property
    def sort(self) -> tuple[tuple[str, int], ...]:
        return ((self.field, self.direction), ("_id", self.direction))

    def beyond(self, cursor: str | None) -> list[Document]:
        """Filters for the rows after the cursor's, with bounds that an index scan can start at."""
        if cursor is None:
            return []
        moment, row_id = read_cursor(cursor, mark=self.mark)
        at, past = ("$lte", "$lt") if self.direction < 0 else ("$gte", "$gt")
        further: list[Document] = [{self.field: {past: moment}}, {"_id": {past: row_id}}]
        return [{self.field: {at: moment}}, {"$or": further}]


NEWEST = Order("createdAt", "created_at", -1)


class Page(msgspec.Struct, frozen=True, rename="camel"):
    next_cursor: str | None
    limit: int


class Listing(msgspec.Struct, Generic[Item], frozen=True):
    """A list answer: `{"data": [...], "page": {...}}`."""

    data: list[Item]
    page: Page


def encode_cursor(moment: datetime, row_id: str, *, mark: str = "") -> str:
    raw = f"{mark}{(moment - _EPOCH) // _MILLISECOND}:{row_id}"
    return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")


def read_cursor(cursor: str, *, mark: str = "") -> tuple[datetime, str]:
    """The moment and the id of the row that it points behind; raises Invalid for what is none."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        milliseconds, _, row_id = raw.partition(":")
        if not milliseconds.startswith(mark):
            raise ValueError("of another list")
        moment = _EPOCH + int(milliseconds.removeprefix(mark)) * _MILLISECOND
    except (ValueError, OverflowError, OSError, binascii.Error) as error:
        raise Invalid.field("cursor", "is not a cursor of this list") from error
    return moment, row_id


def after(cursor: str | None) -> Document:
    """The filter for rows older than the cursor's; raises Invalid for what is no cursor."""
    if cursor is None:
        return {}
    moment, row_id = read_cursor(cursor)
    older: list[Document] = [
        {"createdAt": {"$lt": moment}},
        {"createdAt": moment, "_id": {"$lt": row_id}},
    ]
    return {"$or": older}


def listing(rows: list[Any], limit: int, *, order: Order = NEWEST) -> Listing[Any]:
    """A page out of up to `limit + 1` items with an `id` and what `order` sorts by."""
    data = rows[:limit]
    cursor = None
    if len(rows) > limit:
        moment = getattr(data[-1], order.attribute)
        cursor = encode_cursor(moment, data[-1].id, mark=order.mark)
    return Listing(data=data, page=Page(next_cursor=cursor, limit=limit))
