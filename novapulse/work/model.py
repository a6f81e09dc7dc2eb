"""Tasks: the document, the commands on it and its events."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from novapulse.core import paging
from novapulse.core.documents import given_fields
from novapulse.core.events import Event, event
from novapulse.core.fields import NO_CONTROL, Description, Instant, ObjectId, in_utc
from novapulse.identity.model import Command
from novapulse.people.model import Cursor, Limit

Title = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=NO_CONTROL)]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=50, pattern=NO_CONTROL)]
Labels = Annotated[tuple[Label, ...], msgspec.Meta(max_length=50)]
Search = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=NO_CONTROL)]


class Status(StrEnum):
    TODO = "todo"
    IN_PROGRESS = "in_progress"
    REVIEW = "review"
    DONE = "done"
    CANCELLED = "cancelled"


class Priority(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    URGENT = "urgent"


class Task(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    title: str
    description: str | None = None
    project_id: str | None = None
    assignee_id: str | None = None
    status: Status = Status.TODO
    priority: Priority = Priority.MEDIUM
    due_at: datetime | None = None
    labels: tuple[str, ...] = ()
    created_by: str
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None = None
    version: int = 1

    def changed(self, change: "ChangeTask", *, at: datetime) -> "Task":
        """The task after `change`, one version on; done and not done set `completed_at`.

        Raises Invalid for a due time that can not be kept.
        """
        given = given_fields(change)
        if isinstance(change.due_at, datetime):
            given["due_at"] = in_utc(change.due_at, "dueAt")
        after = msgspec.structs.replace(self, **given, updated_at=at, version=self.version + 1)
        if after.status is Status.DONE and self.status is not Status.DONE:
            return msgspec.structs.replace(after, completed_at=at)
        if after.status is not Status.DONE:
            return msgspec.structs.replace(after, completed_at=None)
        return after


class NewTask(Command, frozen=True):
    title: Title
    description: Description | None = None
    project_id: ObjectId | None = None
    assignee_id: ObjectId | None = None
    status: Status = Status.TODO
    priority: Priority = Priority.MEDIUM
    due_at: Instant | None = None
    labels: Labels = ()

    def task(self, *, task_id: str, by: str, at: datetime) -> Task:
        """The first version; raises Invalid for a due time that can not be kept."""
        return Task(
            id=task_id,
            title=self.title,
            description=self.description,
            project_id=self.project_id,
            assignee_id=self.assignee_id,
            status=self.status,
            priority=self.priority,
            due_at=in_utc(self.due_at, "dueAt") if self.due_at else None,
            labels=self.labels,
            created_by=by,
            created_at=at,
            updated_at=at,
            completed_at=at if self.status is Status.DONE else None,
        )


class ChangeTask(Command, frozen=True):
    """A merge patch: fields that are left out stay as they are."""

    title: Title | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    project_id: ObjectId | UnsetType | None = UNSET
    assignee_id: ObjectId | UnsetType | None = UNSET
    status: Status | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    due_at: Instant | UnsetType | None = UNSET
    labels: Labels | UnsetType = UNSET


class TaskQuery(Command, frozen=True):
    """`due_after` is the first moment, `due_before` the first that is too late.

    `q` has words that the title's words begin with; `label` is one of the labels.
    """

    limit: Limit = paging.DEFAULT_LIMIT
    cursor: Cursor | None = None
    status: Status | None = None
    priority: Priority | None = None
    project_id: ObjectId | None = None
    assignee_id: ObjectId | None = None
    label: Label | None = None
    due_after: Instant | None = None
    due_before: Instant | None = None
    q: Search | None = None


@event("task.created")
class TaskCreated(Event, frozen=True, kw_only=True):
    task: Task


@event("task.updated")
class TaskUpdated(Event, frozen=True, kw_only=True):
    task: Task


@event("task.assigned")
class TaskAssigned(Event, frozen=True, kw_only=True):
    """It has another assignee than before: the one in the task."""

    task: Task


@event("task.completed")
class TaskCompleted(Event, frozen=True, kw_only=True):
    task: Task


@event("task.deleted")
class TaskDeleted(Event, frozen=True, kw_only=True):
    """The task as it was last."""

    task: Task
