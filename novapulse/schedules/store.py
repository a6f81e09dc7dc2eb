"""Every query on report schedules."""

from contextlib import suppress
from datetime import datetime
from typing import Any

from novapulse.core import paging
from novapulse.core.documents import find_as, from_document, to_document
from novapulse.core.errors import Invalid, NotFound, VersionConflict
from novapulse.core.mongo import Database, TenantSession
from novapulse.people.store import present
from novapulse.schedules.model import Schedule, ScheduleQuery

SCHEDULES = "report_schedules"
_MANY = 100_000

_NEWEST = [("createdAt", -1), ("_id", -1)]
INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    SCHEDULES: (
        {"name": "newest", "keys": [("companyId", 1), *_NEWEST]},
        {"name": "owner", "keys": [("companyId", 1), ("ownerId", 1), *_NEWEST]},
        {
            "name": "due",
            "keys": [("nextRunAt", 1)],
            "partialFilterExpression": {"isActive": True},
        },
    ),
}


class ScheduleStore:
    """One company's schedules; `own` narrows every query to those of this user."""

    def __init__(self, session: TenantSession, *, own: str | None = None) -> None:
        self._rows = session.rows(SCHEDULES)
        self._own = present(ownerId=own)

    async def insert(self, schedule: Schedule) -> None:
        await self._rows.insert(to_document(schedule))

    async def find(self, schedule_id: str) -> Schedule | None:
        return find_as(await self._rows.find_one({"_id": schedule_id, **self._own}), Schedule)

    async def get(self, schedule_id: str) -> Schedule:
        """Raises NotFound."""
        schedule = await self.find(schedule_id)
        if schedule is None:
            raise NotFound("There is no such report schedule")
        return schedule

    async def page(self, query: ScheduleQuery) -> list[Schedule]:
        """One more than the page holds, when there are more; newest first."""
        found = await self._rows.find(
            {**self._own, **paging.after(query.cursor)},
            sort=paging.NEWEST_FIRST,
            limit=query.limit + 1,
        )
        return [from_document(document, Schedule) for document in found]

    async def count(self, *, limit: int) -> int:
        return await self._rows.count(self._own, limit=limit)

    async def replace(self, schedule: Schedule, *, if_version: int) -> None:
        """Save over version `if_version`; raises VersionConflict when it is another by now."""
        where = {"_id": schedule.id, "version": if_version}
        if not await self._rows.replace(where, to_document(schedule)):
            raise VersionConflict()

    async def delete(self, schedule_id: str) -> None:
        await self._rows.delete_one({"_id": schedule_id})


async def planned_schedules(db: Database, *, after: datetime) -> list[Schedule]:
    """Active schedules whose next run is later than that, in all companies."""
    where = {"isActive": True, "nextRunAt": {"$gt": after}}
    schedules = []
    for document in await db.platform(SCHEDULES).find(where, limit=_MANY, hint="due"):
        with suppress(Invalid):  # one that another release wrote must not hold up the others
            schedules.append(from_document(document, Schedule))
    return schedules


async def set_next_run(db: Database, schedule: Schedule, *, next_run_at: datetime) -> None:
    """Unless somebody changed it meanwhile."""
    where = {"_id": schedule.id, "version": schedule.version}
    change = {"$set": {"nextRunAt": next_run_at}, "$inc": {"version": 1}}
    await db.platform(SCHEDULES).update_one(where, change)


async def due_schedules(db: Database, *, now: datetime, limit: int) -> list[tuple[str, str]]:
    """Company and id of active schedules whose time has come, in all companies."""
    where = {"isActive": True, "nextRunAt": {"$lte": now}}
    found = await db.brief(SCHEDULES).find(
        where, sort=(("nextRunAt", 1),), limit=limit, hint="due", projection={"companyId": 1}
    )
    return [(row["companyId"], row["_id"]) for row in found]
