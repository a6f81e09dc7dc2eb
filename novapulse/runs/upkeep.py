"""Runs whose job ended without a word: it was cancelled, or it took its consumer with it.

The leading scheduler looks after steps and pending runs to which nothing happened for a while.
"""

from datetime import datetime

import structlog

from novapulse.core.context import Runtime
from novapulse.core.documents import from_document
from novapulse.core.errors import TransientConflict
from novapulse.core.jobs.states import TERMINAL
from novapulse.core.mongo import Document
from novapulse.runs import ending
from novapulse.runs.model import RunState, StepRecord
from novapulse.runs.store import CHECK_AFTER, STEPS, AllRuns

log = structlog.get_logger("workflows")
_AT_ONCE = 200


async def fail_orphans(runtime: Runtime, *, now: datetime) -> int:
    """Fail what no job will bring on any more; how many runs and steps."""
    rows = AllRuns(runtime.db)
    stale = await rows.stale(now, limit=_AT_ONCE)
    jobs = await rows.jobs([row["jobId"] for _, row in stale])
    alive: dict[str, list[str]] = {}
    failed = 0
    for collection, row in stale:
        job = jobs.get(row["jobId"])
        if job is not None and job["state"] not in TERMINAL:
            alive.setdefault(collection, []).append(row["_id"])
            continue
        failed += await _fail(runtime, collection, row=row, reason=_reason(job))
    for collection, ids in alive.items():
        await rows.check_later(collection, ids, now + CHECK_AFTER)
    return failed


def _reason(job: Document | None) -> str:
    if job is None:
        return "its job is gone"
    if job["state"] == "cancelled":
        return "its job was cancelled"
    errors = job.get("errors") or [{}]
    return f"its job ended: {errors[-1].get('message', job['state'])}"


async def _fail(runtime: Runtime, collection: str, *, row: Document, reason: str) -> bool:
    company_id = row["companyId"]
    run = await AllRuns(runtime.db).find(row["runId"] if collection == STEPS else row["_id"])
    if run is None:
        return False
    log.warning("workflow.orphaned", runId=run.id, companyId=company_id, reason=reason)
    ctx = ending.acting_for(runtime, company_id, run)
    try:
        if collection == STEPS:
            await ending.fail(ctx, run, step=from_document(row, StepRecord), reason=reason)
        elif run.state is RunState.PENDING:
            async with ctx.transaction(only_ends=True) as tx:
                await ending.finish(ctx, tx, run=run, state=RunState.FAILED, error=reason)
    except TransientConflict:  # it was brought on meanwhile, or will be looked at again
        return False
    return True
