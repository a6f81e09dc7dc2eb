"""Every query on departments, inside one company."""

from typing import Any

from novapulse.core import paging
from novapulse.core.documents import from_document, to_document
from novapulse.core.errors import NotFound, VersionConflict
from novapulse.core.mongo import Document, Duplicate, TenantSession
from novapulse.departments.model import Department, DepartmentExists, DepartmentQuery, name_key
from novapulse.people.store import present

DEPARTMENTS = "departments"

_NEWEST = [("createdAt", -1), ("_id", -1)]
INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    DEPARTMENTS: (
        {"name": "newest", "keys": [("companyId", 1), *_NEWEST]},
        {"name": "member", "keys": [("companyId", 1), ("memberIds", 1), *_NEWEST]},
        {"name": "name", "keys": [("companyId", 1), ("nameKey", 1)], "unique": True},
    ),
}


class DepartmentStore:
    def __init__(self, session: TenantSession) -> None:
        self._rows = session.rows(DEPARTMENTS)

    async def insert(self, department: Department) -> None:
        """Raises DepartmentExists."""
        try:
            await self._rows.insert(_document(department))
        except Duplicate as error:
            raise DepartmentExists() from error

    async def get(self, department_id: str) -> Department:
        """Raises NotFound."""
        document = await self._rows.find_one({"_id": department_id})
        if document is None:
            raise NotFound("There is no such department")
        return from_document(document, Department)

    async def replace(self, department: Department, *, if_version: int) -> None:
        """Save over version `if_version`; raises VersionConflict or DepartmentExists."""
        where = {"_id": department.id, "version": if_version}
        try:
            matched = await self._rows.replace(where, _document(department))
        except Duplicate as error:
            raise DepartmentExists() from error
        if not matched:
            raise VersionConflict()

    async def delete(self, department: Department) -> None:
        """Raises VersionConflict when it is another version by now."""
        where = {"_id": department.id, "version": department.version}
        if not await self._rows.delete_one(where):
            raise VersionConflict()

    async def page(self, query: DepartmentQuery) -> list[Department]:
        """One more than the page holds, when there are more; newest first."""
        index = "newest" if query.member_id is None else "member"
        parts = [present(memberIds=query.member_id), *paging.NEWEST.beyond(query.cursor)]
        found = await self._rows.find(
            {"$and": parts}, sort=paging.NEWEST_FIRST, limit=query.limit + 1, hint=index
        )
        return [from_document(document, Department) for document in found]


def _document(department: Department) -> Document:
    return {**to_document(department), "nameKey": name_key(department.name)}
