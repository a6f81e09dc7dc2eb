"""Use cases on what is said about a task, and on what happened to it."""

from novapulse.core import paging
from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.documents import new_object_id
from novapulse.core.paging import Listing
from novapulse.people.references import find_members
from novapulse.work.discussion import Activity, Comment, DiscussionQuery, NewComment, TaskCommented
from novapulse.work.service import own_id, readable_tasks
from novapulse.work.store import DiscussionStore, TaskStore


async def add_comment(ctx: Context, task_id: str, *, command: NewComment) -> Comment:
    """Say something about a task; who is named with an `@` is mentioned.

    Raises NotFound, or Invalid for too many mentions.
    """
    own = own_id(ctx, ctx.require(Scope.TASKS_WRITE))
    names = command.names()
    async with ctx.transaction() as tx:
        task = await TaskStore(tx, own=own).get(task_id)
        known = await find_members(tx, names)
        comment = Comment(
            id=new_object_id(),
            task_id=task.id,
            author_id=ctx.principal.user_id,
            body=command.body,
            mentions=tuple(dict.fromkeys(known[name] for name in names if name in known)),
            created_at=ctx.now(),
        )
        await DiscussionStore(tx, task_id=task.id).insert(comment)
        tx.record(TaskCommented(task=task, comment=comment))
    return comment


async def list_comments(ctx: Context, task_id: str, query: DiscussionQuery) -> Listing[Comment]:
    """What was said about a task, newest first; raises NotFound."""
    task = await readable_tasks(ctx).get(task_id)
    rows = await DiscussionStore(ctx.read(), task_id=task.id).page(query)
    return paging.listing(rows, query.limit)


async def list_activity(ctx: Context, task_id: str, query: DiscussionQuery) -> Listing[Activity]:
    """What happened to a task, newest first; raises NotFound."""
    task = await readable_tasks(ctx).get(task_id)
    rows = await DiscussionStore(ctx.read(), task_id=task.id).activity(query)
    return paging.listing(rows, query.limit)
