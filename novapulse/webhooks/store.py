"""Reading what was sent: the log of attempts and the list of deliveries, in one company."""

from typing import Any

from novapulse.core import paging
from novapulse.core.documents import from_document
from novapulse.core.errors import NotFound
from novapulse.core.mongo import Database, Document, TenantSession
from novapulse.deliveries.model import AnswerClass, Attempt, Delivery, DeliveryState
from novapulse.deliveries.store import ATTEMPTS, DELIVERIES, ONCE, STATE
from novapulse.webhooks.model import AttemptQuery, DeliveryQuery, LogQuery

NEWEST, _EVENT, _CLASS, _STATUS, _ONE_EVENT = "newest", "event", "class", "status", "one_event"
_FAILED = [str(result) for result in AnswerClass if result is not AnswerClass.OK]
_WAITING = (DeliveryState.PENDING, DeliveryState.RETRY)


def _index(name: str, *fields: str) -> Document:
    """Newest first among the rows of a webhook that are alike in `fields`."""
    keys = [("companyId", 1), ("webhookId", 1), *((field, 1) for field in fields)]
    return {"name": name, "keys": [*keys, ("createdAt", -1), ("_id", -1)]}


INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    DELIVERIES: (_index(NEWEST), _index(_EVENT, "event")),
    ATTEMPTS: (
        _index(NEWEST),
        _index(_EVENT, "event"),
        # Nearly all attempts are well: those are found by any index, and every key costs. They
        # are never few among others, as a receiver that mostly fails is hardly sent to.
        {**_index(_CLASS, "class"), "partialFilterExpression": {"class": {"$in": _FAILED}}},
        _index(_STATUS, "status"),
        _index(_ONE_EVENT, "eventId"),
    ),
}


class LogStore:
    """Every list goes by an index that its filters name; of several, by the narrowest."""

    def __init__(self, session: TenantSession) -> None:
        self._attempts = session.rows(ATTEMPTS)
        self._deliveries = session.rows(DELIVERIES)

    async def page_of_attempts(self, webhook_id: str, query: AttemptQuery) -> list[Attempt]:
        where = _common(webhook_id, query)
        index = _EVENT if query.event else NEWEST
        if query.result is not None:
            where["class"] = str(query.result)
            index = index if query.result is AnswerClass.OK else _CLASS
        if query.status is not None:
            where["status"], index = query.status, _STATUS
        if query.delivery_id is not None:
            # All attempts of a delivery are of its event.
            delivery = await self._deliveries.find_one({"_id": query.delivery_id})
            if delivery is None or where.get("eventId", delivery["eventId"]) != delivery["eventId"]:
                return []
            where |= {"eventId": delivery["eventId"], "deliveryId": query.delivery_id}
        if "eventId" in where:
            index = _ONE_EVENT
        found = await self._attempts.find(
            where,
            sort=paging.NEWEST_FIRST,
            limit=query.limit + 1,
            hint=index,
        )
        return [from_document(document, Attempt) for document in found]

    async def page_of_deliveries(
        self, webhook_id: str, query: DeliveryQuery, *, sending: set[str]
    ) -> list[Delivery]:
        where = _common(webhook_id, query)
        index = _EVENT if query.event else NEWEST
        if query.state is DeliveryState.SENDING:
            where["_id"] = {"$in": sorted(sending)}
            index = "_id_"
        elif query.state is not None:
            where["state"] = str(query.state)
            if query.state in _WAITING:
                where["_id"] = {"$nin": sorted(sending)}
            # Most have been delivered: those are found by any index.
            index = index if query.state is DeliveryState.DELIVERED else STATE
        if query.event_id is not None:
            index = ONCE
        found = await self._deliveries.find(
            where,
            sort=paging.NEWEST_FIRST,
            limit=query.limit + 1,
            hint=index,
        )
        return [from_document(_as_of_now(document, sending), Delivery) for document in found]


async def company_of(db: Database, delivery_id: str) -> str:
    """Whose delivery it is; raises NotFound."""
    rows = db.platform(DELIVERIES)
    found = await rows.find_one({"_id": delivery_id}, projection={"companyId": 1})
    if found is None:
        raise NotFound("There is no such delivery")
    return str(found["companyId"])


def _common(webhook_id: str, query: LogQuery) -> Document:
    """The filter that both lists have."""
    where: Document = {"webhookId": webhook_id}
    parts = paging.NEWEST.beyond(query.cursor)
    if span := query.span():
        parts.append({"createdAt": span})
    if parts:
        where["$and"] = parts
    if query.event is not None:
        where["event"] = query.event
    if query.event_id is not None:
        where["eventId"] = query.event_id
    return where


def _as_of_now(document: Document, sending: set[str]) -> Document:
    """A waiting delivery whose job runs is being sent."""
    if document["_id"] in sending and document["state"] in map(str, _WAITING):
        return {**document, "state": str(DeliveryState.SENDING)}
    return document
