"""Use cases on runs: by hand, to look at, once more."""

from typing import Any

import msgspec

from novapulse.core import paging, wire
from novapulse.core.access import Scope
from novapulse.core.actions import ACTIONS
from novapulse.core.context import Context
from novapulse.core.errors import Error, NotFound
from novapulse.core.events import CATALOGUE
from novapulse.core.ids import new_id
from novapulse.core.paging import Listing
from novapulse.rules import conditions, templates
from novapulse.runs import ending, starting
from novapulse.runs.model import (
    NotRetryable,
    Origin,
    Run,
    RunDetail,
    RunQuery,
    RunRecord,
    RunState,
    StartRun,
    Step,
)
from novapulse.runs.store import RunStore
from novapulse.workflows import checking
from novapulse.workflows.model import DELAY, ActionSpec, Workflow
from novapulse.workflows.service import sees_all
from novapulse.workflows.store import WorkflowStore


async def run_workflow(ctx: Context, workflow_id: str, command: StartRun) -> RunDetail:
    """Run it by hand, active or not; a dry run shows what would happen and does nothing.

    Raises NotFound, TooLarge, TooManyRuns.
    """
    ctx.require(Scope.WORKFLOWS_RUN)
    async with ctx.transaction() as tx:
        workflows = WorkflowStore(tx)
        workflow = await workflows.get(workflow_id)
        context: dict[str, Any] = {"input": command.input}
        event_type = None
        if command.event_id is not None:
            event = await workflows.get_event(command.event_id)
            if event.type not in CATALOGUE:
                raise NotFound("There is no such event")
            context |= starting.event_context(event)
            event_type = event.type
        origin = Origin(
            type="manual",
            user_id=ctx.principal.user_id,
            event_id=command.event_id,
            event_type=event_type,
        )
        run = starting.new_run(
            workflow, run_id=new_id("wfr"), at=ctx.now(), origin=origin, context=context
        )
        if command.dry_run:
            starting.check_context(run)
            return _dry_run(ctx, workflow, run)
        await starting.insert_run(ctx, tx, run)
    return _detail(run, ())


def _dry_run(ctx: Context, workflow: Workflow, run: RunRecord) -> RunDetail:
    """What would be done; what later steps take from earlier ones stays as it is written."""
    scope = {**run.scope(), "now": wire.to_wire(ctx.now())}
    shown = msgspec.structs.replace(run, state=RunState.DRY_RUN)
    if workflow.conditions is not None and not conditions.holds(workflow.conditions, scope):
        return _detail(msgspec.structs.replace(shown, error="the conditions do not hold"), ())
    steps = [
        _dry_step(spec, scope, stage=stage, branch=branch)
        for stage, branch, spec in workflow.placed()
    ]
    return _detail(shown, tuple(steps))


def _dry_step(spec: ActionSpec, scope: dict[str, Any], *, stage: int, branch: int) -> Step:
    given, error = None, None
    try:
        given = templates.render(spec.input, scope, keep=("steps",))
        if not any(one.path.startswith("steps.") for one in templates.expressions(spec.input)):
            if spec.type == DELAY:
                checking.read_delay(given)
            else:
                wire.convert(given, ACTIONS[spec.type].input)
    except Error as problem:
        error = problem.detail
    return Step(
        id="",
        stage=stage,
        branch=branch,
        action=spec.type,
        name=None if spec.name is msgspec.UNSET else spec.name,
        input=given,
        error=error,
    )


async def list_runs(ctx: Context, workflow_id: str, query: RunQuery) -> Listing[Run]:
    """A workflow's runs, newest first; raises NotFound."""
    ctx.require(Scope.WORKFLOWS_READ)
    session = ctx.read()
    await WorkflowStore(session).get(workflow_id)
    return paging.listing(await RunStore(session).page(workflow_id, query), query.limit)


async def get_run(ctx: Context, run_id: str) -> RunDetail:
    """A run with its steps; raises NotFound."""
    ctx.require(Scope.WORKFLOWS_READ)
    runs = RunStore(ctx.read())
    run = await runs.get(run_id)
    steps = [step.shown(is_open=sees_all(ctx)) for step in await runs.steps(run_id)]
    return _detail(run, tuple(steps))


async def retry_run(ctx: Context, run_id: str) -> RunDetail:
    """Go on with a failed run from the steps that failed; raises NotFound, NotRetryable."""
    ctx.require(Scope.WORKFLOWS_RUN)
    async with ctx.transaction() as tx:
        runs = RunStore(tx)
        run = await runs.get(run_id)
        if run.state is not RunState.FAILED:
            raise NotRetryable()
        await WorkflowStore(tx).get(run.workflow_id)
        failed = [step for step in await runs.steps(run_id) if step.place in run.failed]
        if failed:
            fields = {
                "state": str(RunState.RUNNING),
                "retries": run.retries + 1,
                **ending.NOT_ENDED,
            }
            await runs.change(run_id, of=RunState.FAILED, fields=fields)
            await runs.keep_steps(run_id, until=None)
            await ending.plan(ctx, tx, run=run, steps=failed)
        else:
            await starting.restart(tx, run, at=ctx.now())
    return await get_run(ctx, run_id)


def _detail(run: Run, steps: tuple[Step, ...]) -> RunDetail:
    fields = {name: getattr(run, name) for name in Run.__struct_fields__}
    return RunDetail(**fields, steps=steps)
