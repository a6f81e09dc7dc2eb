"""The pump: takes committed events to those who asked for them, in the company's order.

One leader runs it. For each batch of unplanned events it stamps the company's
sequence, lets every planner insert its rows and jobs, and marks the events as
planned. Killed anywhere, the next pump does the rest again: a sequence is
taken once (unique index), and planners insert under derived ids.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import structlog

from novapulse.core import wire
from novapulse.core.context import Runtime
from novapulse.core.errors import TransientConflict
from novapulse.core.events import AUDIT_HEADS, EVENTS, EventRow
from novapulse.core.jobs.rows import JOBS
from novapulse.core.mongo import Document, Duplicate, UpdateOne
from novapulse.core.telemetry import metrics

log = structlog.get_logger("events")

# Gets events in order, inserts its own rows idempotently, returns job rows.
Planner = Callable[[Runtime, Sequence[EventRow]], Awaitable[list[Document]]]
BATCH = 500

INDEXES: tuple[dict[str, Any], ...] = (
    {
        "name": "unplanned",
        "keys": [("createdAt", 1)],
        "partialFilterExpression": {"isPlanned": False},
    },
    {
        "name": "sequence",
        "keys": [("companyId", 1), ("sequence", -1)],
        "unique": True,
        "partialFilterExpression": {"sequence": {"$exists": True}},
    },
    {"name": "resource", "keys": [("resourceId", 1), ("createdAt", -1), ("_id", -1)]},
)


class Pump:
    def __init__(self, runtime: Runtime, planners: Sequence[Planner]) -> None:
        self._runtime = runtime
        self._planners = planners
        self._rows = runtime.db.platform(EVENTS)
        self._last: dict[str, int] = {}

    def forget(self) -> None:
        """Drop what is remembered of the sequences: another leader may have gone on."""
        self._last.clear()

    async def run_once(self) -> int:
        """Plan one batch; how many events it had. Raises what the stores raise."""
        found = await self._rows.find(
            {"isPlanned": False}, sort=(("createdAt", 1),), limit=BATCH, hint="unplanned"
        )
        if not found:
            metrics.outbox_oldest_seconds.set(0)
            return 0
        oldest = self._runtime.clock() - found[0]["createdAt"]
        metrics.outbox_oldest_seconds.set(max(0.0, oldest.total_seconds()))
        events = await self._stamp([wire.convert(row, EventRow) for row in found])
        await self._plan(events)
        await self._rows.update_many(
            {"_id": {"$in": [event.id for event in events]}}, {"$set": {"isPlanned": True}}
        )
        return len(events)

    async def _stamp(self, events: list[EventRow]) -> list[EventRow]:
        """Give each event its company's next number, where it has none yet."""
        stamped, writes = [], []
        for event in events:
            if event.sequence:
                stamped.append(event)
                continue
            number = await self._next(event.company_id)
            where = {"_id": event.id, "sequence": {"$exists": False}}
            writes.append(UpdateOne(where, {"$set": {"sequence": number}}))
            stamped.append(msgspec.structs.replace(event, sequence=number))
        if writes:
            try:
                await self._write_stamps(writes)
            except BaseException:
                self.forget()
                raise
        return stamped

    async def _write_stamps(self, writes: list[UpdateOne]) -> None:
        """All or none: a leader that overlaps with another leaves no gap behind.

        Raises TransientConflict when the other one was quicker.
        """
        try:
            async with self._runtime.db.transaction() as session:
                rows = self._runtime.db.platform(EVENTS, session)
                if await rows.bulk(writes) < len(writes):
                    raise TransientConflict("Another leader stamps the same events")
        except Duplicate as error:
            raise TransientConflict("Another leader took the same number") from error

    async def _next(self, company_id: str) -> int:
        if company_id not in self._last:
            last = await self._rows.find(
                {"companyId": company_id, "sequence": {"$exists": True}},
                sort=(("sequence", -1),),
                limit=1,
                projection={"sequence": 1},
                hint="sequence",
            )
            newest = last[0]["sequence"] if last else 0
            self._last[company_id] = max(newest, await self._trimmed(company_id))
        self._last[company_id] += 1
        return self._last[company_id]

    async def _trimmed(self, company_id: str) -> int:
        """The highest number of the events that are not kept any more."""
        head = await self._runtime.db.platform(AUDIT_HEADS).find_one({"_id": company_id})
        return int(head["trimmed"]["sequence"]) if head else 0

    async def _plan(self, events: Sequence[EventRow]) -> None:
        jobs = [row for planner in self._planners for row in await planner(self._runtime, events)]
        if jobs:
            await self._runtime.db.platform(JOBS).insert_missing(jobs)
            for queue in {str(row["queue"]) for row in jobs}:
                self._runtime.bell.ring(queue)
        log.debug("events.planned", events=len(events), jobs=len(jobs))
