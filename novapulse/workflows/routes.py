"""`/workflows`."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.paging import Listing
from novapulse.core.routing import Routes
from novapulse.workflows import service
from novapulse.workflows.model import ChangeWorkflow, NewWorkflow, Workflow, WorkflowQuery

routes = Routes("workflows")


@routes.add("POST", "/workflows", scope=Scope.WORKFLOWS_WRITE, status=201)
async def create_workflow(ctx: Context, body: NewWorkflow) -> Workflow:
    """Create a workflow."""
    return await service.create_workflow(ctx, body)


@routes.add("GET", "/workflows", scope=Scope.WORKFLOWS_READ)
async def list_workflows(ctx: Context, query: WorkflowQuery) -> Listing[Workflow]:
    """List workflows, newest first."""
    return await service.list_workflows(ctx, query)


@routes.add("GET", "/workflows/{id}", scope=Scope.WORKFLOWS_READ)
async def get_workflow(ctx: Context, workflow_id: str) -> Workflow:
    """Read one workflow."""
    return await service.get_workflow(ctx, workflow_id)


@routes.add("PATCH", "/workflows/{id}", scope=Scope.WORKFLOWS_WRITE)
async def change_workflow(
    ctx: Context, workflow_id: str, *, body: ChangeWorkflow, if_match: int | None
) -> Workflow:
    """Change some fields of a workflow; runs that were started go on as they are."""
    return await service.change_workflow(ctx, workflow_id, change=body, if_version=if_match)


@routes.add("DELETE", "/workflows/{id}", scope=Scope.WORKFLOWS_WRITE)
async def delete_workflow(ctx: Context, workflow_id: str, if_match: int | None) -> None:
    """Delete a workflow; its runs stop at their next step."""
    await service.delete_workflow(ctx, workflow_id, if_version=if_match)


@routes.add("POST", "/workflows/{id}/activate", scope=Scope.WORKFLOWS_WRITE)
async def activate_workflow(ctx: Context, workflow_id: str) -> Workflow:
    """Have a workflow started by its trigger."""
    change = ChangeWorkflow(is_active=True)
    return await service.change_workflow(ctx, workflow_id, change=change)


@routes.add("POST", "/workflows/{id}/deactivate", scope=Scope.WORKFLOWS_WRITE)
async def deactivate_workflow(ctx: Context, workflow_id: str) -> Workflow:
    """Start a workflow by hand only; runs that were started go on."""
    change = ChangeWorkflow(is_active=False)
    return await service.change_workflow(ctx, workflow_id, change=change)


@routes.add("POST", "/workflows/{id}/duplicate", scope=Scope.WORKFLOWS_WRITE, status=201)
async def duplicate_workflow(ctx: Context, workflow_id: str) -> Workflow:
    """Copy a workflow; the copy is not active."""
    return await service.duplicate_workflow(ctx, workflow_id)
