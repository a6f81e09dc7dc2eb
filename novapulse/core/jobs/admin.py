"""Inspecting and moving jobs by hand: every query that administration makes of the ledger."""

from datetime import datetime
from typing import Any

import msgspec

from novapulse.core import wire
from novapulse.core.errors import Conflict, NotFound, TransientConflict
from novapulse.core.jobs.kinds import Queue
from novapulse.core.jobs.ledger import CLAIM, CLAIMABLE, DUE, FINISHED, OPEN_KEY
from novapulse.core.jobs.rows import JobRow
from novapulse.core.jobs.states import CLAIMABLE_STATES, TERMINAL, State
from novapulse.core.mongo import Document, Duplicate, Rows


class JobStateConflict(Conflict):
    code = "job_state"
    title = "The job's state does not allow this"


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs of a queue; `since` compares with their creation."""

    queue: Queue
    state: State | None = None
    kind: str | None = None
    since: datetime | None = None
    company_id: str | None = None

    def where(self) -> Document:
        found: Document = {"queue": str(self.queue)}
        if self.company_id is not None:
            found["companyId"] = self.company_id
        found |= _of_state(self.state)
        if self.kind is not None:
            found["kind"] = self.kind
        if self.since is not None:
            found["createdAt"] = {"$gte": self.since}
        return found

    def hint(self) -> str | None:
        """The index that holds just the jobs of this state, where there is one."""
        if self.state in TERMINAL:
            return FINISHED
        return CLAIM if self.state in CLAIMABLE_STATES else None


def _of_state(state: State | None) -> Document:
    """The jobs in a state, as the partial index of that state can serve it.

    Nothing promotes a job when its time comes: `available` is whatever is due.
    """
    if state is None:
        return {}
    if state is State.AVAILABLE:
        return {**CLAIMABLE, **DUE}
    if state in CLAIMABLE_STATES:
        later = {"$expr": {"$gt": ["$dueAt", "$$NOW"]}}
        return {"state": str(state), **CLAIMABLE, **later}
    if state in TERMINAL:
        return {"state": str(state), "finishedAt": CLAIMABLE["dueAt"]}
    return {"state": str(state)}


def _idle(chosen: JobFilter) -> Document:
    return {**chosen.where(), "lease": {"$exists": False}}


def _open_key(row: Document) -> str:
    """As `NewJob.open_key` makes it."""
    return f"{row.get('companyId')}:{row['kind']}:{row['key']}"


class JobAdmin:
    """`rows` are the ledger's, inside or outside of a transaction."""

    def __init__(self, rows: Rows, queues: Rows) -> None:
        self._rows = rows
        self._queues = queues

    async def find(self, job_id: str, *, company_id: str | None) -> JobRow | None:
        """A job; with `company_id`, only that company's."""
        where: Document = {"_id": job_id}
        if company_id is not None:
            where["companyId"] = company_id
        row = await self._rows.find_one(where)
        return None if row is None else wire.convert(row, JobRow)

    async def get(self, job_id: str, *, company_id: str | None = None) -> JobRow:
        """Raises NotFound."""
        job = await self.find(job_id, company_id=company_id)
        if job is None:
            raise NotFound("There is no such job")
        return job

    async def page(self, chosen: JobFilter, *, before: str | None, limit: int) -> list[JobRow]:
        """Up to `limit` jobs, newest first, older than the id `before`."""
        where = chosen.where()
        if before is not None:
            where["_id"] = {"$lt": before}
        found = await self._rows.find(where, sort=(("_id", -1),), limit=limit)
        return [wire.convert(row, JobRow) for row in found]

    async def retry(self, job_id: str) -> JobRow:
        """Run it as soon as possible: a dead or cancelled job gets its attempts once more.

        Raises NotFound, or JobStateConflict for one that runs or completed, or
        whose key another open job has by now.
        """
        job = await self.get(job_id)
        if job.state in (State.RUNNING, State.COMPLETED):
            raise JobStateConflict(f"The job is {job.state}; only others can be retried")
        await self._retry({"_id": job_id, "state": str(job.state)})
        return await self.get(job_id)

    async def _retry(self, where: Document) -> int:
        budget = {
            "$add": [{"$subtract": ["$attempt", {"$ifNull": ["$lapses", 0]}]}, "$maxAttempts"]
        }
        was_terminal = {"$in": ["$state", [str(state) for state in TERMINAL]]}
        open_key = {
            "$cond": [
                {"$eq": [{"$type": "$key"}, "missing"]},
                "$$REMOVE",
                {"$concat": [{"$ifNull": ["$companyId", "None"]}, ":", "$kind", ":", "$key"]},
            ]
        }
        again = {
            "maxAttempts": {"$cond": [was_terminal, budget, "$maxAttempts"]},
            "state": str(State.AVAILABLE),
            "dueAt": "$$NOW",
            "openKey": open_key,
        }
        cleared = ["finishedAt", "cancelledBy"]
        try:
            return await self._rows.update_many(where, [{"$set": again}, {"$unset": cleared}])
        except Duplicate as error:
            raise JobStateConflict("Another open job has the same key") from error

    async def cancel(self, job_id: str, *, by: str) -> JobRow:
        """End it: a waiting job at once, a running one within about a second.

        Raises NotFound, or JobStateConflict for one that has ended.
        """
        job = await self.get(job_id)
        if job.state in TERMINAL:
            raise JobStateConflict(f"The job is {job.state} already")
        if job.state is State.RUNNING:
            where = {"_id": job_id, "state": str(State.RUNNING)}
            await self._rows.update_one(where, {"$set": {"cancelledBy": by}})
        else:
            await self._cancel({"_id": job_id, **CLAIMABLE})
        return await self.get(job_id)

    async def _cancel(self, where: Document) -> int:
        ended = {"state": str(State.CANCELLED), "finishedAt": "$$NOW"}
        return await self._rows.update_many(
            where, [{"$set": ended}, {"$unset": ["dueAt", "openKey"]}]
        )

    async def count(self, chosen: JobFilter) -> int:
        """How many jobs a bulk verb would touch; stops counting at a million."""
        return await self._rows.count(chosen.where(), limit=1_000_000)

    async def clearable(self, chosen: JobFilter, *, limit: int) -> list[str]:
        """Up to `limit` of the chosen jobs; running ones are never among them."""
        rows = await self._some(_idle(chosen), chosen, limit=limit)
        return [row["_id"] for row in rows]

    async def clear(self, chosen: JobFilter, ids: list[str]) -> int:
        """Delete these; how many. One that is retried or claimed meanwhile is not the same."""
        return await self._rows.delete_many({"_id": {"$in": ids}, **_idle(chosen)})

    async def retriable(self, chosen: JobFilter, *, limit: int) -> list[str]:
        """Up to `limit` of the chosen dead, cancelled or waiting jobs.

        Those whose key another open job has stay as they are, and of several
        with one key all but the first.
        """
        found: list[str] = []
        seen: list[str] = []
        taken: set[str] = set()
        while len(found) < limit:
            where = {**chosen.where(), "_id": {"$nin": seen}}
            rows = await self._some(where, chosen, limit=limit)
            keys = {row["_id"]: _open_key(row) for row in rows if "key" in row}
            holders = await self._holders(set(keys.values()))
            for job_id in (row["_id"] for row in rows):
                key = keys.get(job_id)
                if key is None or (key not in taken and holders.get(key, job_id) == job_id):
                    found.append(job_id)
                if key is not None:
                    taken.add(key)
            seen += [row["_id"] for row in rows]
            if len(rows) < limit:
                break
        return found[:limit]

    async def retry_all(self, chosen: JobFilter, ids: list[str]) -> int:
        """Retry these; how many. Raises TransientConflict when a key was taken meanwhile."""
        try:
            return await self._retry({**chosen.where(), "_id": {"$in": ids}})
        except JobStateConflict as error:
            raise TransientConflict() from error

    async def _holders(self, keys: set[str]) -> dict[str, str]:
        """The open job of each of these keys that has one."""
        if not keys:
            return {}
        where = {"openKey": {"$in": list(keys)}}
        fields = {"openKey": 1}
        rows = await self._rows.find(where, limit=len(keys), projection=fields, hint=OPEN_KEY)
        return {row["openKey"]: row["_id"] for row in rows}

    async def _some(self, where: Document, chosen: JobFilter, *, limit: int) -> list[Document]:
        options: dict[str, Any] = {"hint": hint} if (hint := chosen.hint()) else {}
        fields = {"_id": 1, "key": 1, "kind": 1, "companyId": 1}
        return await self._rows.find(where, limit=limit, projection=fields, **options)

    async def set_paused(self, queue: Queue, *, is_paused: bool) -> None:
        change = {"$set": {"isPaused": is_paused}}
        await self._queues.update_one({"_id": str(queue)}, change, upsert=True)
