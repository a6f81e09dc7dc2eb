"""Use cases on workflows."""

import msgspec

from novapulse.core import paging
from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.documents import changed_fields, new_object_id
from novapulse.core.errors import VersionConflict
from novapulse.core.paging import Listing
from novapulse.workflows import checking
from novapulse.workflows.model import (
    MAX_WORKFLOWS,
    ChangeWorkflow,
    NewWorkflow,
    TooManyWorkflows,
    Workflow,
    WorkflowCreated,
    WorkflowDeleted,
    WorkflowQuery,
    WorkflowUpdated,
)
from novapulse.workflows.store import WorkflowStore

_COPY_OF = "Copy of "
_LONGEST_NAME = 200


async def create_workflow(ctx: Context, command: NewWorkflow) -> Workflow:
    """Add a workflow; raises Invalid with the path of what can not be."""
    ctx.require(Scope.WORKFLOWS_WRITE)
    now = ctx.now()
    given = {name: getattr(command, name) for name in command.__struct_fields__}
    workflow = Workflow(
        id=new_object_id(),
        created_by=ctx.principal.user_id,
        created_at=now,
        updated_at=now,
        **given,
    )
    return await _add(ctx, workflow)


async def duplicate_workflow(ctx: Context, workflow_id: str) -> Workflow:
    """A copy that is not active. Raises NotFound."""
    ctx.require(Scope.WORKFLOWS_WRITE)
    now = ctx.now()
    original = await WorkflowStore(ctx.read()).get(workflow_id)
    copy = msgspec.structs.replace(
        original,
        id=new_object_id(),
        name=f"{_COPY_OF}{original.name}"[:_LONGEST_NAME],
        is_active=False,
        created_by=ctx.principal.user_id,
        created_at=now,
        updated_at=now,
        version=1,
    )
    return await _add(ctx, copy)


async def _add(ctx: Context, workflow: Workflow) -> Workflow:
    checking.check(workflow, now=ctx.now())
    async with ctx.transaction() as tx:
        workflows = WorkflowStore(tx)
        if await workflows.count(limit=MAX_WORKFLOWS) >= MAX_WORKFLOWS:
            raise TooManyWorkflows()
        next_at = checking.next_time(workflow, after=ctx.now())
        await workflows.insert(workflow, next_at=next_at)
        tx.record(WorkflowCreated(workflow=workflow.hidden()))
    return workflow


async def get_workflow(ctx: Context, workflow_id: str) -> Workflow:
    """Raises NotFound."""
    ctx.require(Scope.WORKFLOWS_READ)
    workflow = await WorkflowStore(ctx.read()).get(workflow_id)
    return workflow if sees_all(ctx) else workflow.hidden()


async def list_workflows(ctx: Context, query: WorkflowQuery) -> Listing[Workflow]:
    """The company's workflows, newest first."""
    ctx.require(Scope.WORKFLOWS_READ)
    found = await WorkflowStore(ctx.read()).page(query)
    shown = found if sees_all(ctx) else [workflow.hidden() for workflow in found]
    return paging.listing(shown, query.limit)


def sees_all(ctx: Context) -> bool:
    """Whether what may be secret is shown: who may run workflows sees what goes through them."""
    return ctx.principal.grant(Scope.WORKFLOWS_RUN) is not None


async def change_workflow(
    ctx: Context, workflow_id: str, *, change: ChangeWorkflow, if_version: int | None = None
) -> Workflow:
    """Change some fields; runs that were started go on as they are.

    Raises NotFound, VersionConflict, Invalid.
    """
    ctx.require(Scope.WORKFLOWS_WRITE)
    async with ctx.transaction() as tx:
        workflows = WorkflowStore(tx)
        before = await workflows.get(workflow_id)
        if if_version is not None and before.version != if_version:
            raise VersionConflict()
        after = before.changed(change, at=ctx.now())
        changed = changed_fields(before, after)
        if not changed:
            return before
        # What was saved under other limits can still be stopped.
        if after.is_active or changed != ("isActive",):
            checking.check(after, now=ctx.now())
        next_at = checking.next_time(after, after=ctx.now())
        await workflows.replace(after, if_version=before.version, next_at=next_at)
        tx.record(WorkflowUpdated(workflow=after.hidden(), changed=changed))
    return after


async def delete_workflow(ctx: Context, workflow_id: str, *, if_version: int | None = None) -> None:
    """Remove it; its runs stop at their next step. Raises NotFound, VersionConflict."""
    ctx.require(Scope.WORKFLOWS_WRITE)
    async with ctx.transaction() as tx:
        workflows = WorkflowStore(tx)
        workflow = await workflows.get(workflow_id)
        if if_version is not None and workflow.version != if_version:
            raise VersionConflict()
        await workflows.delete(workflow_id)
        tx.record(WorkflowDeleted(workflow=workflow.hidden()))
