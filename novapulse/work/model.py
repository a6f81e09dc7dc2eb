"""Tasks: the document, the commands on it and its events."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from novapulse.core import paging
from novapulse.core.clock import to_utc
from novapulse.core.errors import Invalid
from novapulse.core.events import Event, event

# `$` alone also matches before a line's end, hence the look-ahead.
NO_CONTROL = r"^[^\x00-\x1f\x7f]*(?!\n)$"
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=NO_CONTROL)]
Description = Annotated[str, msgspec.Meta(max_length=10_000, pattern=r"^[^\x00]*$")]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=50, pattern=NO_CONTROL)]
Labels = Annotated[tuple[Label, ...], msgspec.Meta(max_length=50)]
ObjectId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{24}(?!\n)$")]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]


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


def due_in_utc(moment: datetime) -> datetime:
    """The due time as it is kept; raises Invalid for one that UTC has no year for."""
    try:
        return to_utc(moment)
    except OverflowError as error:
        raise Invalid.field("dueAt", "must lie between the years 1 and 9999 in UTC") from error


class Task(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    title: str
    description: str | None = None
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
        """The task after `change`, one version on; done and not done set `completed_at`."""
        given = {
            name: getattr(change, name)
            for name in change.__struct_fields__
            if getattr(change, name) is not UNSET
        }
        if isinstance(change.due_at, datetime):
            given["due_at"] = due_in_utc(change.due_at)
        after = msgspec.structs.replace(self, **given, updated_at=at, version=self.version + 1)
        if after.status is Status.DONE and self.status is not Status.DONE:
            return msgspec.structs.replace(after, completed_at=at)
        if after.status is not Status.DONE:
            return msgspec.structs.replace(after, completed_at=None)
        return after


class NewTask(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    title: Title
    description: Description | None = None
    assignee_id: ObjectId | None = None
    status: Status = Status.TODO
    priority: Priority = Priority.MEDIUM
    due_at: Instant | None = None
    labels: Labels = ()


class ChangeTask(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """A merge patch: fields that are left out stay as they are."""

    title: Title | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    assignee_id: ObjectId | UnsetType | None = UNSET
    status: Status | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    due_at: Instant | UnsetType | None = UNSET
    labels: Labels | UnsetType = UNSET


class TaskQuery(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = paging.DEFAULT_LIMIT
    cursor: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    status: Status | None = None
    priority: Priority | None = None
    assignee_id: ObjectId | None = None


@event("task.created")
class TaskCreated(Event, frozen=True, kw_only=True):
    task: Task


@event("task.updated")
class TaskUpdated(Event, frozen=True, kw_only=True):
    task: Task
