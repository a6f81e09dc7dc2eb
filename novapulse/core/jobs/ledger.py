"""A consumer's side of the ledger: claim under a lease, finish, renew, give back. In batches.

Every change of a running job is fenced by its claim: a consumer that lost the
lease meanwhile changes nothing. Due times and leases use the database's clock.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from novapulse.core import errors, wire
from novapulse.core.ids import new_id
from novapulse.core.jobs.claims import Claims
from novapulse.core.jobs.kinds import Priority, Queue
from novapulse.core.jobs.rows import JOBS, JobRow
from novapulse.core.jobs.states import MAX_LAPSES, Outcome, State
from novapulse.core.mongo import Database, Document, UpdateMany, UpdateOne

KEPT_ERRORS = 10
CLAIM, FINISHED, OPEN_KEY = "claim", "finished", "open_key"
GLANCE_SECONDS = 1.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# `dueAt` is there exactly while a job can be claimed, `finishedAt` after its end: two
# partial indexes. Between, while it runs, its claim's row lists it. A comparison instead
# of $exists keeps them covering.
CLAIMABLE: Document = {"dueAt": {"$gte": _EPOCH}}
DUE: Document = {"$expr": {"$lte": ["$dueAt", "$$NOW"]}}
INDEXES: tuple[Document, ...] = (
    {
        "name": CLAIM,
        "keys": [("queue", 1), ("companyId", 1), ("priority", 1), ("dueAt", 1), ("state", 1)],
        "partialFilterExpression": CLAIMABLE,
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


@dataclass(frozen=True, slots=True)
class Glance:
    """Due jobs' rows, all there are, and the seconds until it has to be looked again."""

    rows: list[Document]
    next_due_seconds: float


class Ledger:
    """One queue's jobs, as the consumer `owner` handles them."""

    def __init__(self, db: Database, queue: Queue, *, owner: str, lease_seconds: float) -> None:
        self._db = db
        self._rows = db.platform(JOBS)
        self._brief = db.brief(JOBS)
        self._queue = str(queue)
        self._owner = owner
        lease = timedelta(seconds=lease_seconds)
        self._claims = Claims(db, self._queue, owner=owner, lease=lease)
        # The database's clock at the last look, and ours then: a claim is spared an expression.
        self._looked: tuple[datetime, float] | None = None
        # Claims whose answer got lost, and what they may have taken.
        self._doubtful: dict[str, list[str]] = {}

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

    async def glance(self, *, limit: int) -> Glance | None:
        """What is due now or within a second, of all companies, in one short read.

        None when it is not so little that `limit` rows show all of it.
        """
        return await self._glance({}, limit=limit, hint=CLAIM)

    async def _glance(self, where: Document, *, limit: int, hint: str) -> Glance | None:
        if (now := await self.now()) is None:
            return None
        soon = now + timedelta(seconds=GLANCE_SECONDS)
        due_at = {**CLAIMABLE["dueAt"], "$lte": soon}
        found = await self._brief.find(
            {"queue": self._queue, **where, "dueAt": due_at}, limit=limit, hint=hint
        )
        if len(found) == limit:
            return None
        # What is available was due when it was made: our clock may be a little behind.
        due = [row for row in found if row["state"] == State.AVAILABLE or row["dueAt"] <= now]
        waits = [(row["dueAt"] - now).total_seconds() for row in found if row not in due]
        return Glance(due, min(waits, default=GLANCE_SECONDS))

    async def candidates(
        self, company_id: str | None, limit: int, *, behind: Sequence[Document] = ()
    ) -> list[Document]:
        """Up to `limit` due jobs of a company, the most urgent and oldest first.

        `behind` were read before, in this order: only those that follow them in their priority.
        """
        if (now := await self.now()) is None:
            return []
        where: Document = {"queue": self._queue, "companyId": company_id}
        first = _EPOCH
        known: set[str] = set()
        if behind:
            first, where["priority"] = behind[-1]["dueAt"], behind[-1]["priority"]
            known = {row["_id"] for row in behind if row["dueAt"] >= first}
        found = await self._rows.find(
            {**where, "dueAt": {"$gte": first, "$lte": now}},
            sort=(("priority", 1), ("dueAt", 1)),
            limit=limit + len(known),
            hint=CLAIM,
        )
        return [row for row in found if row["_id"] not in known] if known else found

    async def claim(self, candidates: Sequence[Document]) -> list[JobRow]:
        """Those of the candidates that are still free and as they were read, now under our lease.

        `attempt` counts this start. Two consumers may want the same rows; each
        gets those that its own write changed.
        """
        await self._settle()
        now = await self.now()
        if now is None:
            return []
        claim = new_id("clm")
        try:
            return await self._claim(candidates, claim, now=now)
        except errors.Unavailable:
            self._doubt(claim, candidates)
            raise

    def _doubt(self, claim: str, rows: Iterable[Document]) -> None:
        """Nobody runs what it took of these: to be given back before the next one, or soon."""
        self._claims.leave(claim)
        self._doubtful[claim] = [row["_id"] for row in rows]

    async def _settle(self) -> None:
        """Give back what doubtful claims took."""
        for claim, ids in list(self._doubtful.items()):
            await self._return({"_id": {"$in": ids}, "lease.claim": claim})
            self._doubtful.pop(claim, None)

    async def _claim(
        self, candidates: Sequence[Document], claim: str, *, now: datetime
    ) -> list[JobRow]:
        ids = [row["_id"] for row in candidates]
        opened = time.monotonic()
        change = {
            "$set": {
                "state": str(State.RUNNING),
                "lease": {"owner": self._owner, "claim": claim},
            },
            "$currentDate": {"startedAt": True},
            "$inc": {"attempt": 1},
            "$unset": {"dueAt": ""},
        }
        taking = [{"q": where, "u": change, "multi": True} for where in _as_read(candidates)]
        # Durable once an outcome of theirs is: a claim that a crash undoes is made again, and
        # what ran under it runs again, as after any crash.
        _, won = await self._db.write_swiftly(
            JOBS,
            "claim",
            self._claims.open(claim, ids, now=now),
            {"update": JOBS, "updates": taking},
        )
        if not self._claims.is_safe(time.monotonic() - opened):
            self._doubt(claim, candidates)  # we were blocked: it may have been taken back since
            return []
        self._claims.won(claim, won)
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
        lease = {"owner": self._owner, "claim": claim}
        return {"state": str(State.RUNNING), "lease": lease, "dueAt": None}

    async def now(self) -> datetime | None:
        """The database's clock, late by a round trip at most; None while nothing waits at all."""
        if self._looked is None:
            await self.look(limit=1)
        if self._looked is None:
            return None
        now, then = self._looked
        return now + timedelta(seconds=time.monotonic() - then)

    async def renew(self, jobs: Sequence[JobRow]) -> list[JobRow]:
        """Push the leases of what we hold; those that we hold no longer, or that are cancelled."""
        await self._claims.renew({job.claim for job in jobs})
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
        self._claims.ended(job for job, _ in ended)

    async def tidy(self) -> None:
        """Now and then: give back what is in doubt, forget the claims that are over."""
        await self._settle()
        await self._claims.tidy()

    async def give_back(self, jobs: Sequence[JobRow]) -> None:
        """Return claimed jobs that were not run to the end; no attempt is spent."""
        claims = {job.claim for job in jobs}
        ids = [job.id for job in jobs]
        await self._return({"_id": {"$in": ids}, "lease.claim": {"$in": list(claims)}})
        self._claims.ended(jobs)

    async def _return(self, where: Document) -> None:
        returned = {
            **freed(State.AVAILABLE, due_at="$$NOW"),
            "attempt": {"$subtract": ["$attempt", 1]},
        }
        await self._rows.update_many(where, [{"$set": returned}, {"$unset": "lease"}])

    async def note_progress(self, job: JobRow, progress: Document) -> None:
        where = {"_id": job.id, "lease.claim": job.claim}
        await self._rows.update_one(where, {"$set": {"progress": progress}})


def _as_read(candidates: Sequence[Document]) -> list[Document]:
    """Filters that find these rows unless somebody began them since they were read.

    They may be read minutes ago. A start counts in `attempt`, but for one that spent none; that
    puts the job off, and each of these was due when it was read: what is due after the last of
    them is not to begin yet, by any clock.
    """
    due_at = {**CLAIMABLE["dueAt"], "$lte": max(row["dueAt"] for row in candidates)}
    ids: dict[int, list[str]] = {}
    for row in candidates:
        ids.setdefault(row["attempt"], []).append(row["_id"])
    return [
        {"_id": {"$in": alike}, "attempt": attempt, "dueAt": due_at}
        for attempt, alike in ids.items()
    ]


def is_suspect(row: Document) -> bool:
    """Whether the job's next lapse would be its last: it runs alone, to be told apart."""
    lapses = row.get("lapses", 0)
    return bool(lapses and lapses - row.get("outlived", 0) >= MAX_LAPSES - 1)


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
        elif job.lapses:  # it took no consumer with it: those lapses are held against it no more
            change["outlived"] = job.lapses
    else:
        change |= {"state": str(outcome.state), "finishedAt": "$$NOW"}
        unset.append("openKey")
    return [{"$set": change}, {"$unset": unset}]


def error_added(reason: str) -> Document:
    """An expression: the row's last errors with one more."""
    error = {"attempt": "$attempt", "at": "$$NOW", "message": {"$literal": reason}}
    known: Document = {"$ifNull": ["$errors", []]}
    return {"$slice": [{"$concatArrays": [known, [error]]}, -KEPT_ERRORS]}
