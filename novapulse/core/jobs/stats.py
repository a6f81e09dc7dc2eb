"""How many jobs there are, in bounded time: exact for small queues, a moment old for huge ones.

A count walks an index, so it is stopped at `EXACT`. Beyond that the answer is
the leader's last full count, which it takes as often as it is cheap.
"""

import asyncio
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from novapulse.core import wire
from novapulse.core.jobs.claims import held_jobs
from novapulse.core.jobs.kinds import Priority, Queue
from novapulse.core.jobs.ledger import CLAIM, CLAIMABLE, DUE, FINISHED
from novapulse.core.jobs.rows import JOBS
from novapulse.core.jobs.states import TERMINAL, State
from novapulse.core.mongo import Database, Document

EXACT = 10_000
SNAPSHOTS = "queue_counts"
_MANY = 100_000
_BUSY_WINDOW_SECONDS = 5

Counts = dict[str, int]


class Snapshot(msgspec.Struct, frozen=True):
    """A full count of one queue's claimable jobs, and when it was taken."""

    counts: Counts
    at: datetime


async def counts(db: Database, company_id: str | None = None) -> dict[str, Counts]:
    """Jobs per queue and state; of one company, or of all."""
    found = await asyncio.gather(*(_of_queue(db, queue, company_id) for queue in Queue))
    table = dict(zip(map(str, Queue), found, strict=True))
    for queue, number in (await _running(db, company_id)).items():
        table[queue][State.RUNNING] = number
    return table


async def _of_queue(db: Database, queue: Queue, company_id: str | None) -> Counts:
    """Of each state but the running; one after the other, as connections are not ours alone."""
    found = dict.fromkeys(map(str, State), 0) | await _claimable(db, queue, company_id)
    for state in map(str, TERMINAL):
        where = {
            **_scope(queue, company_id),
            "state": state,
            "finishedAt": CLAIMABLE["dueAt"],
        }
        found[state] = await db.platform(JOBS).count(where, limit=_MANY, hint=FINISHED)
    return found


def _scope(queue: Queue, company_id: str | None) -> Document:
    scope: Document = {"queue": str(queue)}
    return scope if company_id is None else {**scope, "companyId": company_id}


async def _claimable(db: Database, queue: Queue, company_id: str | None) -> Counts:
    where = {**_scope(queue, company_id), **CLAIMABLE}
    number = await db.platform(JOBS).count(where, limit=EXACT, hint=CLAIM)
    if not number:
        return {}
    if number < EXACT:
        return await _by_state(db, where)
    row = await db.platform(SNAPSHOTS).find_one({"_id": str(queue)})
    if company_id is None and row is not None:
        return wire.convert(row, Snapshot).counts
    return {str(State.AVAILABLE): number}


async def _by_state(db: Database, where: Document) -> Counts:
    """Claimable jobs by what they are now: whatever is due is available."""
    state = {"$cond": [{"$lte": ["$dueAt", "$$NOW"]}, str(State.AVAILABLE), "$state"]}
    group = {"$group": {"_id": state, "n": {"$sum": 1}}}
    found = await db.platform(JOBS).aggregate([{"$match": where}, group], hint=CLAIM)
    return {row["_id"]: row["n"] for row in found}


async def _running(db: Database, company_id: str | None) -> Counts:
    """By queue."""
    if not (held := await held_jobs(db)):
        return {}
    where: Document = {"_id": {"$in": held}, "lease.claim": {"$gt": ""}}
    if company_id is not None:
        where["companyId"] = company_id
    group = {"$group": {"_id": "$queue", "n": {"$sum": 1}}}
    found = await db.platform(JOBS).aggregate([{"$match": where}, group])
    return {row["_id"]: row["n"] for row in found}


async def take_snapshots(db: Database) -> float:
    """Count the claimable jobs of every queue that is too long to be counted by readers.

    Returns the seconds that it took, so that the caller can keep it a small
    part of the work.
    """
    started = time.perf_counter()
    for queue in Queue:
        where = {"queue": str(queue), **CLAIMABLE}
        if await db.platform(JOBS).count(where, limit=EXACT, hint=CLAIM) < EXACT:
            continue
        row = {"counts": await _by_state(db, where)}
        change: list[Any] = [{"$set": {**row, "at": "$$NOW"}}]
        await db.platform(SNAPSHOTS).find_and_update({"_id": str(queue)}, change, upsert=True)
    return time.perf_counter() - started


async def oldest_seconds(
    db: Database, company_id: str | None = None, *, among: Iterable[Queue] = Queue
) -> dict[str, float]:
    """Queue to how long its oldest due job has been waiting, where one is."""
    queues = list(among)
    waits = await asyncio.gather(*(_oldest(db, queue, company_id) for queue in queues))
    found = zip(map(str, queues), waits, strict=True)
    return {queue: seconds for queue, seconds in found if seconds is not None}


async def _oldest(db: Database, queue: Queue, company_id: str | None) -> float | None:
    due = {**_scope(queue, company_id), **CLAIMABLE, **DUE}
    due["priority"] = {"$in": [int(priority) for priority in Priority]}
    if company_id is None:
        due["companyId"] = {"$in": await _companies(db, queue)}
    found = await db.platform(JOBS).aggregate(
        [
            {"$match": due},
            {"$sort": {"dueAt": 1}},
            {"$limit": 1},
            {"$project": {"wait": {"$subtract": ["$$NOW", "$dueAt"]}}},
        ],
        hint=CLAIM,
    )
    return found[0]["wait"] / 1000 if found else None


async def _companies(db: Database, queue: Queue) -> list[str | None]:
    """Those with claimable jobs; the first thousand stand for all where there are more."""
    group = {"$group": {"_id": "$companyId"}}
    found = await db.platform(JOBS).aggregate(
        [{"$match": {"queue": str(queue), **CLAIMABLE}}, group, {"$limit": 1_000}], hint=CLAIM
    )
    return [row["_id"] for row in found]


async def rate_per_minute(
    db: Database, company_id: str | None = None, *, among: Iterable[Queue] = Queue
) -> dict[str, int]:
    """Queue to jobs completed in the last minute; of a very busy one, by its last seconds."""
    queues = list(among)
    rates = await asyncio.gather(*(_rate(db, queue, company_id) for queue in queues))
    return dict(zip(map(str, queues), rates, strict=True))


async def _rate(db: Database, queue: Queue, company_id: str | None) -> int:
    scope = {**_scope(queue, company_id), "state": str(State.COMPLETED)}
    number = await _finished_since(db, scope, seconds=60, limit=EXACT)
    if number < EXACT:
        return number
    recent = await _finished_since(db, scope, seconds=_BUSY_WINDOW_SECONDS, limit=_MANY)
    return recent * 60 // _BUSY_WINDOW_SECONDS


async def _finished_since(db: Database, scope: Document, *, seconds: int, limit: int) -> int:
    since = {"$expr": {"$gt": ["$finishedAt", {"$subtract": ["$$NOW", seconds * 1000]}]}}
    where = {**scope, "finishedAt": CLAIMABLE["dueAt"], **since}
    return await db.platform(JOBS).count(where, limit=limit, hint=FINISHED)
