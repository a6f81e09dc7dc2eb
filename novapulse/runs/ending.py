"""What follows on the end of a step: the next stage, or the end of the run, in one commit."""

from datetime import timedelta
from typing import Any

import structlog

from novapulse.core import wire
from novapulse.core.access import Principal, Role
from novapulse.core.context import Context, Runtime, Transaction
from novapulse.core.errors import TransientConflict
from novapulse.core.mongo import Document
from novapulse.runs.model import (
    MAX_ERROR_CHARACTERS,
    EndedRun,
    RunRecord,
    RunState,
    RunWorkflow,
    StepRecord,
    StepState,
    WorkflowExecuted,
    WorkflowFailed,
)
from novapulse.runs.store import RunStore

log = structlog.get_logger("workflows")
MAX_OUTPUT_CHARACTERS = 64 * 1024
NOT_ENDED: Document = dict.fromkeys(("error", "finishedAt", "durationMs", "expiresAt"))


def acting_for(runtime: Runtime, company_id: str, run: RunRecord) -> Context:
    """The company itself, by way of a workflow: what comes from it carries the run as its cause."""
    principal = Principal(
        user_id="system", role=Role.SUPER_ADMIN, company_id=company_id, is_operator=True
    )
    return Context(runtime, principal, request_id=run.id, via="workflow", cause=run.cause())


async def conclude(ctx: Context, run: RunRecord, *, step: StepRecord, output: Any) -> None:
    """The step is done: go on. In a transaction of its own, or in the one that it was done in.

    Raises TransientConflict when the step is not what it was: nothing of the transaction counts.
    """
    text = wire.encode(output).decode()
    if len(text) > MAX_OUTPUT_CHARACTERS:
        text = wire.encode({"truncated": True}).decode()
    await _end_step(ctx, run, step=step, fields={"state": StepState.COMPLETED, "output": text})


async def fail(ctx: Context, run: RunRecord, *, step: StepRecord, reason: str) -> None:
    """The step failed for good: when the others of its stage have ended, so did the run."""
    error = reason[:MAX_ERROR_CHARACTERS]
    await _end_step(ctx, run, step=step, fields={"state": StepState.FAILED, "error": error})


async def _end_step(ctx: Context, run: RunRecord, *, step: StepRecord, fields: Document) -> None:
    now = ctx.now()
    fields = {**fields, "state": str(fields["state"])}
    took = now - (step.started_at or now)
    error = fields.get("error")
    async with ctx.transaction(only_ends=True) as tx:
        runs = RunStore(tx)
        is_ours = await runs.change_step(
            step,
            finishedAt=now,
            durationMs=took // timedelta(milliseconds=1),
            jobId=None,
            checkAt=None,
            wakesAt=None,
            **{"error": None, **fields},
        )
        if not is_ours:
            raise TransientConflict()
        named = None if error is None else f"step {step.place} ({step.action}): {error}"
        left = await runs.close(run.id, step.place, error=named)
        if left.open:
            return
        if left.failed:
            await finish(ctx, tx, run=left, state=RunState.FAILED)
        else:
            await open_stage(ctx, tx, run=left, stage=step.stage + 1)


async def open_stage(ctx: Context, tx: Transaction, *, run: RunRecord, stage: int) -> None:
    """Plan the steps of a stage; without any, the run is complete."""
    steps = await RunStore(tx).steps(run.id, stage=stage)
    if not steps:
        await finish(ctx, tx, run=run, state=RunState.COMPLETED)
        return
    await plan(ctx, tx, run=run, steps=steps)


async def plan(ctx: Context, tx: Transaction, *, run: RunRecord, steps: list[StepRecord]) -> None:
    """A job for each of the steps; the run waits for all of them."""
    runs = RunStore(tx)
    for step in steps:
        job_id = await tx.enqueue("workflow.step", {"run_id": run.id, "step_id": step.id})
        await runs.plan_step(step, job_id=job_id, due_at=ctx.now())
    fields = {"open": [step.place for step in steps], "failed": []}
    await runs.change(run.id, of=RunState.RUNNING, fields=fields)


async def finish(
    ctx: Context, tx: Transaction, *, run: RunRecord, state: RunState, error: str | None = None
) -> None:
    """The run has ended; everybody who listens is told."""
    now, error = ctx.now(), error or run.error
    took = (now - (run.started_at or now)) // timedelta(milliseconds=1)
    await _end_run(ctx, tx, run=run, fields={"state": state, "error": error, "durationMs": took})
    ended = EndedRun(
        id=run.id,
        state=state,
        origin=run.origin,
        depth=run.depth,
        error=error,
        started_at=run.started_at,
        finished_at=now,
        duration_ms=took,
    )
    workflow = RunWorkflow(id=run.workflow_id, name=run.workflow_name)
    kind = WorkflowExecuted if state is RunState.COMPLETED else WorkflowFailed
    tx.record(kind(workflow=workflow, run=ended))


async def skip(ctx: Context, tx: Transaction, *, run: RunRecord, reason: str) -> None:
    """The run is not to be; nobody is told."""
    await _end_run(ctx, tx, run=run, fields={"state": RunState.SKIPPED, "error": reason})


async def _end_run(ctx: Context, tx: Transaction, *, run: RunRecord, fields: Document) -> None:
    runs, now = RunStore(tx), ctx.now()
    until = now + timedelta(days=ctx.runtime.settings.workflows.run_keep_days)
    state, error = fields["state"], fields["error"]
    fields = {
        **fields,
        "state": str(state),
        "finishedAt": now,
        "expiresAt": until,
        "jobId": None,
        "checkAt": None,
    }
    await runs.change(run.id, of=run.state, fields=fields)
    await runs.keep_steps(run.id, until=until)
    log.info(
        "workflow.run_ended",
        runId=run.id,
        workflowId=run.workflow_id,
        companyId=tx.company_id,
        state=str(state),
        error=error,
    )
