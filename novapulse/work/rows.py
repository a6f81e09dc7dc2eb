"""A company's tasks, for those that carry rows away."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.fields import ObjectId
from novapulse.core.mongo import Document
from novapulse.core.sources import Selection, View, plain_row, source
from novapulse.work import reading
from novapulse.work.model import Priority, Status
from novapulse.work.store import TASKS

_COLUMNS = (
    *("id", "title", "description", "status", "priority", "projectId", "assigneeId", "labels"),
    *("dueAt", "createdBy", "createdAt", "updatedAt", "completedAt"),
)


class TaskSelection(Selection, frozen=True, kw_only=True):
    status: Status | None = None
    priority: Priority | None = None
    project_id: ObjectId | None = None
    assignee_id: ObjectId | None = None


@source("tasks", scope=Scope.TASKS_READ, columns=_COLUMNS)
def tasks(ctx: Context, chosen: TaskSelection, own: str | None) -> View:
    named = {
        "status": chosen.status and str(chosen.status),
        "priority": chosen.priority and str(chosen.priority),
        "projectId": chosen.project_id,
        "assigneeId": chosen.assignee_id,
        reading.PARTIES: own,
    }
    where: Document = {name: value for name, value in named.items() if value is not None}
    rows = ctx.read_bulk().rows(TASKS)
    return View(rows, {**chosen.span(), **where}, plain_row(_COLUMNS), "newest", _COLUMNS)
