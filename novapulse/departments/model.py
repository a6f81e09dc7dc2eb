"""Departments: the document, the commands on it, its events and errors."""

import unicodedata
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from novapulse.core import errors, paging
from novapulse.core.documents import given_fields
from novapulse.core.events import Event, event
from novapulse.core.fields import Members, ObjectId, without_repeats
from novapulse.identity.model import Command, Name
from novapulse.people.model import Cursor, Limit


class DepartmentExists(errors.Conflict):
    code = "department_exists"
    title = "The company has a department of this name"


class Department(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    name: str
    manager_id: str | None = None
    member_ids: tuple[str, ...] = ()
    created_by: str
    created_at: datetime
    updated_at: datetime
    version: int = 1

    def changed(self, change: "ChangeDepartment", *, at: datetime) -> "Department":
        """The department after `change`, one version on."""
        given = _kept(given_fields(change))
        return msgspec.structs.replace(self, **given, updated_at=at, version=self.version + 1)

    @property
    def people(self) -> dict[str, str]:
        """Everybody who is named in it, by where."""
        named = {f"memberIds[{number}]": member for number, member in enumerate(self.member_ids)}
        return named if self.manager_id is None else {"managerId": self.manager_id, **named}


class NewDepartment(Command, frozen=True):
    name: Name
    manager_id: ObjectId | None = None
    member_ids: Members = ()

    def department(self, *, department_id: str, by: str, at: datetime) -> Department:
        """The first version."""
        given = _kept(given_fields(self))
        return Department(**given, id=department_id, created_by=by, created_at=at, updated_at=at)


class ChangeDepartment(Command, frozen=True):
    """A merge patch: fields that are left out stay as they are."""

    name: Name | UnsetType = UNSET
    manager_id: ObjectId | UnsetType | None = UNSET
    member_ids: Members | UnsetType = UNSET


def _kept(given: dict[str, Any]) -> dict[str, Any]:
    if "member_ids" in given:
        given["member_ids"] = without_repeats(given["member_ids"])
    return given


def name_key(name: str) -> str:
    """How names are compared: a company has one department of a name."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


class DepartmentQuery(Command, frozen=True):
    """`member_id` is somebody's among the members; who leads it is not one by that alone."""

    limit: Limit = paging.DEFAULT_LIMIT
    cursor: Cursor | None = None
    member_id: ObjectId | None = None


@event("department.created", is_public=False)
class DepartmentCreated(Event, frozen=True, kw_only=True):
    department: Department


@event("department.updated", is_public=False)
class DepartmentUpdated(Event, frozen=True, kw_only=True):
    department: Department


@event("department.deleted", is_public=False)
class DepartmentDeleted(Event, frozen=True, kw_only=True):
    department: Department
