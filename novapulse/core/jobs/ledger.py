"""A consumer's side of the ledger: claim under a lease, finish, renew, give back. In batches.

Every change of a running job is fenced by its claim: a consumer that lost the
lease meanwhile changes nothing. Due times and leases use the database's clock.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from novapulse.core import errors, wire
from novapulse.core.ids import new_id
from novapulse.core.jobs.kinds import Priority, Queue
from novapulse.core.jobs.rows import JOBS, JobRow
from novapulse.core.jobs.states import MAX_LAPSES, Outcome, State
from novapulse.core.mongo import Database, Document, UpdateMany, UpdateOne

KEPT_ERRORS = 10
CLAIM, LEASE, FINISHED, OPEN_KEY = "claim", "lease", "finished", "open_key"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# `dueAt` is there exactly while a job can be claimed, `lease` while it runs,
# `finishedAt` after its end: three small partial indexes, and every change of
# state touches two of them. A comparison instead of $exists keeps them covering.
CLAIMABLE: Document = {"dueAt": {"$gte": _EPOCH}}
DUE: Document = {"$expr": {"$lte": ["$dueAt", "$$NOW"]}}
HELD: Document = {"lease.until": {"$gte": _EPOCH}}
INDEXES: tuple[Document, ...] = (
    {
        "name": CLAIM,
        "keys": [("queue", 1), ("companyId", 1), ("priority", 1), ("dueAt", 1), ("state", 1)],
        "partialFilterExpression": CLAIMABLE,
    },
    {
        "name": LEASE,
        "keys": [("lease.until", 1)],
        "partialFilterExpression": HELD,
    },
    {
        "name": FINISHED,
        "keys": [("queue", 1), ("state", 1), ("finishedAt", 1)],
        "partialFilterExpression": {"finishedAt": {"$gte": _EPOCH}},
    },
    {
        "name": OPEN_KEY,
        "keys": [("openKey", 1)],
        "unique": True,
        "partialFilterExpression": {"openKey": {"$gt": ""}},
    },
)


@dataclass(frozen=True, slots=True)
class Look:
    """Companies with due jobs, and the seconds until the next job of another one is due."""

    due: tuple[str | None, ...]
    next_due_seconds: float | None


class Ledger:
    """One queue's jobs, as the consumer `owner` handles them."""

    def __init__(self, db: Database, queue: Queue, *, owner: str, lease_seconds: float) -> None:
        self._rows = db.platform(JOBS)
        self._queue = str(queue)
        self._owner = owner
        self._lease = timedelta(seconds=lease_seconds)
        # The database's clock at the last look, and ours then: a claim is spared an expression.
        self._looked: tuple[datetime, float] | None = None
        # Claims whose answer got lost: whether they took anything is not known.
        self._doubtful: list[str] = []

    async def look(self, *, limit: int) -> Look:
        """Who waits, those first that wait longest; at most `limit` companies.

        An index seek a company and priority (covered DISTINCT_SCANs), however
        long their backlogs are.
        """
        first, *others = (self._earliest(priority) for priority in Priority)
        unions = [{"$unionWith": {"coll": JOBS, "pipeline": other}} for other in others]
        found = await self._rows.aggregate(
            [
                *first,
                *unions,
                {"$group": {"_id": "$_id", "dueAt": {"$min": "$dueAt"}}},
                {"$project": {"wait": {"$subtract": ["$dueAt", "$$NOW"]}, "now": "$$NOW"}},
                {"$sort": {"wait": 1}},
                {"$limit": limit},
            ],
            hint=CLAIM,
        )
        if found:
            self._looked = (found[0]["now"], time.monotonic())
        due = tuple(row["_id"] for row in found if row["wait"] <= 0)
        later = found[len(due)]["wait"] / 1000 if len(due) < len(found) else None
        return Look(due, later)

    def _earliest(self, priority: Priority) -> list[Document]:
        """The earliest due time of each company's jobs of one priority."""
        where = {"queue": self._queue, "priority": int(priority), **CLAIMABLE}
        return [
            {"$match": where},
            {"$sort": {"companyId": 1, "priority": 1, "dueAt": 1}},
            {"$group": {"_id": "$companyId", "dueAt": {"$first": "$dueAt"}}},
        ]

    async def candidates(self, company_id: str | None, limit: int) -> list[Document]:
        """Up to `limit` due jobs of a company, the most urgent and oldest first."""
        return await self._rows.find(
            {"queue": self._queue, "companyId": company_id, **CLAIMABLE, **DUE},
            sort=(("priority", 1), ("dueAt", 1)),
            limit=limit,
            hint=CLAIM,
        )

    async def claim(self, candidates: Sequence[Document]) -> list[JobRow]:
        """Those of the candidates that are still free, now running under our lease.

        `attempt` counts this start. Two consumers may want the same rows; each
        gets those that its own write changed.
        """
        await self._settle()
        if self._looked is None:
            await self.look(limit=1)
        claim = new_id("clm")
        try:
            return await self._claim(candidates, claim)
        except errors.Unavailable:
            self._doubtful.append(claim)
            raise

    async def _settle(self) -> None:
        """Give back what claims took whose answers we never got: nobody runs it."""
        if self._doubtful:
            mine = {"lease.owner": self._owner, "lease.claim": {"$in": self._doubtful}}
            await self._return({**HELD, **mine})
            self._doubtful = []

    async def _claim(self, candidates: Sequence[Document], claim: str) -> list[JobRow]:
        ids = [row["_id"] for row in candidates]
        won = await self._rows.update_many(
            {"_id": {"$in": ids}, **CLAIMABLE},
            {
                "$set": {
                    "state": str(State.RUNNING),
                    "lease": {"owner": self._owner, "claim": claim, "until": self._until()},
                },
                "$currentDate": {"startedAt": True},
                "$inc": {"attempt": 1},
                "$unset": {"dueAt": ""},
            },
        )
        rows = candidates
        if won < len(ids):
            mine = {"_id": {"$in": ids}, "lease.claim": claim}
            rows = await self._rows.find(mine, limit=len(ids)) if won else []
            return [wire.convert(row, JobRow) for row in rows]
        started = self._started(claim)
        return [
            wire.convert(row | started | {"attempt": row["attempt"] + 1}, JobRow) for row in rows
        ]

    def _started(self, claim: str) -> Document:
        """What our claim changed in its rows, without reading them again."""
        lease = {"owner": self._owner, "claim": claim, "until": _EPOCH}
        return {"state": str(State.RUNNING), "lease": lease, "dueAt": None}

    def _until(self) -> datetime:
        """When a lease lapses that is taken now, by the database's clock."""
        now, then = self._looked or (_EPOCH, 0.0)
        return now + timedelta(seconds=time.monotonic() - then) + self._lease

    async def renew(self, jobs: Sequence[JobRow]) -> list[JobRow]:
        """Push the leases of what we hold; those that we hold no longer, or that are cancelled."""
        where = {"_id": {"$in": [job.id for job in jobs]}, "lease.owner": self._owner}
        until = {"$add": ["$$NOW", round(self._lease.total_seconds() * 1000)]}
        await self._rows.update_many(where, [{"$set": {"lease.until": until}}])
        return await self.lost(jobs)

    async def lost(self, jobs: Sequence[JobRow]) -> list[JobRow]:
        """Those of our jobs that somebody cancelled or took over, be it our own later claim."""
        where = {
            "_id": {"$in": [job.id for job in jobs]},
            "lease.owner": self._owner,
            "cancelledBy": {"$exists": False},
        }
        held = await self._rows.find(where, limit=len(jobs), projection={"lease.claim": 1})
        claims = {row["_id"]: row["lease"]["claim"] for row in held}
        return [job for job in jobs if claims.get(job.id) != job.claim]

    async def finish(self, ended: Sequence[tuple[JobRow, Outcome]]) -> None:
        """Write how these attempts ended: one write for all completed ones of a claim."""
        completed: dict[str, list[str]] = {}
        writes: list[Any] = []
        for job, outcome in ended:
            if outcome.state is State.COMPLETED:
                completed.setdefault(job.claim, []).append(job.id)
            else:
                where = {"_id": job.id, "lease.claim": job.claim}
                writes.append(UpdateOne(where, _failure(job, outcome)))
        done = {
            "$set": {"state": str(State.COMPLETED)},
            "$currentDate": {"finishedAt": True},
            "$unset": {"lease": "", "openKey": ""},
        }
        for claim, ids in completed.items():
            writes.append(UpdateMany({"_id": {"$in": ids}, "lease.claim": claim}, done))
        await self._rows.bulk(writes)

    async def give_back(self, jobs: Sequence[JobRow]) -> None:
        """Return claimed jobs that were not run to the end; no attempt is spent."""
        claims = {job.claim for job in jobs}
        ids = [job.id for job in jobs]
        await self._return({"_id": {"$in": ids}, "lease.claim": {"$in": list(claims)}})

    async def _return(self, where: Document) -> None:
        returned = {
            **freed(State.AVAILABLE, due_at="$$NOW"),
            "attempt": {"$subtract": ["$attempt", 1]},
        }
        await self._rows.update_many(where, [{"$set": returned}, {"$unset": "lease"}])

    async def note_progress(self, job: JobRow, progress: Document) -> None:
        where = {"_id": job.id, "lease.claim": job.claim}
        await self._rows.update_one(where, {"$set": {"progress": progress}})


def is_suspect(row: Document) -> bool:
    """Whether the job's next lapse would be its last: it runs alone, to be told apart."""
    return bool(row.get("lapses", 0) >= MAX_LAPSES - 1)


def freed(state: State, *, due_at: Any, is_poison: Any = False) -> Document:
    """A job's new fields when its lease ends before it does, as expressions.

    It can be claimed from `due_at` on, as `state`; but one that was cancelled
    meanwhile is cancelled now, and one that `is_poison` dead.
    """
    was_cancelled = {"$ne": [{"$type": "$cancelledBy"}, "missing"]}
    ends = {"$or": [was_cancelled, is_poison]}
    dead = {"$cond": [is_poison, str(State.DEAD), str(state)]}
    return {
        "state": {"$cond": [was_cancelled, str(State.CANCELLED), dead]},
        "dueAt": {"$cond": [ends, "$$REMOVE", due_at]},
        "finishedAt": {"$cond": [ends, "$$NOW", "$$REMOVE"]},
        "openKey": {"$cond": [ends, "$$REMOVE", "$openKey"]},
    }


def _failure(job: JobRow, outcome: Outcome) -> list[Document]:
    """The update of one job that did not complete; times from the database's clock."""
    change: Document = {"errors": error_added(outcome.reason)}
    unset = ["lease"]
    if outcome.state is State.RETRYABLE:
        due_at = {"$add": ["$$NOW", round(outcome.delay_seconds * 1000)]}
        change |= freed(State.RETRYABLE, due_at=due_at)
        if not outcome.spends_attempt:
            change["attempt"] = {"$subtract": ["$attempt", 1]}
    else:
        change |= {"state": str(outcome.state), "finishedAt": "$$NOW"}
        unset.append("openKey")
    return [{"$set": change}, {"$unset": unset}]


def error_added(reason: str) -> Document:
    """An expression: the row's last errors with one more."""
    error = {"attempt": "$attempt", "at": "$$NOW", "message": {"$literal": reason}}
    known: Document = {"$ifNull": ["$errors", []]}
    return {"$slice": [{"$concatArrays": [known, [error]]}, -KEPT_ERRORS]}
