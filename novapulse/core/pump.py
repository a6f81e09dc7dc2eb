"""The pump: takes committed events to those who asked for them, in the company's order.

One leader runs it. Planners say what a batch of unplanned events leads to; one
transaction stamps the company's sequence on the events, marks them as planned
and inserts those rows. Killed anywhere, it has happened wholly or not at all.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec
import structlog

from novapulse.core import wire
from novapulse.core.context import Runtime
from novapulse.core.errors import TransientConflict
from novapulse.core.events import AUDIT_HEADS, EVENTS, EventRow
from novapulse.core.jobs.rows import JOBS
from novapulse.core.mongo import Binary, Document, Duplicate, UpdateOne
from novapulse.core.telemetry import metrics

log = structlog.get_logger("events")

BATCH = 500
# What one transaction may write: the store holds all of it in its cache until the commit.
_MOST_ROWS = 5_000
_MOST_BYTES = 8 << 20


class Plan:
    """What a batch of events leads to; planners add to it and write nothing themselves."""

    def __init__(self) -> None:
        self.rows: defaultdict[str, list[Document]] = defaultdict(list)
        self.changes: defaultdict[str, list[UpdateOne]] = defaultdict(list)
        self.bodies: dict[str, bytes] = {}

    def insert(self, collection: str, rows: Iterable[Document]) -> None:
        """New rows under ids that derive from their event, with their company."""
        self.rows[collection].extend(rows)

    def enqueue(self, jobs: Iterable[Document]) -> None:
        self.insert(JOBS, jobs)

    def require(self, collection: str, change: UpdateOne) -> None:
        """A row that the plan relies on: unless the change meets it, all is planned anew.

        Whoever changes the row at the same moment conflicts with it.
        """
        self.changes[collection].append(change)

    def keep_body(self, event: EventRow) -> None:
        """Store the payload once: every attempt and replay sends these bytes."""
        if event.id not in self.bodies:
            self.bodies[event.id] = event.body()

    @property
    def is_large(self) -> bool:
        rows = sum(map(len, self.rows.values()))
        return rows > _MOST_ROWS or sum(map(len, self.bodies.values())) > _MOST_BYTES


# Gets events in order, reads what it needs, and adds to the plan.
Planner = Callable[[Runtime, Sequence[EventRow], Plan], Awaitable[None]]

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
        self._waiting = runtime.db.brief(EVENTS)
        self._last: dict[str, int] = {}
        self._has_met_rows = False
        self._most_events = BATCH

    def forget(self) -> None:
        """Drop what is remembered of the sequences: another leader may have gone on."""
        self._last.clear()

    async def run_once(self) -> int:
        """Plan one batch; how many events it had. Raises what the stores raise.

        TransientConflict: another leader was quicker, or what a planner relied on has changed.
        """
        found = await self._waiting.find(
            {"isPlanned": False},
            sort=(("createdAt", 1),),
            limit=self._most_events,
            hint="unplanned",
        )
        if not found:
            metrics.outbox_oldest_seconds.set(0)
            return 0
        oldest = self._runtime.clock() - found[0]["createdAt"]
        metrics.outbox_oldest_seconds.set(max(0.0, oldest.total_seconds()))
        events = await self._numbered([wire.convert(row, EventRow) for row in found])
        events, plan = await self._plan(events)
        if self._has_met_rows or any("sequence" in row for row in found):
            await self._leave_out_known(plan, found)
        try:
            await self._write(events, plan)
        except BaseException as error:
            self.forget()
            if not isinstance(error, TransientConflict):
                # A store that was too slow for so much at once may be quick enough for less.
                self._most_events = max(1, len(events) // 2)
            raise
        self._most_events = min(BATCH, 2 * self._most_events)
        for event in events:
            if (newest := self._last.get(event.company_id)) is not None:
                self._last[event.company_id] = max(newest, event.sequence)
        jobs = plan.rows[JOBS]
        for queue in {str(row["queue"]) for row in jobs}:
            self._runtime.bell.ring(queue)
        log.debug("events.planned", events=len(events), jobs=len(jobs))
        return len(events)

    async def _numbered(self, events: Sequence[EventRow]) -> list[EventRow]:
        """Each with its company's next number, where it has none yet."""
        taken = Counter[str]()
        numbers = []
        for event in events:
            if not event.sequence:
                taken[event.company_id] += 1
            fresh = await self._newest(event.company_id) + taken[event.company_id]
            numbers.append(event.sequence or fresh)
        return [
            msgspec.structs.replace(event, sequence=number)
            for event, number in zip(events, numbers, strict=True)
        ]

    async def _newest(self, company_id: str) -> int:
        """The highest number of a company."""
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
        return self._last[company_id]

    async def _trimmed(self, company_id: str) -> int:
        """The highest number of the events that are not kept any more."""
        head = await self._runtime.db.platform(AUDIT_HEADS).find_one({"_id": company_id})
        return int(head["trimmed"]["sequence"]) if head else 0

    async def _plan(self, events: list[EventRow]) -> tuple[list[EventRow], Plan]:
        """As many of the first events as one transaction may take, and what they lead to."""
        while True:
            plan = Plan()
            await asyncio.gather(
                *(planner(self._runtime, events, plan) for planner in self._planners)
            )
            if len(events) == 1 or not plan.is_large:
                return events, plan
            events = events[: len(events) // 2]

    async def _leave_out_known(self, plan: Plan, found: Sequence[Document]) -> None:
        """What is there already stays as it is.

        A program from before plans were transactions may have ended in the middle of one.
        """
        for row in found:
            if "body" in row:
                plan.bodies.pop(row["_id"], None)
        for collection, rows in plan.rows.items():
            where = {"_id": {"$in": [row["_id"] for row in rows]}}
            there = await self._runtime.db.platform(collection).find(
                where, limit=len(rows) or 1, projection={"_id": 1}
            )
            known = {row["_id"] for row in there}
            plan.rows[collection] = [row for row in rows if row["_id"] not in known]

    async def _write(self, events: Sequence[EventRow], plan: Plan) -> None:
        """All of it or nothing: a leader that overlaps with another leaves no gap behind."""
        db = self._runtime.db
        marks = [_mark(event, plan.bodies.get(event.id)) for event in events]
        try:
            async with db.transaction() as session:
                for collection, changes in {EVENTS: marks, **plan.changes}.items():
                    if await db.platform(collection, session).bulk(changes) < len(changes):
                        raise TransientConflict("Somebody else was quicker")
                for collection, rows in plan.rows.items():
                    if rows:
                        await db.platform(collection, session).insert_many(rows)
        except Duplicate as error:
            self._has_met_rows = True
            raise TransientConflict("Another leader took the same number") from error
        self._has_met_rows = False


def _mark(event: EventRow, body: bytes | None) -> UpdateOne:
    """The event as planned, with its number, and with its body where somebody asked for it."""
    where = {"_id": event.id, "isPlanned": False, "sequence": {"$in": [None, event.sequence]}}
    fields: Document = {"isPlanned": True, "sequence": event.sequence}
    if body is not None:
        fields["body"] = Binary(body)
    return UpdateOne(where, {"$set": fields})
