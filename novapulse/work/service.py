"""Use cases on tasks."""

from novapulse.core import errors, paging
from novapulse.core.access import Grant, Scope
from novapulse.core.context import Context, Transaction
from novapulse.core.documents import changed_fields, new_object_id
from novapulse.core.errors import Forbidden, Invalid, VersionConflict
from novapulse.core.paging import Listing
from novapulse.people.references import require_members
from novapulse.work.model import (
    ChangeTask,
    NewTask,
    Status,
    Task,
    TaskAssigned,
    TaskCompleted,
    TaskCreated,
    TaskDeleted,
    TaskQuery,
    TaskUpdated,
)
from novapulse.work.reading import order_of
from novapulse.work.store import TaskStore

# What an own task's user may change, and what follows from it.
_MOVES = {"status", "completedAt"}


class ProjectArchived(errors.Conflict):
    code = "project_archived"
    title = "The project is archived; it takes no further tasks"


async def create_task(ctx: Context, command: NewTask) -> Task:
    """Add a task.

    Raises:
        Invalid: the project or the assignee is none of the company's.
        ProjectArchived: no further tasks go into it.
        Forbidden: a user assigns to nobody else.
    """
    ctx.require(Scope.TASKS_WRITE)
    task = command.task(task_id=new_object_id(), by=ctx.principal.user_id, at=ctx.now())
    named = tuple(
        name
        for name, value in (("projectId", task.project_id), ("assigneeId", task.assignee_id))
        if value is not None
    )
    async with ctx.transaction() as tx:
        tasks = TaskStore(tx)
        await _check_references(ctx, tx, task=task, changed=named)
        await tasks.insert(task)
        tx.record(TaskCreated(task=task))
        _record_turns(tx, task, changed=(*named, "status"))
    return task


async def get_task(ctx: Context, task_id: str) -> Task:
    """Raises NotFound."""
    return await readable_tasks(ctx).get(task_id)


async def list_tasks(ctx: Context, query: TaskQuery) -> Listing[Task]:
    """The company's tasks, or the caller's own: newest first, or soonest due if it asks when."""
    rows = await readable_tasks(ctx).page(query)
    return paging.listing(rows, query.limit, order=order_of(query))


async def change_task(
    ctx: Context, task_id: str, *, change: ChangeTask, if_version: int | None = None
) -> Task:
    """Change some fields; changing nothing writes nothing.

    Raises:
        NotFound: no such task for the caller.
        VersionConflict: saved by someone else since `if_version`.
        Forbidden: a user may only move the status of an own task.
        Invalid, ProjectArchived: as for a new task, of what changes.
    """
    grant = ctx.require(Scope.TASKS_WRITE)
    async with ctx.transaction() as tx:
        tasks = TaskStore(tx, own=own_id(ctx, grant))
        before = await tasks.get(task_id)
        if if_version is not None and before.version != if_version:
            raise VersionConflict()
        after = before.changed(change, at=ctx.now())
        changed = changed_fields(before, after)
        if not changed:
            return before
        if grant is Grant.OWN and set(changed) - _MOVES:
            raise Forbidden("Your role lets you change the status only")
        await _check_references(ctx, tx, task=after, changed=changed)
        await tasks.replace(after, if_version=before.version)
        tx.record(TaskUpdated(task=after, changed=changed))
        _record_turns(tx, after, changed=changed)
    return after


async def delete_task(ctx: Context, task_id: str, *, if_version: int | None = None) -> None:
    """Remove a task and its comments for good; raises NotFound or VersionConflict."""
    ctx.require(Scope.TASKS_DELETE)
    async with ctx.transaction() as tx:
        tasks = TaskStore(tx)
        task = await tasks.get(task_id)
        if if_version is not None and task.version != if_version:
            raise VersionConflict()
        await tasks.delete(task)
        tx.record(TaskDeleted(task=task))


def own_id(ctx: Context, grant: Grant) -> str | None:
    """Whose tasks alone are within the grant's reach; None: everybody's are."""
    return ctx.principal.user_id if grant is Grant.OWN else None


def readable_tasks(ctx: Context) -> TaskStore:
    """The tasks that the caller may read."""
    return TaskStore(ctx.read(), own=own_id(ctx, ctx.require(Scope.TASKS_READ)))


def _record_turns(tx: Transaction, task: Task, *, changed: tuple[str, ...]) -> None:
    """The events of a change that others wait for: somebody has a task now, or it is done."""
    if "assigneeId" in changed and task.assignee_id is not None:
        tx.record(TaskAssigned(task=task, changed=("assigneeId",)))
    if "status" in changed and task.status is Status.DONE:
        tx.record(TaskCompleted(task=task, changed=("status",)))


async def _check_references(
    ctx: Context, tx: Transaction, *, task: Task, changed: tuple[str, ...]
) -> None:
    if "assigneeId" in changed:
        await _check_assignee(ctx, tx, task.assignee_id)
    if "projectId" in changed and task.project_id is not None:
        status = await TaskStore(tx).find_project_status(task.project_id)
        if status is None:
            raise Invalid.field("projectId", "there is no such project")
        if status == "archived":
            raise ProjectArchived()


async def _check_assignee(ctx: Context, tx: Transaction, assignee_id: str | None) -> None:
    principal = ctx.principal
    if assignee_id is None or (assignee_id == principal.user_id and not principal.is_operator):
        return
    if ctx.require(Scope.TASKS_WRITE) is Grant.OWN:
        raise Forbidden("Your role lets you assign tasks to yourself only")
    await require_members(tx, {"assigneeId": assignee_id})
