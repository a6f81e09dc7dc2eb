"""`/tasks`."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.paging import Listing
from novapulse.core.routing import Routes
from novapulse.work import service
from novapulse.work.model import ChangeTask, NewTask, Task, TaskQuery

routes = Routes("tasks")


@routes.add("POST", "/tasks", scope=Scope.TASKS_WRITE, status=201)
async def create_task(ctx: Context, body: NewTask) -> Task:
    """Create a task."""
    return await service.create_task(ctx, body)


@routes.add("GET", "/tasks", scope=Scope.TASKS_READ)
async def list_tasks(ctx: Context, query: TaskQuery) -> Listing[Task]:
    """List tasks, newest first."""
    return await service.list_tasks(ctx, query)


@routes.add("GET", "/tasks/{id}", scope=Scope.TASKS_READ)
async def get_task(ctx: Context, task_id: str) -> Task:
    """Read one task."""
    return await service.get_task(ctx, task_id)


@routes.add("PATCH", "/tasks/{id}", scope=Scope.TASKS_WRITE)
async def change_task(
    ctx: Context, task_id: str, *, body: ChangeTask, if_match: int | None
) -> Task:
    """Change some fields of a task; `If-Match` guards against lost updates."""
    return await service.change_task(ctx, task_id, change=body, if_version=if_match)
