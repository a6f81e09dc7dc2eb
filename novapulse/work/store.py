"""Every query on tasks, inside one company."""

from typing import Any

from novapulse.core import paging
from novapulse.core.documents import from_document, to_document
from novapulse.core.errors import NotFound, VersionConflict
from novapulse.core.mongo import Document, TenantSession
from novapulse.work.model import Task, TaskQuery

TASKS = "tasks"
# Members are looked up in identity's collection: ids of other companies do not exist there.
_USERS = "users"

INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    TASKS: (
        {"name": "newest", "keys": [("companyId", 1), ("createdAt", -1), ("_id", -1)]},
        {
            "name": "assignee",
            "keys": [("companyId", 1), ("assigneeId", 1), ("createdAt", -1), ("_id", -1)],
        },
        {
            "name": "status",
            "keys": [("companyId", 1), ("status", 1), ("createdAt", -1), ("_id", -1)],
        },
    ),
}


class TaskStore:
    """`own` narrows every query to what this user created or is assigned to."""

    def __init__(self, session: TenantSession, *, own: str | None = None) -> None:
        self._session = session
        self._rows = session.rows(TASKS)
        self._own: Document = {}
        if own is not None:
            self._own = {"$and": [{"$or": [{"createdBy": own}, {"assigneeId": own}]}]}

    async def insert(self, task: Task) -> None:
        await self._rows.insert(to_document(task))

    async def get(self, task_id: str) -> Task:
        """Raises NotFound."""
        document = await self._rows.find_one({"_id": task_id, **self._own})
        if document is None:
            raise NotFound("There is no such task")
        return from_document(document, Task)

    async def replace(self, task: Task, *, if_version: int) -> None:
        """Save over version `if_version`; raises VersionConflict when it is another by now."""
        where = {"_id": task.id, "version": if_version}
        if not await self._rows.replace(where, to_document(task)):
            raise VersionConflict()

    async def page(self, query: TaskQuery) -> list[Task]:
        """One more than the page holds, when there are more; newest first."""
        named = {
            "status": query.status and str(query.status),
            "priority": query.priority and str(query.priority),
            "assigneeId": query.assignee_id,
        }
        where = {name: value for name, value in named.items() if value is not None}
        found = await self._rows.find(
            {**where, **self._own, **paging.after(query.cursor)},
            sort=paging.NEWEST_FIRST,
            limit=query.limit + 1,
        )
        return [from_document(document, Task) for document in found]

    async def has_member(self, user_id: str) -> bool:
        """Whether this is a user of the company."""
        return await self._session.rows(_USERS).find_one({"_id": user_id}) is not None
