"""`/workflow-runs`, and what of `/workflows` is about runs."""

from novapulse.core import wire
from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.endpoint import JSON
from novapulse.core.paging import Listing
from novapulse.core.routing import Reply, Routes
from novapulse.runs import service
from novapulse.runs.model import Run, RunDetail, RunQuery, RunState, StartRun

routes = Routes("workflows")


@routes.add("POST", "/workflows/{id}/run", scope=Scope.WORKFLOWS_RUN, status=202, returns=RunDetail)
async def run_workflow(ctx: Context, workflow_id: str, body: StartRun) -> Reply:
    """Run a workflow now; a dry run is answered with 200, and nothing happens."""
    run = await service.run_workflow(ctx, workflow_id, body)
    return Reply(wire.encode(run), 200 if run.state is RunState.DRY_RUN else 202, JSON)


@routes.add("GET", "/workflows/{id}/runs", scope=Scope.WORKFLOWS_READ)
async def list_runs(ctx: Context, workflow_id: str, query: RunQuery) -> Listing[Run]:
    """List the runs of a workflow, newest first."""
    return await service.list_runs(ctx, workflow_id, query)


@routes.add("GET", "/workflow-runs/{id}", scope=Scope.WORKFLOWS_READ)
async def get_run(ctx: Context, run_id: str) -> RunDetail:
    """Read one run with its steps."""
    return await service.get_run(ctx, run_id)


@routes.add("POST", "/workflow-runs/{id}/retry", scope=Scope.WORKFLOWS_RUN, status=202)
async def retry_run(ctx: Context, run_id: str) -> RunDetail:
    """Go on with a failed run from the steps that failed."""
    return await service.retry_run(ctx, run_id)
