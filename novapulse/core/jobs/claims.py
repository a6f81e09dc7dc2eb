"""Claims: a row a batch of claimed jobs, which says who holds them, and until when.

A job's row names its claim alone. So a batch is renewed by one small write, and no index
has to follow each job through its lease.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from novapulse.core.jobs.kinds import Queue
from novapulse.core.jobs.rows import JOBS, JobRow
from novapulse.core.mongo import Database, Document

CLAIMS = "job_claims"
INDEXES: tuple[Document, ...] = ({"name": "until", "keys": [("until", 1)]},)
# Nobody renews a claim of that time: it is being taken back.
_TAKEN = datetime(1970, 1, 1, tzinfo=UTC)
_MOST = 10_000


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


async def take(db: Database, where: Document) -> list[Document]:
    """Claims that match `where`, for nobody else to renew; `drop` each once its jobs are free.

    A taken one has lapsed: when the taker dies, the next one takes it again.
    """
    rows = db.platform(CLAIMS)
    found = await rows.find(where, limit=_MOST)
    gone = {"$set": {"until": _TAKEN}}
    return [row for row in found if await rows.update_one({"_id": row["_id"], **where}, gone)]


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
