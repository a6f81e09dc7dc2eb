"""From a reason to run a workflow to its first steps, within the guard against loops."""

from datetime import datetime
from typing import Any

import msgspec

from novapulse.core import wire
from novapulse.core.context import Context, Transaction
from novapulse.core.errors import TooLarge
from novapulse.core.events import EventRow
from novapulse.core.ids import derived_id
from novapulse.rules import conditions
from novapulse.runs import ending
from novapulse.runs.model import (
    MAX_DEPTH,
    Origin,
    RunRecord,
    RunState,
    StepRecord,
    TooDeep,
    TooManyRuns,
)
from novapulse.runs.store import CHECK_AFTER, RunStore
from novapulse.workflows.model import Workflow
from novapulse.workflows.store import AllWorkflows, WorkflowStore

# An event's payload has at most 256 KiB.
MAX_CONTEXT_CHARACTERS = 300_000


def new_run(
    workflow: Workflow,
    *,
    run_id: str,
    at: datetime,
    origin: Origin,
    context: dict[str, Any],
    depth: int = 1,
) -> RunRecord:
    """A run that waits for its job."""
    return RunRecord(
        id=run_id,
        workflow_id=workflow.id,
        workflow_name=workflow.name,
        workflow_version=workflow.version,
        state=RunState.PENDING,
        origin=origin,
        depth=depth,
        created_at=at,
        context=wire.encode(context).decode(),
        check_at=at + CHECK_AFTER,
    )


def event_context(event: EventRow) -> dict[str, Any]:
    """What is kept of an event for templates."""
    return {
        "event": {
            "id": event.id,
            "type": event.type,
            "createdAt": wire.to_wire(event.created_at),
            "actor": {name: event.actor.get(name) for name in ("userId", "role", "via")},
            "data": wire.to_wire(event.data),
        }
    }


def minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def check_context(run: RunRecord) -> None:
    """Refuse what is too large to be looked at, let alone kept; raises TooLarge."""
    if len(run.context) > MAX_CONTEXT_CHARACTERS:
        raise TooLarge("What a run is started with is too large")


async def insert_run(ctx: Context, tx: Transaction, run: RunRecord) -> None:
    """Keep the run with the job that starts it.

    Raises:
        TooDeep: too many runs came one from the other.
        TooManyRuns: the workflow ran too often within this minute.
        TooLarge: its input is.
    """
    if run.depth > MAX_DEPTH:
        raise TooDeep()
    check_context(run)
    runs, most = RunStore(tx), ctx.runtime.settings.workflows.max_runs_per_minute
    if await runs.count_in(minute_of(run.created_at), run.workflow_id, limit=most) >= most:
        raise TooManyRuns()
    await runs.insert(await _with_job(tx, run))


async def restart(tx: Transaction, run: RunRecord, *, at: datetime) -> None:
    """Start once more a run that failed before its first step."""
    planned = await _with_job(tx, run)
    fields = {
        "state": str(RunState.PENDING),
        "jobId": planned.job_id,
        "checkAt": at + CHECK_AFTER,
        "retries": run.retries + 1,
        **ending.NOT_ENDED,
    }
    await RunStore(tx).change(run.id, of=RunState.FAILED, fields=fields)


async def _with_job(tx: Transaction, run: RunRecord) -> RunRecord:
    job_id = await tx.enqueue("workflow.run", {"run_id": run.id})
    return msgspec.structs.replace(run, job_id=job_id)


async def start(ctx: Context, run_id: str) -> None:
    """Make the steps of a pending run and plan the first; of any other, nothing."""
    async with ctx.transaction() as tx:
        runs = RunStore(tx)
        run = await runs.find(run_id)
        if run is None or run.state is not RunState.PENDING:
            return
        workflow = await WorkflowStore(tx).find(run.workflow_id)
        reason = await _reason_to_skip(ctx, run, workflow)
        if workflow is None or reason:
            await ending.skip(ctx, tx, run=run, reason=reason)
            return
        await runs.insert_steps(list(_steps(workflow, run)))
        fields = {
            "state": str(RunState.RUNNING),
            "startedAt": ctx.now(),
            "workflowVersion": workflow.version,
            "jobId": None,
            "checkAt": None,
        }
        await runs.change(run.id, of=RunState.PENDING, fields=fields)
        running = msgspec.structs.replace(run, state=RunState.RUNNING, started_at=ctx.now())
        await ending.open_stage(ctx, tx, run=running, stage=0)


async def _reason_to_skip(ctx: Context, run: RunRecord, workflow: Workflow | None) -> str:
    """Why the run is not to be, or nothing."""
    if workflow is None:
        return "the workflow was deleted"
    if not workflow.is_active and run.origin.type != "manual":
        return "the workflow was deactivated"
    if await AllWorkflows(ctx.runtime.db).is_suspended(ctx.company_id):
        return "the company is suspended"
    if workflow.conditions is not None and not conditions.holds(workflow.conditions, run.scope()):
        return "the conditions do not hold"
    return ""


def _steps(workflow: Workflow, run: RunRecord) -> list[StepRecord]:
    return [
        StepRecord(
            id=derived_id("wfs", run.id, str(stage), str(branch)),
            run_id=run.id,
            stage=stage,
            branch=branch,
            action=spec.type,
            name=None if spec.name is msgspec.UNSET else spec.name,
            template=wire.encode(spec.input).decode(),
        )
        for stage, branch, spec in workflow.placed()
    ]
