"""`/tasks`."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.paging import Listing
from novapulse.core.routing import Routes
from novapulse.work import discussions, service
from novapulse.work.discussion import Activity, Comment, DiscussionQuery, NewComment
from novapulse.work.model import ChangeTask, NewTask, Task, TaskQuery

routes = Routes("tasks")


@routes.add("POST", "/tasks", scope=Scope.TASKS_WRITE, status=201)
async def create_task(ctx: Context, body: NewTask) -> Task:
    """Create a task."""
    return await service.create_task(ctx, body)


@routes.add("GET", "/tasks", scope=Scope.TASKS_READ)
async def list_tasks(ctx: Context, query: TaskQuery) -> Listing[Task]:
    """List tasks, newest first; with `dueAfter` or `dueBefore` soonest due first."""
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


@routes.add("DELETE", "/tasks/{id}", scope=Scope.TASKS_DELETE)
async def delete_task(ctx: Context, task_id: str, if_match: int | None) -> None:
    """Remove a task and its comments for good."""
    await service.delete_task(ctx, task_id, if_version=if_match)


@routes.add("POST", "/tasks/{id}/comments", scope=Scope.TASKS_WRITE, status=201)
async def comment_on_task(ctx: Context, task_id: str, body: NewComment) -> Comment:
    """Comment on a task; `@` before a colleague's address or id mentions them."""
    return await discussions.add_comment(ctx, task_id, command=body)


@routes.add("GET", "/tasks/{id}/comments", scope=Scope.TASKS_READ)
async def list_comments(ctx: Context, task_id: str, query: DiscussionQuery) -> Listing[Comment]:
    """List a task's comments, newest first."""
    return await discussions.list_comments(ctx, task_id, query)


@routes.add("GET", "/tasks/{id}/activity", scope=Scope.TASKS_READ)
async def list_activity(ctx: Context, task_id: str, query: DiscussionQuery) -> Listing[Activity]:
    """List what happened to a task, newest first."""
    return await discussions.list_activity(ctx, task_id, query)
