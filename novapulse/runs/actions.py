"""The action that runs another workflow."""

from typing import Any

import msgspec

from novapulse.core.actions import action
from novapulse.core.context import Context
from novapulse.core.errors import Conflict, Invalid
from novapulse.core.fields import ObjectId
from novapulse.core.ids import derived_id
from novapulse.identity.model import Command
from novapulse.runs import starting
from novapulse.runs.model import Origin
from novapulse.workflows.store import WorkflowStore


class RunAnother(Command, frozen=True, kw_only=True):
    workflow_id: ObjectId
    input: dict[str, Any] = msgspec.field(default_factory=dict)


@action("run_workflow")
async def run_workflow(ctx: Context, command: RunAnother, *, key: str) -> dict[str, Any]:
    """Start an active workflow of the company, and go on without waiting for its end."""
    if ctx.cause is None:
        raise Invalid("run_workflow belongs into a workflow")
    async with ctx.transaction() as tx:
        workflow = await WorkflowStore(tx).get(command.workflow_id)
        if not workflow.is_active:
            raise Conflict("The workflow to be run is not active")
        run = starting.new_run(
            workflow,
            run_id=derived_id("wfr", key, workflow.id),
            at=ctx.now(),
            origin=Origin(type="workflow", run_id=ctx.cause.run_id),
            context={"input": command.input},
            depth=ctx.cause.depth + 1,
        )
        await starting.insert_run(ctx, tx, run)
    return {"runId": run.id}
