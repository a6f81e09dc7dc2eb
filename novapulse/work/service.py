"""Use cases on tasks."""

from novapulse.core import paging
from novapulse.core.access import Grant, Scope
from novapulse.core.context import Context
from novapulse.core.documents import changed_fields, new_object_id
from novapulse.core.errors import Forbidden, Invalid, VersionConflict
from novapulse.core.paging import Listing
from novapulse.work.model import (
    ChangeTask,
    NewTask,
    Task,
    TaskCreated,
    TaskQuery,
    TaskUpdated,
    due_in_utc,
)
from novapulse.work.store import TaskStore


async def create_task(ctx: Context, command: NewTask) -> Task:
    """Add a task; raises Invalid for an assignee who is not in the company."""
    grant = ctx.require(Scope.TASKS_WRITE)
    now = ctx.now()
    task = Task(
        id=new_object_id(),
        title=command.title,
        description=command.description,
        assignee_id=command.assignee_id,
        status=command.status,
        priority=command.priority,
        due_at=due_in_utc(command.due_at) if command.due_at else None,
        labels=command.labels,
        created_by=ctx.principal.user_id,
        created_at=now,
        updated_at=now,
    )
    async with ctx.transaction() as tx:
        tasks = TaskStore(tx)
        await _check_assignee(ctx, tasks, assignee_id=task.assignee_id, grant=grant)
        await tasks.insert(task)
        tx.record(TaskCreated(task=task))
    return task


async def get_task(ctx: Context, task_id: str) -> Task:
    """Raises NotFound."""
    return await _tasks(ctx).get(task_id)


async def list_tasks(ctx: Context, query: TaskQuery) -> Listing[Task]:
    """The company's tasks, or the caller's own, newest first."""
    return paging.listing(await _tasks(ctx).page(query), query.limit)


async def change_task(
    ctx: Context, task_id: str, *, change: ChangeTask, if_version: int | None = None
) -> Task:
    """Change some fields; changing nothing writes nothing.

    Raises:
        NotFound: no such task for the caller.
        VersionConflict: saved by someone else since `if_version`.
        Forbidden: a user may only move the status of an own task.
    """
    grant = ctx.require(Scope.TASKS_WRITE)
    own = ctx.principal.user_id if grant is Grant.OWN else None
    async with ctx.transaction() as tx:
        tasks = TaskStore(tx, own=own)
        before = await tasks.get(task_id)
        if if_version is not None and before.version != if_version:
            raise VersionConflict()
        after = before.changed(change, at=ctx.now())
        changed = changed_fields(before, after)
        if not changed:
            return before
        if grant is Grant.OWN and set(changed) - {"status", "completedAt"}:
            raise Forbidden("Your role lets you change the status only")
        if "assigneeId" in changed:
            await _check_assignee(ctx, tasks, assignee_id=after.assignee_id, grant=grant)
        await tasks.replace(after, if_version=before.version)
        tx.record(TaskUpdated(task=after, changed=changed))
    return after


def _tasks(ctx: Context) -> TaskStore:
    """The tasks that the caller may read."""
    grant = ctx.require(Scope.TASKS_READ)
    own = ctx.principal.user_id if grant is Grant.OWN else None
    return TaskStore(ctx.read(), own=own)


async def _check_assignee(
    ctx: Context, tasks: TaskStore, *, assignee_id: str | None, grant: Grant
) -> None:
    principal = ctx.principal
    if assignee_id is None or (assignee_id == principal.user_id and not principal.is_operator):
        return
    if grant is Grant.OWN:
        raise Forbidden("Your role lets you assign tasks to yourself only")
    if not await tasks.has_member(assignee_id):
        raise Invalid.field("assigneeId", "there is no such user")
