"""Claims: a row a batch of claimed jobs, which says who holds them, and until when.

A job's row names its claim alone. So a batch is renewed by one small write, and no index
has to follow each job through its lease.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from novapulse.core.jobs.kinds import Queue
from novapulse.core.jobs.rows import JOBS, JobRow
from novapulse.core.mongo import Database, Document

CLAIMS = "job_claims"
INDEXES: tuple[Document, ...] = ({"name": "until", "keys": [("until", 1)]},)
# Nobody renews a claim of that time: it is being taken back.
_TAKEN = datetime(1970, 1, 1, tzinfo=UTC)
_MOST = 10_000
# The leader looks every five seconds: who did not for so long has seen nothing meanwhile.
_LONGEST_GAP_SECONDS = 15.0


class Claims:
    """What one consumer has claimed.

    A claim's row is written before its jobs', without waiting for the journal: that has one
    order, so no crash leaves a job that is held by a claim which is not there.
    """

    def __init__(self, db: Database, queue: str, *, owner: str, lease: timedelta) -> None:
        self._rows = db.swift(CLAIMS)
        self._queue = queue
        self._owner = owner
        self._lease = lease
        # Claim to the number of its jobs that we still hold.
        self._held: dict[str, int] = {}
        self._over: list[str] = []

    def open(self, claim: str, jobs: Sequence[str], *, now: datetime) -> Document:
        """`jobs` (ids) are about to be claimed: the command that has to come before that.

        `now` is the database's clock.
        """
        row = {
            "_id": claim,
            "queue": self._queue,
            "owner": self._owner,
            "until": now + self._lease,
            "leaseSeconds": self._lease.total_seconds(),
            "jobs": list(jobs),
        }
        self._held[claim] = len(jobs)
        return {"insert": CLAIMS, "documents": [row]}

    def is_safe(self, seconds: float) -> bool:
        """Whether one that was opened so long ago can not have lapsed yet."""
        return seconds < self._lease.total_seconds() / 2

    def won(self, claim: str, number: int) -> None:
        """So many of them did become ours."""
        self._held[claim] = number
        if not number:
            self._end(claim)

    def leave(self, claim: str) -> None:
        """Let it lapse: it is not known what became ours."""
        self._held.pop(claim, None)

    def ended(self, jobs: Iterable[JobRow]) -> None:
        """We hold these no longer, and their rows say so."""
        for job in jobs:
            if (number := self._held.get(job.claim)) is None:
                continue
            self._held[job.claim] = number - 1
            if number == 1:
                self._end(job.claim)

    def _end(self, claim: str) -> None:
        del self._held[claim]
        self._over.append(claim)

    async def renew(self, claims: Iterable[str]) -> None:
        """Hold them for a whole lease from now on, but for those that are being taken back."""
        where = {"_id": {"$in": list(claims)}, "until": {"$gt": _TAKEN}}
        until = {"$add": ["$$NOW", round(self._lease.total_seconds() * 1000)]}
        await self._rows.update_many(where, [{"$set": {"until": until}}])

    async def tidy(self) -> None:
        """Delete the rows of claims whose jobs have all ended."""
        over = self._over[:]
        if over:
            await self._rows.delete_many({"_id": {"$in": over}})
            del self._over[: len(over)]


class Silences:
    """How long the leader has seen claims stay as they are, by its own clock.

    That `until` has passed does not tell who is gone: when MongoDB was away for longer than a
    lease, or its clock stepped forward, all have, and who lives needs a moment to renew.
    """

    def __init__(self, db: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rows = db.platform(CLAIMS)
        self._clock = clock
        # Claim to its `until`, and when we first saw that one.
        self._seen: dict[str, tuple[datetime, float]] = {}
        self._looked = 0.0

    def forget(self) -> None:
        """Begin anew: for a while we did not look, or nobody could renew."""
        self._seen = {}

    async def ids(self) -> list[str]:
        """Claims that were not renewed for half a lease of our looking, or are being taken back.

        Living consumers renew every third of a lease. Where a program from before did not note
        how long that is, two looks in a row are enough.
        """
        asked = self._clock()
        if asked - self._looked > _LONGEST_GAP_SECONDS:
            self.forget()
        self._looked = asked
        fields = {"until": 1, "leaseSeconds": 1}
        found = await self._rows.find({}, sort=(("until", 1),), limit=_MOST, projection=fields)
        before, self._seen = self._seen, {}
        silent = []
        for row in found:
            until, since = before.get(row["_id"], (None, 0.0))
            if until != row["until"]:
                since = self._clock()
            self._seen[row["_id"]] = (row["until"], since)
            respite = row.get("leaseSeconds", 0.0) / 2
            if row["until"] == _TAKEN or asked - since >= respite:
                silent.append(row["_id"])
        return silent


async def take(db: Database, where: Document) -> list[Document]:
    """Claims that match `where`, for nobody else to renew; `drop` each once its jobs are free.

    A taken one has lapsed: when the taker dies, the next one takes it again.
    """
    rows = db.platform(CLAIMS)
    found = await rows.find(where, limit=_MOST)
    gone = {"$set": {"until": _TAKEN}}
    return [row for row in found if await rows.update_one({**where, "_id": row["_id"]}, gone)]


async def drop(db: Database, claim: str) -> None:
    await db.platform(CLAIMS).delete_one({"_id": claim})


async def held_jobs(db: Database, queue: Queue | None = None) -> list[str]:
    """The ids in all claims, of one queue or of all; some of them may have ended."""
    where = {} if queue is None else {"queue": str(queue)}
    found = await db.platform(CLAIMS).find(where, limit=_MOST, projection={"jobs": 1})
    return [job for row in found for job in row["jobs"]]


async def strays(db: Database) -> list[Document]:
    """Held jobs whose claim is not there, as `_id` (the claim's) and `jobs`; reads every job.

    There are none, but in a database of a program from before claims had rows.
    """
    group = {"$group": {"_id": "$lease.claim", "jobs": {"$push": "$_id"}}}
    known = {"from": CLAIMS, "localField": "_id", "foreignField": "_id", "as": "known"}
    held = {"$match": {"lease.claim": {"$gt": ""}}}
    unknown: Document = {"$match": {"known": []}}
    return await db.platform(JOBS).aggregate([held, group, {"$lookup": known}, unknown])
