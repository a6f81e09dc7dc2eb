"""The ledger as the dispatcher asks it: who waits, what is due, and the bodies to send."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from novapulse.core.jobs.kinds import Queue
from novapulse.core.jobs.ledger import CLAIMABLE, Ledger
from novapulse.core.jobs.rows import JOBS
from novapulse.core.jobs.states import CLAIMABLE_STATES, State
from novapulse.core.mongo import Document
from novapulse.deliveries.planner import is_recovery
from novapulse.dispatch.board import Turn

LANE = "lane"
_MOST_LANES = 20_000
# Only the webhook queue has lanes. Its jobs without one are those that move many deliveries.
INDEXES: tuple[Document, ...] = (
    {
        "name": LANE,
        "keys": [("queue", 1), ("state", 1), ("lane", 1), ("dueAt", 1)],
        "partialFilterExpression": {"queue": str(Queue.WEBHOOK), **CLAIMABLE},
    },
)
Waiting = tuple[str | None, Turn]


@dataclass(frozen=True, slots=True)
class Look:
    """Lanes with something due, and the seconds until something else is."""

    due: Sequence[Waiting] = ()
    next_due_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class LaneGlance:
    """Due rows by lane, and the seconds until it has to be looked again."""

    rows: dict[Waiting, list[Document]]
    next_due_seconds: float


class LaneLedger(Ledger):
    """The webhook queue, by lanes."""

    async def look_at_lanes(self) -> Look:
        """Who waits: an index seek a lane and state, however long the backlogs are."""
        first, *others = (_earliest(state) for state in CLAIMABLE_STATES)
        unions = [{"$unionWith": {"coll": JOBS, "pipeline": other}} for other in others]
        wait = {"$subtract": ["$dueAt", "$$NOW"]}
        shown = {"$project": {"state": 1, "wait": wait, "now": "$$NOW"}}
        stages = [*first, *unions, shown, {"$limit": _MOST_LANES}]
        found = await self._rows.aggregate(stages, hint=LANE)
        if found:
            self._looked = (found[0]["now"], time.monotonic())
        due = dict.fromkeys(
            (row["_id"], turn_of(row["_id"], row["state"])) for row in found if row["wait"] <= 0
        )
        later = [row["wait"] / 1000 for row in found if row["wait"] > 0]
        return Look(list(due), min(later, default=None))

    async def glance_at_lanes(self, *, limit: int) -> LaneGlance | None:
        """What is due now or within a second, of all lanes, in one read.

        None when it is not so little that `limit` rows show all of it.
        """
        states = {"$in": [str(state) for state in CLAIMABLE_STATES]}
        seen = await self._glance({"state": states}, limit=limit, hint=LANE)
        if seen is None:
            return None
        rows: dict[Waiting, list[Document]] = {}
        for row in seen.rows:
            lane = row.get("lane")
            rows.setdefault((lane, turn_of(lane, row["state"])), []).append(row)
        return LaneGlance(rows, seen.next_due_seconds)

    async def peek(self, lane: str | None, turn: Turn, *, limit: int) -> list[Document]:
        """Due jobs of a lane, oldest first; they are not claimed."""
        among = CLAIMABLE_STATES if lane is None else _STATES_OF[turn]
        states = [str(state) for state in among]
        if (now := await self.now()) is None:
            return []
        return await self._brief.find(
            {
                "queue": self._queue,
                "lane": lane,
                "state": states[0] if len(states) == 1 else {"$in": states},
                "dueAt": {**CLAIMABLE["dueAt"], "$lte": now},
            },
            sort=(("dueAt", 1),),
            limit=limit,
            hint=LANE,
        )

    async def peek_many(self, lanes: Sequence[Waiting], *, limit: int) -> list[list[Document]]:
        return await asyncio.gather(*(self.peek(lane, turn, limit=limit) for lane, turn in lanes))


_STATES_OF: dict[Turn, tuple[State, ...]] = {
    Turn.FIRST: (State.AVAILABLE, State.SCHEDULED),
    Turn.LATER: (State.RETRYABLE,),
    Turn.RECOVER: CLAIMABLE_STATES,
}


def turn_of(lane: str | None, state: str) -> Turn:
    if lane is not None and is_recovery(lane):
        return Turn.RECOVER
    return Turn.LATER if state == State.RETRYABLE and lane is not None else Turn.FIRST


def _earliest(state: State) -> list[Document]:
    return [
        {"$match": {"queue": str(Queue.WEBHOOK), "state": str(state), **CLAIMABLE}},
        {"$sort": {"lane": 1, "dueAt": 1}},
        {"$group": {"_id": "$lane", "dueAt": {"$first": "$dueAt"}}},
        {"$set": {"state": str(state)}},
    ]


def event_ids(rows: Sequence[Document]) -> list[str]:
    """Of the events that the jobs carry, each once."""
    payloads = (row["payload"] for row in rows)
    return list({payload["event_id"] for payload in payloads if "event_id" in payload})
