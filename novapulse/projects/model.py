"""Projects: the document, the commands on it and its events."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from novapulse.core import paging
from novapulse.core.documents import given_fields
from novapulse.core.errors import Invalid
from novapulse.core.events import Event, event
from novapulse.core.fields import (
    Description,
    Instant,
    Members,
    ObjectId,
    in_utc,
    without_repeats,
)
from novapulse.identity.model import Command, Name
from novapulse.people.model import Cursor, Limit


class ProjectStatus(StrEnum):
    ACTIVE = "active"
    ON_HOLD = "on_hold"
    COMPLETED = "completed"
    ARCHIVED = "archived"


class Project(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    name: str
    description: str | None = None
    status: ProjectStatus = ProjectStatus.ACTIVE
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    member_ids: tuple[str, ...] = ()
    created_by: str
    created_at: datetime
    updated_at: datetime
    version: int = 1

    def changed(self, change: "ChangeProject", *, at: datetime) -> "Project":
        """The project after `change`, one version on; raises Invalid for times that can not be."""
        return msgspec.structs.replace(
            self, **_kept(given_fields(change)), updated_at=at, version=self.version + 1
        ).checked()

    def checked(self) -> "Project":
        """Itself; raises Invalid when it ends before it starts."""
        starts, ends = self.starts_at, self.ends_at
        if starts is not None and ends is not None and ends < starts:
            raise Invalid.field("endsAt", "is before startsAt")
        return self


class NewProject(Command, frozen=True):
    name: Name
    description: Description | None = None
    status: ProjectStatus = ProjectStatus.ACTIVE
    starts_at: Instant | None = None
    ends_at: Instant | None = None
    member_ids: Members = ()

    def project(self, *, project_id: str, by: str, at: datetime) -> Project:
        """The first version; raises Invalid for times that can not be."""
        given = _kept(given_fields(self))
        project = Project(**given, id=project_id, created_by=by, created_at=at, updated_at=at)
        return project.checked()


class ChangeProject(Command, frozen=True):
    """A merge patch: fields that are left out stay as they are."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    status: ProjectStatus | UnsetType = UNSET
    starts_at: Instant | UnsetType | None = UNSET
    ends_at: Instant | UnsetType | None = UNSET
    member_ids: Members | UnsetType = UNSET


def _kept(given: dict[str, Any]) -> dict[str, Any]:
    """Fields as they are kept: times in UTC, each member once."""
    for name, path in (("starts_at", "startsAt"), ("ends_at", "endsAt")):
        if isinstance(given.get(name), datetime):
            given[name] = in_utc(given[name], path)
    if "member_ids" in given:
        given["member_ids"] = without_repeats(given["member_ids"])
    return given


class ProjectQuery(Command, frozen=True):
    limit: Limit = paging.DEFAULT_LIMIT
    cursor: Cursor | None = None
    status: ProjectStatus | None = None
    member_id: ObjectId | None = None


@event("project.created")
class ProjectCreated(Event, frozen=True, kw_only=True):
    project: Project


@event("project.updated")
class ProjectUpdated(Event, frozen=True, kw_only=True):
    project: Project


@event("project.archived")
class ProjectArchived(Event, frozen=True, kw_only=True):
    project: Project
