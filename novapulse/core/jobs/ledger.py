"""A consumer's side of the ledger: claim under a lease, finish, renew, give back. In batches.

Every change of a running job is fenced by its claim: a consumer that lost the
lease meanwhile changes nothing. Due times and leases use the database's clock.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from novapulse.core import wire
from novapulse.core.ids import new_id
from novapulse.core.jobs.kinds import Priority, Queue
from novapulse.core.jobs.rows import JOBS, JobRow
from novapulse.core.jobs.states import Outcome, State
from novapulse.core.mongo import Database, Document, UpdateMany, UpdateOne

KEPT_ERRORS = 10
CLAIM, LEASE, FINISHED, OPEN_KEY = "claim", "lease", "finished", "open_key"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# `dueAt` is there exactly while a job can be claimed, `lease` while it runs,
# `finishedAt` after its end: three small partial indexes, and every change of
# state touches two of them. A comparison instead of $exists keeps them covering.
CLAIMABLE: Document = {"dueAt": {"$gte": _EPOCH}}
DUE: Document = {"$expr": {"$lte": ["$dueAt", "$$NOW"]}}
INDEXES: tuple[Document, ...] = (
    {
        "name": CLAIM,
        "keys": [("queue", 1), ("companyId", 1), ("priority", 1), ("dueAt", 1), ("state", 1)],
        "partialFilterExpression": CLAIMABLE,
    },
    {
        "name": LEASE,
        "keys": [("lease.until", 1)],
        "partialFilterExpression": {"lease.until": {"$gte": _EPOCH}},
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


class Ledger:
    """One queue's jobs, as the consumer `owner` handles them."""

    def __init__(self, db: Database, queue: Queue, *, owner: str, lease_seconds: float) -> None:
        self._rows = db.platform(JOBS)
        self._queue = str(queue)
        self._owner = owner
        self._lease_milliseconds = round(lease_seconds * 1000)

    async def companies(self, *, limit: int) -> list[str | None]:
        """Companies that have something to claim, due or not.

        One index seek a company (a covered DISTINCT_SCAN), however long their backlogs are.
        """
        where: Document = {"queue": self._queue, **CLAIMABLE}
        found = await self._rows.aggregate(
            [{"$match": where}, {"$group": {"_id": "$companyId"}}, {"$limit": limit}], hint=CLAIM
        )
        return [row["_id"] for row in found]

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
        ids = [row["_id"] for row in candidates]
        claim = new_id("clm")
        won = await self._rows.update_many(
            {"_id": {"$in": ids}, **CLAIMABLE},
            [
                {
                    "$set": {
                        "state": str(State.RUNNING),
                        "lease": {"owner": self._owner, "claim": claim, "until": self._until()},
                        "startedAt": "$$NOW",
                        "attempt": {"$add": ["$attempt", 1]},
                    }
                },
                {"$unset": "dueAt"},
            ],
        )
        rows = candidates
        if won < len(ids):
            mine = {"_id": {"$in": ids}, "lease.claim": claim}
            rows = await self._rows.find(mine, limit=len(ids)) if won else []
            return [wire.convert(row, JobRow) for row in rows]
        return [wire.convert(self._started(row, claim), JobRow) for row in rows]

    def _started(self, row: Document, claim: str) -> Document:
        """The row as our claim left it, without reading it again."""
        lease = {"owner": self._owner, "claim": claim, "until": _EPOCH}
        return {
            **row,
            "state": str(State.RUNNING),
            "lease": lease,
            "attempt": row["attempt"] + 1,
            "dueAt": None,
        }

    def _until(self) -> Document:
        return {"$add": ["$$NOW", self._lease_milliseconds]}

    async def next_due_seconds(self, company_ids: Sequence[str | None]) -> float | None:
        """Seconds until the earliest claimable job is due; None when there is none."""
        where = {
            "queue": self._queue,
            "companyId": {"$in": list(company_ids)},
            # Naming the priorities makes it a merge of index seeks.
            "priority": {"$in": [int(priority) for priority in Priority]},
            **CLAIMABLE,
        }
        found = await self._rows.aggregate(
            [
                {"$match": where},
                {"$sort": {"dueAt": 1}},
                {"$limit": 1},
                {"$project": {"wait": {"$subtract": ["$dueAt", "$$NOW"]}}},
            ],
            hint=CLAIM,
        )
        return found[0]["wait"] / 1000 if found else None

    async def renew(self, job_ids: Sequence[str]) -> set[str]:
        """Push the lease of what we run; ids that we hold no longer, or that are cancelled."""
        where = {"_id": {"$in": list(job_ids)}, "lease.owner": self._owner}
        await self._rows.update_many(where, [{"$set": {"lease.until": self._until()}}])
        return await self.lost(job_ids)

    async def lost(self, job_ids: Sequence[str]) -> set[str]:
        """Those of our running jobs that somebody cancelled or took over."""
        where = {
            "_id": {"$in": list(job_ids)},
            "lease.owner": self._owner,
            "cancelledBy": {"$exists": False},
        }
        held = await self._rows.find(where, limit=len(job_ids), projection={"_id": 1})
        return set(job_ids) - {row["_id"] for row in held}

    async def finish(self, ended: Sequence[tuple[JobRow, Outcome]]) -> None:
        """Write how these attempts ended: one write for all completed ones of a claim."""
        completed: dict[str, list[str]] = {}
        writes: list[Any] = []
        for job, outcome in ended:
            if outcome.state is State.COMPLETED:
                completed.setdefault(_claim(job), []).append(job.id)
            else:
                where = {"_id": job.id, "lease.claim": _claim(job)}
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
        claims = {_claim(job) for job in jobs}
        where = {"_id": {"$in": [job.id for job in jobs]}, "lease.claim": {"$in": list(claims)}}
        returned = {
            "state": str(State.AVAILABLE),
            "attempt": {"$subtract": ["$attempt", 1]},
            "dueAt": "$$NOW",
        }
        await self._rows.update_many(where, [{"$set": returned}, {"$unset": "lease"}])

    async def note_progress(self, job: JobRow, progress: Document) -> None:
        where = {"_id": job.id, "lease.claim": _claim(job)}
        await self._rows.update_one(where, {"$set": {"progress": progress}})


def _claim(job: JobRow) -> str:
    return job.lease.claim if job.lease else ""


def _failure(job: JobRow, outcome: Outcome) -> list[Document]:
    """The update of one job that did not complete; times from the database's clock."""
    change: Document = {"state": str(outcome.state), "errors": error_added(outcome.reason)}
    unset = ["lease"]
    if outcome.state is State.RETRYABLE:
        change["dueAt"] = {"$add": ["$$NOW", round(outcome.delay_seconds * 1000)]}
        if not outcome.spends_attempt:
            change["attempt"] = {"$subtract": ["$attempt", 1]}
    else:
        change["finishedAt"] = "$$NOW"
        unset.append("openKey")
    return [{"$set": change}, {"$unset": unset}]


def error_added(reason: str) -> Document:
    """An expression: the row's last errors with one more."""
    error = {"attempt": "$attempt", "at": "$$NOW", "message": {"$literal": reason}}
    known: Document = {"$ifNull": ["$errors", []]}
    return {"$slice": [{"$concatArrays": [known, [error]]}, -KEPT_ERRORS]}
