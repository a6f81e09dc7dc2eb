"""The ledger's writes: claim under a lease, finish, release. All in batches.

Every change of a running job is fenced by its claim: a consumer that lost the
lease meanwhile changes nothing. Due times and leases use the database's clock.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from novapulse.core import wire
from novapulse.core.ids import new_id
from novapulse.core.jobs.kinds import Queue
from novapulse.core.jobs.rows import JOBS, JobRow
from novapulse.core.jobs.states import MAX_LAPSES, Outcome, State
from novapulse.core.mongo import Database, Document, UpdateMany, UpdateOne

KEEP_COMPLETED = timedelta(hours=24)
KEEP_DEAD = timedelta(days=30)
KEPT_ERRORS = 10
CONSUMERS = "consumers"
BEAT_SECONDS = 5.0
_SILENT_MILLISECONDS = 20_000
CLAIMABLE_ROWS: Document = {"dueAt": {"$exists": True}}
DUE_ROWS: Document = {"$expr": {"$lte": ["$dueAt", "$$NOW"]}}

INDEXES: tuple[dict[str, Any], ...] = (
    {
        "name": "claim",
        "keys": [("queue", 1), ("priority", 1), ("dueAt", 1)],
        "partialFilterExpression": CLAIMABLE_ROWS,
    },
    {
        "name": "lease",
        "keys": [("lease.until", 1)],
        "partialFilterExpression": {"lease.until": {"$exists": True}},
    },
    {"name": "state", "keys": [("queue", 1), ("state", 1), ("finishedAt", -1)]},
    {"name": "expiry", "keys": [("expiresAt", 1)], "expireAfterSeconds": 0},
)
CONSUMER_INDEXES: tuple[Document, ...] = (
    {"name": "expiry", "keys": [("at", 1)], "expireAfterSeconds": 3600},
)


class Ledger:
    """One queue's jobs, as the consumer `owner` handles them."""

    def __init__(self, db: Database, queue: Queue, owner: str, *, lease_seconds: float) -> None:
        self._rows = db.platform(JOBS)
        self._consumers = db.platform(CONSUMERS)
        self._queue = queue
        self._owner = owner
        self._lease_milliseconds = round(lease_seconds * 1000)

    async def claim(self, limit: int) -> list[JobRow]:
        """Up to `limit` due jobs, now running under our lease; `attempt` counts this start."""
        found = await self._rows.find(
            {"queue": str(self._queue), **CLAIMABLE_ROWS, **DUE_ROWS},
            sort=(("priority", 1), ("dueAt", 1)),
            limit=limit,
            projection={"_id": 1},
            hint="claim",
        )
        if not found:
            return []
        ids = [row["_id"] for row in found]
        claim = new_id("clm")
        await self._rows.update_many({"_id": {"$in": ids}, **CLAIMABLE_ROWS}, self._start(claim))
        won = await self._rows.find(
            {"_id": {"$in": ids}, "lease.claim": claim}, limit=limit, sort=(("priority", 1),)
        )
        return [wire.convert(row, JobRow) for row in won]

    def _start(self, claim: str) -> list[Document]:
        lease = {"owner": self._owner, "claim": claim, "until": self._until()}
        started: Document = {
            "state": str(State.RUNNING),
            "lease": lease,
            "startedAt": "$$NOW",
            "attempt": {"$add": ["$attempt", 1]},
        }
        return [{"$set": started}, {"$unset": "dueAt"}]

    def _until(self) -> Document:
        return {"$add": ["$$NOW", self._lease_milliseconds]}

    async def next_due_seconds(self) -> float | None:
        """Seconds until the earliest claimable job is due; None when there is none."""
        # Naming the three priorities makes it a merge of three index seeks.
        claimable = {"queue": str(self._queue), "priority": {"$in": [0, 1, 2]}, **CLAIMABLE_ROWS}
        found = await self._rows.aggregate(
            [
                {"$match": claimable},
                {"$sort": {"dueAt": 1}},
                {"$limit": 1},
                {"$project": {"wait": {"$subtract": ["$dueAt", "$$NOW"]}}},
            ],
            hint="claim",
        )
        return found[0]["wait"] / 1000 if found else None

    async def renew(self) -> None:
        """Push the lease of everything that this owner runs."""
        await self._rows.update_many(
            {"lease.owner": self._owner, "lease.until": {"$exists": True}},
            [{"$set": {"lease.until": self._until()}}],
            hint="lease",
        )

    async def beat(self) -> None:
        """Say that this consumer lives; `live_consumers` counts it for a while."""
        beat = [{"$set": {"queue": str(self._queue), "at": "$$NOW"}}]
        await self._consumers.find_and_update({"_id": self._owner}, beat, upsert=True)

    async def finish(self, ended: Sequence[tuple[JobRow, Outcome]], now: datetime) -> None:
        """Write how these attempts ended: one write for all completed ones of a claim."""
        completed: dict[str, list[str]] = {}
        writes: list[Any] = []
        for job, outcome in ended:
            if outcome.state is State.COMPLETED:
                completed.setdefault(_claim(job), []).append(job.id)
            else:
                where = {"_id": job.id, "lease.claim": _claim(job)}
                writes.append(UpdateOne(where, _failure(job, outcome, now)))
        done = {
            "$set": {
                "state": str(State.COMPLETED),
                "finishedAt": now,
                "expiresAt": now + KEEP_COMPLETED,
            },
            "$unset": {"lease": ""},
        }
        for claim, ids in completed.items():
            writes.append(UpdateMany({"_id": {"$in": ids}, "lease.claim": claim}, done))
        await self._rows.bulk(writes)

    async def give_back(self, jobs: Sequence[JobRow]) -> None:
        """Return claimed jobs that were not run to the end; no attempt is spent."""
        claims = {_claim(job) for job in jobs}
        await self._rows.update_many(
            {"_id": {"$in": [job.id for job in jobs]}, "lease.claim": {"$in": list(claims)}},
            [
                {
                    "$set": {
                        "state": str(State.AVAILABLE),
                        "attempt": {"$subtract": ["$attempt", 1]},
                        "dueAt": "$$NOW",
                    }
                },
                {"$unset": "lease"},
            ],
        )


def _claim(job: JobRow) -> str:
    return job.lease.claim if job.lease else ""


def _failure(job: JobRow, outcome: Outcome, now: datetime) -> list[Document]:
    """The update of one job that did not complete; times from the database's clock."""
    error = {"attempt": job.attempt, "at": now, "message": outcome.reason}
    kept = {"$slice": [{"$concatArrays": [{"$ifNull": ["$errors", []]}, [error]]}, -KEPT_ERRORS]}
    change: Document = {"state": str(outcome.state), "errors": kept}
    if outcome.state is State.RETRYABLE:
        change["dueAt"] = {"$add": ["$$NOW", round(outcome.delay_seconds * 1000)]}
        if not outcome.spends_attempt:
            change["attempt"] = {"$subtract": ["$attempt", 1]}
    else:
        change["finishedAt"] = now
        change["expiresAt"] = now + KEEP_DEAD
    return [{"$set": change}, {"$unset": "lease"}]


async def release(db: Database, lost: Document, reason: str) -> int:
    """Return running jobs whose lease matches `lost` to their queue; how many.

    A job that lost its consumer `MAX_LAPSES` times is dead: it is taken for the cause.
    """
    lapses = {"$add": [{"$ifNull": ["$lapses", 0]}, 1]}
    is_poison = {"$gte": [lapses, MAX_LAPSES]}
    error = {"attempt": "$attempt", "at": "$$NOW", "message": reason}
    kept = {"$slice": [{"$concatArrays": [{"$ifNull": ["$errors", []]}, [error]]}, -KEPT_ERRORS]}
    change: list[Document] = [
        {
            "$set": {
                "lapses": lapses,
                "errors": kept,
                "state": {"$cond": [is_poison, str(State.DEAD), str(State.AVAILABLE)]},
                "dueAt": {"$cond": [is_poison, "$$REMOVE", "$$NOW"]},
                "finishedAt": {"$cond": [is_poison, "$$NOW", "$$REMOVE"]},
            }
        },
        {"$unset": "lease"},
    ]
    where = {"state": str(State.RUNNING), "lease.until": {"$exists": True}, **lost}
    return await db.platform(JOBS).update_many(where, change, hint="lease")


async def release_lapsed(db: Database) -> int:
    """Take back what lost machines held; leases of live consumers are renewed in time."""
    lapsed = {"$expr": {"$lt": ["$lease.until", "$$NOW"]}}
    return await release(db, lapsed, "the lease lapsed: its consumer went silent")


async def due_queues(db: Database) -> list[str]:
    """Queues with due work: for the scheduler to ring again."""
    due = {**CLAIMABLE_ROWS, **DUE_ROWS}
    return [
        str(queue)
        for queue in Queue
        if await db.platform(JOBS).find({"queue": str(queue), **due}, limit=1, hint="claim")
    ]


async def counts(db: Database, company_id: str | None = None) -> dict[str, dict[str, int]]:
    """Jobs per queue and state; of one company, or of all."""
    scope: Document = {} if company_id is None else {"companyId": company_id}
    group = {"$group": {"_id": {"queue": "$queue", "state": "$state"}, "n": {"$sum": 1}}}
    found = await db.platform(JOBS).aggregate([{"$match": scope}, group])
    table = {str(queue): {str(state): 0 for state in State} for queue in Queue}
    for row in found:
        table[row["_id"]["queue"]][row["_id"]["state"]] = row["n"]
    return table


async def live_consumers(db: Database) -> dict[str, int]:
    """Queue to the number of consumers that were heard of in the last 20 seconds."""
    alive = {"$expr": {"$gt": ["$at", {"$subtract": ["$$NOW", _SILENT_MILLISECONDS]}]}}
    table: dict[str, int] = {}
    for row in await db.platform(CONSUMERS).find(alive, limit=1_000):
        table[row["queue"]] = table.get(row["queue"], 0) + 1
    return table


async def oldest_seconds(db: Database, company_id: str | None = None) -> dict[str, float]:
    """Queue to how long its oldest due job has been waiting, where one is."""
    scope: Document = {} if company_id is None else {"companyId": company_id}
    table: dict[str, float] = {}
    for queue in Queue:
        due = {"queue": str(queue), "priority": {"$in": [0, 1, 2]}, **CLAIMABLE_ROWS, **DUE_ROWS}
        found = await db.platform(JOBS).aggregate(
            [
                {"$match": {**due, **scope}},
                {"$sort": {"dueAt": 1}},
                {"$limit": 1},
                {"$project": {"wait": {"$subtract": ["$$NOW", "$dueAt"]}}},
            ],
            hint="claim",
        )
        if found:
            table[str(queue)] = found[0]["wait"] / 1000
    return table


async def finished_last_minute(db: Database, company_id: str | None = None) -> dict[str, int]:
    """Queue to the number of jobs that completed within the last 60 seconds."""
    scope: Document = {} if company_id is None else {"companyId": company_id}
    recent = {"$expr": {"$gt": ["$finishedAt", {"$subtract": ["$$NOW", 60_000]}]}}
    return {
        str(queue): await db.platform(JOBS).count(
            {"queue": str(queue), "state": str(State.COMPLETED), **recent, **scope}, limit=1_000_000
        )
        for queue in Queue
    }
