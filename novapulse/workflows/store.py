"""Every query on workflows: of one company, and the leader's on those of all."""

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from typing import Any

import structlog

from novapulse.core import paging, wire
from novapulse.core.documents import find_as, from_document, to_document
from novapulse.core.errors import Invalid, NotFound, VersionConflict
from novapulse.core.events import EVENTS, EventRow
from novapulse.core.mongo import Database, Document, TenantSession
from novapulse.identity.store import COMPANIES
from novapulse.workflows.model import Workflow, WorkflowQuery

log = structlog.get_logger("workflows")
WORKFLOWS = "workflows"
_MANY = 100_000

INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    WORKFLOWS: (
        {"name": "newest", "keys": [("companyId", 1), ("createdAt", -1), ("_id", -1)]},
        {"name": "trigger", "keys": [("companyId", 1), ("isActive", 1), ("trigger.type", 1)]},
        {
            "name": "next",
            "keys": [("nextAt", 1)],
            "partialFilterExpression": {"nextAt": {"$exists": True}},
        },
    ),
}


class WorkflowStore:
    def __init__(self, session: TenantSession) -> None:
        self._rows = session.rows(WORKFLOWS)
        self._events = session.rows(EVENTS)

    async def insert(self, workflow: Workflow, *, next_at: datetime | None) -> None:
        await self._rows.insert(_with_next(workflow, next_at))

    async def replace(
        self, workflow: Workflow, *, if_version: int, next_at: datetime | None
    ) -> None:
        """Save over version `if_version`; raises VersionConflict when it is another by now."""
        where = {"_id": workflow.id, "version": if_version}
        if not await self._rows.replace(where, _with_next(workflow, next_at)):
            raise VersionConflict()

    async def find(self, workflow_id: str) -> Workflow | None:
        return find_as(await self._rows.find_one({"_id": workflow_id}), Workflow)

    async def get(self, workflow_id: str) -> Workflow:
        """Raises NotFound."""
        found = await self.find(workflow_id)
        if found is None:
            raise NotFound("There is no such workflow")
        return found

    async def page(self, query: WorkflowQuery) -> list[Workflow]:
        where: Document = {} if query.is_active is None else {"isActive": query.is_active}
        found = await self._rows.find(
            {**where, **paging.after(query.cursor)},
            sort=paging.NEWEST_FIRST,
            limit=query.limit + 1,
        )
        return [from_document(document, Workflow) for document in found]

    async def count(self, *, limit: int) -> int:
        return await self._rows.count({}, limit=limit)

    async def delete(self, workflow_id: str) -> None:
        await self._rows.delete_one({"_id": workflow_id})

    async def get_event(self, event_id: str) -> EventRow:
        """A public event of the company; raises NotFound."""
        row = await self._events.find_one({"_id": event_id})
        if row is None:
            raise NotFound("There is no such event")
        return wire.convert(row, EventRow)


class AllWorkflows:
    """What the leader asks and writes for all companies at once."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def triggered(self, company_ids: Sequence[str]) -> list[tuple[str, Workflow]]:
        """The active workflows of these companies that wait for events, with their company.

        They come without their actions: many that are large are asked for at once, and often.
        """
        where = {
            "companyId": {"$in": list(company_ids)},
            "isActive": True,
            "trigger.type": "event",
        }
        found = await self._db.brief(WORKFLOWS).find(
            where, limit=_MANY, projection={"actions": 0, "description": 0}, hint="trigger"
        )
        rows = [{**row, "actions": []} for row in found]
        return [(row["companyId"], workflow) for row, workflow in _readable(rows)]

    async def due(self, now: datetime, *, limit: int) -> list[tuple[str, datetime, Workflow]]:
        """Workflows whose time has come: company, the time, workflow."""
        found = await self._db.brief(WORKFLOWS).find(
            {"nextAt": {"$lte": now}}, sort=(("nextAt", 1),), limit=limit, hint="next"
        )
        return [(row["companyId"], row["nextAt"], workflow) for row, workflow in _readable(found)]

    async def planned(self, after: datetime) -> AsyncIterator[tuple[datetime, Workflow]]:
        """Workflows whose next time is later than that, with it; without what they do and ask."""
        later = {"nextAt": {"$gt": after}}
        unread = {"actions": 0, "description": 0, "conditions": 0}
        rows = self._db.platform(WORKFLOWS)
        for row in await rows.find(later, limit=_MANY, projection=unread, hint="next"):
            for _, workflow in _readable([{**row, "actions": []}]):
                yield row["nextAt"], workflow

    async def set_next(
        self, workflow: Workflow, *, was: datetime, next_at: datetime | None
    ) -> None:
        """The time after `was`, unless somebody changed the workflow meanwhile."""
        where = {"_id": workflow.id, "version": workflow.version, "nextAt": was}
        change: Document = {"$set": {"nextAt": next_at}} if next_at else {"$unset": {"nextAt": ""}}
        await self._db.platform(WORKFLOWS).update_one(where, change)

    async def is_suspended(self, company_id: str) -> bool:
        """Whether the company is shut: nothing is started in it."""
        row = await self._db.platform(COMPANIES).find_one({"_id": company_id})
        return row is None or row.get("status") == "suspended"


def _readable(rows: Sequence[Document]) -> Iterator[tuple[Document, Workflow]]:
    """One row that another release wrote must not hold up everybody's."""
    for row in rows:
        try:
            yield row, from_document(row, Workflow)
        except Invalid as error:
            log.warning("workflow.not_readable", workflowId=row["_id"], error=error.detail)


def _with_next(workflow: Workflow, next_at: datetime | None) -> Document:
    """`nextAt` is there exactly while a time is to come."""
    document = to_document(workflow)
    return document if next_at is None else {**document, "nextAt": next_at}
