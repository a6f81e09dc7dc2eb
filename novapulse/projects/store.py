"""Every query on projects, inside one company."""

from typing import Any

from novapulse.core import paging
from novapulse.core.documents import from_document, to_document
from novapulse.core.errors import NotFound, VersionConflict
from novapulse.core.mongo import Document, TenantSession
from novapulse.people.store import present
from novapulse.projects.model import Project, ProjectQuery

PROJECTS = "projects"

_NEWEST = [("createdAt", -1), ("_id", -1)]
INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    PROJECTS: (
        {"name": "newest", "keys": [("companyId", 1), *_NEWEST]},
        {"name": "status", "keys": [("companyId", 1), ("status", 1), *_NEWEST]},
        {"name": "member", "keys": [("companyId", 1), ("memberIds", 1), *_NEWEST]},
    ),
}


class ProjectStore:
    def __init__(self, session: TenantSession) -> None:
        self._rows = session.rows(PROJECTS)

    async def insert(self, project: Project) -> None:
        await self._rows.insert(to_document(project))

    async def get(self, project_id: str) -> Project:
        """Raises NotFound."""
        document = await self._rows.find_one({"_id": project_id})
        if document is None:
            raise NotFound("There is no such project")
        return from_document(document, Project)

    async def replace(self, project: Project, *, if_version: int) -> None:
        """Save over version `if_version`; raises VersionConflict when it is another by now."""
        where = {"_id": project.id, "version": if_version}
        if not await self._rows.replace(where, to_document(project)):
            raise VersionConflict()

    async def page(self, query: ProjectQuery) -> list[Project]:
        """One more than the page holds, when there are more; newest first."""
        where: Document = present(status=query.status, memberIds=query.member_id)
        index = "newest"
        if where:
            index = "member" if query.member_id is not None else "status"
        parts = [where, *paging.NEWEST.beyond(query.cursor)]
        found = await self._rows.find(
            {"$and": parts}, sort=paging.NEWEST_FIRST, limit=query.limit + 1, hint=index
        )
        return [from_document(document, Project) for document in found]
