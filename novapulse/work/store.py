"""Every query on tasks, their comments and their events, inside one company."""

from typing import Any

from novapulse.core import paging
from novapulse.core.documents import from_document, to_document
from novapulse.core.errors import NotFound, VersionConflict
from novapulse.core.events import EVENTS
from novapulse.core.mongo import Document, TenantSession
from novapulse.work import reading
from novapulse.work.discussion import Activity, Comment, DiscussionQuery
from novapulse.work.model import Task, TaskQuery
from novapulse.work.words import beginnings, long_words

TASKS = "tasks"
COMMENTS = "comments"
# Projects are another feature's; here they are looked up only.
_PROJECTS = "projects"

INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    TASKS: reading.INDEXES,
    COMMENTS: (
        {
            "name": "task",
            "keys": [("companyId", 1), ("taskId", 1), ("createdAt", -1), ("_id", -1)],
        },
    ),
}


def task_document(task: Task) -> Document:
    """The row of a task, with what its lists are read by."""
    return {
        **to_document(task),
        reading.PARTIES: sorted({task.created_by, task.assignee_id or task.created_by}),
        reading.BEGINNINGS: beginnings(task.title),
        reading.LONG_WORDS: long_words(task.title),
    }


class TaskStore:
    """`own` narrows every query to what this user created or is assigned to."""

    def __init__(self, session: TenantSession, *, own: str | None = None) -> None:
        self._session = session
        self._rows = session.rows(TASKS)
        self._own = own

    async def insert(self, task: Task) -> None:
        await self._rows.insert(task_document(task))

    async def get(self, task_id: str) -> Task:
        """Raises NotFound."""
        where = {"_id": task_id}
        if self._own is not None:
            where[reading.PARTIES] = self._own
        document = await self._rows.find_one(where)
        if document is None:
            raise NotFound("There is no such task")
        return from_document(document, Task)

    async def replace(self, task: Task, *, if_version: int) -> None:
        """Save over version `if_version`; raises VersionConflict when it is another by now."""
        where = {"_id": task.id, "version": if_version}
        if not await self._rows.replace(where, task_document(task)):
            raise VersionConflict()

    async def delete(self, task: Task) -> None:
        """With its comments; raises VersionConflict when it is another version by now."""
        where = {"_id": task.id, "version": task.version}
        if not await self._rows.delete_one(where):
            raise VersionConflict()
        await self._session.rows(COMMENTS).delete_many({"taskId": task.id})

    async def page(self, query: TaskQuery) -> list[Task]:
        """One more than the page holds, when there are more."""
        chosen = reading.scan_of(query, own=self._own)
        # What only lists are read by comes along: leaving it out costs the database more.
        found = await self._rows.find(
            chosen.where, sort=chosen.order.sort, limit=query.limit + 1, hint=chosen.index
        )
        return [from_document(document, Task) for document in found]

    async def find_project_status(self, project_id: str) -> str | None:
        """The status of a project of the company."""
        where = {"_id": project_id}
        found = await self._session.rows(_PROJECTS).find_one(where, projection={"status": 1})
        return None if found is None else str(found["status"])


class DiscussionStore:
    """The comments and the events of one task."""

    def __init__(self, session: TenantSession, *, task_id: str) -> None:
        self._session = session
        self._rows = session.rows(COMMENTS)
        self._task_id = task_id

    async def insert(self, comment: Comment) -> None:
        # A write to the task too: it can not be deleted meanwhile and leave the comment behind.
        touch = {"$set": {"commentedAt": comment.created_at}}
        if not await self._session.rows(TASKS).update_one({"_id": self._task_id}, touch):
            raise NotFound("There is no such task")
        await self._rows.insert(to_document(comment))

    async def page(self, query: DiscussionQuery) -> list[Comment]:
        parts: list[Document] = [{"taskId": self._task_id}, *paging.NEWEST.beyond(query.cursor)]
        found = await self._rows.find(
            {"$and": parts}, sort=paging.NEWEST_FIRST, limit=query.limit + 1, hint="task"
        )
        return [from_document(document, Comment) for document in found]

    async def activity(self, query: DiscussionQuery) -> list[Activity]:
        """What the task's events tell, newest first, as long as events are kept."""
        parts: list[Document] = [
            {"resourceId": self._task_id},
            *paging.NEWEST.beyond(query.cursor),
        ]
        found = await self._session.rows(EVENTS).find(
            {"$and": parts}, sort=paging.NEWEST_FIRST, limit=query.limit + 1, hint="resource"
        )
        return [Activity.of(row) for row in found]
