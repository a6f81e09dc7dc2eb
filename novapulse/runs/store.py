"""Every query on runs and their steps: of one company, and the leader's on those of all."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from novapulse.core import paging
from novapulse.core.documents import find_as, from_document, to_document
from novapulse.core.errors import NotFound, TransientConflict
from novapulse.core.jobs.rows import JOBS
from novapulse.core.mongo import Database, Document, TenantSession
from novapulse.runs.model import (
    OPEN_STEPS,
    Run,
    RunQuery,
    RunRecord,
    RunState,
    StepRecord,
    StepState,
)

RUNS = "workflow_runs"
STEPS = "workflow_steps"
# An open step or pending run that nothing happened to for so long has its job looked for.
CHECK_AFTER = timedelta(minutes=2)

_CHECK = {
    "name": "check",
    "keys": [("checkAt", 1)],
    "partialFilterExpression": {"checkAt": {"$exists": True}},
}
_EXPIRY = {"name": "expiry", "keys": [("expiresAt", 1)], "expireAfterSeconds": 0}
_NEWEST = [("companyId", 1), ("workflowId", 1), ("createdAt", -1), ("_id", -1)]
INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    RUNS: ({"name": "newest", "keys": _NEWEST}, _CHECK, _EXPIRY),
    STEPS: (
        {"name": "run", "keys": [("companyId", 1), ("runId", 1), ("stage", 1), ("branch", 1)]},
        _CHECK,
        _EXPIRY,
    ),
}


class RunStore:
    """Runs and steps."""

    def __init__(self, session: TenantSession) -> None:
        self._runs = session.rows(RUNS)
        self._steps = session.rows(STEPS)

    async def insert(self, run: RunRecord) -> None:
        await self._runs.insert(_without_none(run))

    async def find(self, run_id: str) -> RunRecord | None:
        return find_as(await self._runs.find_one({"_id": run_id}), RunRecord)

    async def get(self, run_id: str) -> RunRecord:
        """Raises NotFound."""
        found = await self.find(run_id)
        if found is None:
            raise NotFound("There is no such run")
        return found

    async def page(self, workflow_id: str, query: RunQuery) -> list[Run]:
        where: Document = {"workflowId": workflow_id}
        if query.state is not None:
            where["state"] = str(query.state)
        found = await self._runs.find(
            {**where, **paging.after(query.cursor)},
            sort=paging.NEWEST_FIRST,
            limit=query.limit + 1,
        )
        return [from_document(document, Run) for document in found]

    async def count_in(self, minute: datetime, workflow_id: str, *, limit: int) -> int:
        """How many runs of a workflow were started in that minute, up to `limit`."""
        where = {"workflowId": workflow_id, **_started_in(minute)}
        return await self._runs.count(where, limit=limit)

    async def change(self, run_id: str, *, of: RunState, fields: Document) -> None:
        """Set fields of a run that is in the state `of`; raises TransientConflict for another one.

        A field that is None is taken out.
        """
        where = {"_id": run_id, "state": str(of)}
        if not await self._runs.update_one(where, _change(fields)):
            raise TransientConflict()

    async def close(self, run_id: str, place: str, *, error: str | None = None) -> RunRecord:
        """Take a step off the open ones of a running run, as failed with an `error`; the run then.

        Of several that end at once each meets the other's write, so that exactly
        one sees the last of them gone. Raises TransientConflict when it does not run.
        """
        change: Document = {"$pull": {"open": place}}
        if error is not None:
            change |= {"$addToSet": {"failed": place}, "$set": {"error": error}}
        where = {"_id": run_id, "state": str(RunState.RUNNING)}
        document = await self._runs.find_and_update(where, change)
        if document is None:
            raise TransientConflict()
        return from_document(document, RunRecord)

    # Steps

    async def insert_steps(self, steps: Sequence[StepRecord]) -> None:
        await self._steps.insert_many([_without_none(step) for step in steps])

    async def find_step(self, step_id: str) -> StepRecord | None:
        return find_as(await self._steps.find_one({"_id": step_id}), StepRecord)

    async def steps(self, run_id: str, *, stage: int | None = None) -> list[StepRecord]:
        """Those of a run, or of one stage, in their order."""
        where: Document = {"runId": run_id}
        if stage is not None:
            where["stage"] = stage
        found = await self._steps.find(where, sort=(("stage", 1), ("branch", 1)), limit=1_000)
        return [from_document(document, StepRecord) for document in found]

    async def change_step(self, step: StepRecord, **fields: Any) -> bool:
        """Set fields of a step that is still open and still its job's; whether it was.

        A field that is None is taken out.
        """
        open_ones = [str(state) for state in OPEN_STEPS]
        where = {"_id": step.id, "jobId": step.job_id, "state": {"$in": open_ones}}
        return bool(await self._steps.update_one(where, _change(fields)))

    async def keep_steps(self, run_id: str, *, until: datetime | None) -> None:
        """When the steps of a run may go; None: not yet."""
        await self._steps.update_many({"runId": run_id}, _change({"expiresAt": until}))

    async def plan_step(self, step: StepRecord, *, job_id: str, due_at: datetime) -> None:
        """A job will bring the step on; a failed step starts anew."""
        fields = {
            "state": str(StepState.PENDING),
            "jobId": job_id,
            "checkAt": due_at + CHECK_AFTER,
            "error": None,
            "finishedAt": None,
        }
        await self._steps.update_one({"_id": step.id}, _change(fields))


class AllRuns:
    """What the leader asks and writes for all companies at once."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def count_in(
        self,
        minute: datetime,
        workflow_id: str,
        *,
        company_id: str,
        but: Sequence[str],
        limit: int,
    ) -> int:
        """As of `RunStore`, without the runs of these ids."""
        where = {"companyId": company_id, "workflowId": workflow_id, **_started_in(minute)}
        return await self._db.platform(RUNS).count(
            {"_id": {"$nin": list(but)}, **where}, limit=limit
        )

    async def insert_missing(self, runs: Sequence[tuple[str, RunRecord]]) -> None:
        """`(company id, run)` each; those that are there already stay as they are."""
        documents = [run_row(company, run) for company, run in runs]
        if documents:
            await self._db.platform(RUNS).insert_missing(documents)

    async def known(self, run_ids: Sequence[str]) -> set[str]:
        """Those of the ids that are there."""
        found = await self._db.platform(RUNS).find(
            {"_id": {"$in": list(run_ids)}}, limit=len(run_ids), projection={"_id": 1}
        )
        return {row["_id"] for row in found}

    async def insert_jobs(self, rows: Sequence[Document]) -> None:
        await self._db.platform(JOBS).insert_missing(rows)

    async def find(self, run_id: str) -> RunRecord | None:
        return find_as(await self._db.platform(RUNS).find_one({"_id": run_id}), RunRecord)

    async def stale(self, now: datetime, *, limit: int) -> list[tuple[str, Document]]:
        """Open steps and pending runs to be looked after: the collection and the row."""
        found: list[tuple[str, Document]] = []
        for collection in (STEPS, RUNS):
            rows = await self._db.brief(collection).find(
                {"checkAt": {"$lte": now}}, sort=(("checkAt", 1),), limit=limit, hint="check"
            )
            found += [(collection, row) for row in rows]
        return found

    async def jobs(self, job_ids: Sequence[str]) -> dict[str, Document]:
        """The ledger's rows that there still are, by their id."""
        if not job_ids:
            return {}
        found = await self._db.platform(JOBS).find(
            {"_id": {"$in": list(job_ids)}}, limit=len(job_ids)
        )
        return {row["_id"]: row for row in found}

    async def check_later(self, collection: str, row_ids: Sequence[str], at: datetime) -> None:
        where = {"_id": {"$in": list(row_ids)}, "checkAt": {"$exists": True}}
        await self._db.platform(collection).update_many(where, {"$set": {"checkAt": at}})


def _started_in(minute: datetime) -> Document:
    """Runs of one minute; those that were skipped do not count."""
    within = {"$gte": minute, "$lt": minute + timedelta(minutes=1)}
    return {"createdAt": within, "state": {"$ne": str(RunState.SKIPPED)}}


def run_row(company_id: str, run: RunRecord) -> Document:
    """For writes across companies."""
    return {**_without_none(run), "companyId": company_id}


def _without_none(record: RunRecord | StepRecord) -> Document:
    """What an index looks for is there or not, never null."""
    return {name: value for name, value in to_document(record).items() if value is not None}


def _change(fields: Document) -> Document:
    given = {name: value for name, value in fields.items() if value is not None}
    gone = {name: "" for name, value in fields.items() if value is None}
    return {name: part for name, part in (("$set", given), ("$unset", gone)) if part}
