"""Every query on the audit log: lines of one company or of all, and the heads of their chains."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from novapulse.audit.chain import SIGNED_AS, Head
from novapulse.audit.model import AuditLine, AuditQuery, AuditSelection, Link
from novapulse.core import paging
from novapulse.core.events import AUDIT_HEADS, EVENTS
from novapulse.core.mongo import (
    ClientSession,
    Database,
    Document,
    Duplicate,
    Reading,
    Rows,
    TenantSession,
    UpdateOne,
)
from novapulse.core.sealed import SealedField, SignedSpot
from novapulse.core.sources import Row, View
from novapulse.identity.store import COMPANIES

_CHAIN = "chain"
_UNSEALED = "unsealed"
# Of the events, beside those of the pump.
EVENT_INDEXES: tuple[dict[str, Any], ...] = (
    {
        "name": _UNSEALED,
        "keys": [("isPlanned", 1), ("createdAt", 1), ("_id", 1)],
        "partialFilterExpression": {"isSealed": False},
    },
    {
        "name": _CHAIN,
        "keys": [("companyId", 1), ("audit.seq", 1)],
        "unique": True,
        "partialFilterExpression": {"audit.seq": {"$exists": True}},
    },
    {"name": "newest", "keys": [("createdAt", -1), ("_id", -1)]},
    {"name": "company", "keys": [("companyId", 1), ("createdAt", -1), ("_id", -1)]},
    {"name": "actor", "keys": [("actor.userId", 1), ("createdAt", -1), ("_id", -1)]},
    {"name": "action", "keys": [("companyId", 1), ("type", 1), ("createdAt", -1), ("_id", -1)]},
)
INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    # The index makes the collection: no transaction must be the first to touch it.
    AUDIT_HEADS: ({"name": "company", "keys": [("companyId", 1)], "unique": True},),
}
_IN_ORDER = (("audit.seq", 1),)
_OLDEST_FIRST = (("createdAt", 1), ("_id", 1))
_MANY = 100_000


class AuditLog:
    """The lines of one company, or of all; `index` has them in the order of time."""

    def __init__(self, rows: Rows, index: str) -> None:
        self._rows = rows
        self._index = index

    @classmethod
    def of_company(cls, session: TenantSession) -> "AuditLog":
        return cls(session.rows(EVENTS), "company")

    @classmethod
    def of_all(cls, db: Database, *, reading: Reading = Reading.FRESH) -> "AuditLog":
        return cls(db.platform(EVENTS, reading=reading), "newest")

    async def page(self, query: AuditQuery) -> list[AuditLine]:
        """Newest first, one more than the limit if there are more."""
        where = {**_matching(query), **paging.after(query.cursor)}
        found = await self._rows.find(where, sort=paging.NEWEST_FIRST, limit=query.limit + 1)
        return [AuditLine.of(row) for row in found]

    def view(
        self,
        chosen: AuditSelection,
        *,
        row: Callable[[Document], Row],
        fields: tuple[str, ...] = (),
        actor: str | None = None,
    ) -> View:
        """All that match, oldest first; of one `actor` only."""
        where = _matching(chosen)
        if actor is not None:
            where = {"$and": [where, {"actor.userId": actor}]}
        return View(self._rows, where, row, self._index, fields)


class AuditStore:
    """The chains: rows in their order, and heads, of all companies."""

    def __init__(self, db: Database, session: ClientSession | None = None) -> None:
        self._db = db
        self._events = db.platform(EVENTS, session)
        self._heads = db.platform(AUDIT_HEADS, session)

    # Sealing

    async def unsealed(self, limit: int, *, but: Sequence[str] = ()) -> list[Document]:
        """Rows that wait to be sealed, oldest first; public ones once the pump is through."""
        where: Document = {"isPlanned": True, "isSealed": False, "audit": {"$exists": False}}
        if but:
            where["companyId"] = {"$nin": list(but)}
        return await self._events.find(where, sort=_OLDEST_FIRST, limit=limit, hint=_UNSEALED)

    async def any_unsealed(self) -> bool:
        """Whether there is one at all; less than a count costs."""
        rows = self._db.brief(EVENTS)
        where = {"isSealed": False}
        return bool(await rows.find(where, limit=1, hint=_UNSEALED, projection={"_id": 1}))

    async def count_unsealed(self, company_id: str | None = None) -> int:
        """Those that the pump still has, too; at most 100,000."""
        where: Document = {"isSealed": False}
        if company_id is not None:
            where["companyId"] = company_id
        return await self._events.count(where, limit=_MANY, hint=_UNSEALED)

    async def find_heads(self, company_ids: Sequence[str]) -> dict[str, Head]:
        where = {"_id": {"$in": list(company_ids)}}
        found = await self._heads.find(where, limit=len(company_ids))
        return {row["_id"]: _head(row) for row in found}

    async def find_head(self, company_id: str) -> Head | None:
        return (await self.find_heads([company_id])).get(company_id)

    async def write_head(self, head: Head, *, over: Head | None) -> bool:
        """False when the row is not `over` any more, or is there already."""
        document = msgspec.to_builtins(head)
        try:
            if over is None:
                await self._heads.insert({"_id": head.company_id, **document})
                return True
            where = {"_id": head.company_id, "mac": over.mac, "count": over.count}
            return bool(await self._heads.update_one(where, {"$set": document}))
        except Duplicate:
            return False

    async def write_links(self, links: Sequence[tuple[str, Link]]) -> int:
        """`(event id, link)` each; how many of them were still unsealed."""
        writes = [
            UpdateOne(
                {"_id": event_id, "audit": {"$exists": False}},
                {"$set": {"audit": msgspec.to_builtins(one)}, "$unset": {"isSealed": ""}},
            )
            for event_id, one in links
        ]
        return await self._events.bulk(writes)

    # Verifying and trimming

    async def company_ids(self) -> list[str]:
        """Every company that has, or should have, a chain; sorted."""
        found = await self._ids(AUDIT_HEADS) | await self._ids(COMPANIES)
        last = ""
        while True:  # from company to company along the index: as many reads as companies
            where = {"companyId": {"$gt": last}}
            rows = await self._events.find(
                where,
                sort=(("companyId", 1),),
                limit=1,
                projection={"companyId": 1},
                hint="company",
            )
            if not rows:
                return sorted(found)
            last = str(rows[0]["companyId"])
            found.add(last)

    async def _ids(self, collection: str) -> set[str]:
        found = await self._db.platform(collection).find({}, limit=_MANY, projection={"_id": 1})
        return {row["_id"] for row in found}

    async def founded_before(self, company_id: str, moment: datetime) -> bool:
        """Whether it is a company that was there before `moment`."""
        where = {"_id": company_id, "createdAt": {"$lt": moment}}
        return await self._db.platform(COMPANIES).find_one(where) is not None

    async def sealed_after(self, company_id: str, seq: float, *, limit: int) -> list[Document]:
        """The chain's next rows, in their order."""
        where = {"companyId": company_id, "audit.seq": {"$gt": seq}}
        return await self._events.find(where, sort=_IN_ORDER, limit=limit, hint=_CHAIN)

    async def find_outside(self, company_id: str, *, batch: int = 5_000) -> str | None:
        """The id of a row that is neither sealed nor waits to be; read in batches."""
        where = {"companyId": company_id}
        fields = {"audit.seq": 1, "isSealed": 1, "createdAt": 1}
        beyond: Document = {}
        while True:
            found = await self._events.find(
                where | beyond, sort=_OLDEST_FIRST, limit=batch, projection=fields, hint="company"
            )
            for row in found:
                if row.get("isSealed") is not False and not _has_number(row):
                    return str(row["_id"])
            if len(found) < batch:
                return None
            beyond = _beyond(found[-1])

    async def companies_with_sealed_before(
        self, moment: datetime, *, but: Sequence[str], limit: int = 1_000
    ) -> list[str]:
        """Companies of the oldest sealed rows, those in `but` left out; not always all of them."""
        where = {
            "createdAt": {"$lt": moment},
            "audit.seq": {"$exists": True},
            "companyId": {"$nin": list(but)},
        }
        found = await self._events.find(
            where, sort=_OLDEST_FIRST, limit=limit, projection={"companyId": 1}, hint="newest"
        )
        return sorted({row["companyId"] for row in found})

    async def sealed_ids_up_to(self, company_id: str, seq: int, *, limit: int) -> list[str]:
        where = {"companyId": company_id, "audit.seq": {"$gt": 0, "$lte": seq}}
        found = await self._events.find(
            where, sort=_IN_ORDER, limit=limit, projection={"_id": 1}, hint=_CHAIN
        )
        return [row["_id"] for row in found]

    async def delete(self, event_ids: Sequence[str]) -> int:
        return await self._events.delete_many({"_id": {"$in": list(event_ids)}})


def _matching(query: AuditSelection) -> Document:
    where = query.span()
    if query.actor is not None:
        where["actor.userId"] = query.actor
    if query.resource is not None:
        where["resourceId"] = query.resource
    if query.action is not None and query.action.endswith("*"):
        # From "task." to what comes right after all that begins so: no pattern reaches the store.
        where["type"] = {"$gte": query.action[:-1], "$lt": f"{query.action[:-2]}/"}
    elif query.action is not None:
        where["type"] = query.action
    return where


def _beyond(row: Document) -> Document:
    """What comes after the row, oldest first."""
    at, last = row["createdAt"], row["_id"]
    return {"$or": [{"createdAt": {"$gt": at}}, {"createdAt": at, "_id": {"$gt": last}}]}


def _has_number(row: Document) -> bool:
    audit = row.get("audit")
    number = audit.get("seq") if isinstance(audit, dict) else None
    return isinstance(number, int | float) and number > 0


def _head(row: Document) -> Head:
    return msgspec.convert(row, Head)


def _spots(row: Document) -> Iterator[SignedSpot]:
    head = _head(row)
    yield SignedSpot("mac", head.mac, head.message(), SIGNED_AS)


SEALED = (SealedField(AUDIT_HEADS, ("companyId", "count", "hash", "trimmed", "mac"), _spots),)
