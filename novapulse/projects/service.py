"""Use cases on projects."""

from novapulse.core import paging
from novapulse.core.access import Scope
from novapulse.core.context import Context, Transaction
from novapulse.core.documents import changed_fields, new_object_id
from novapulse.core.errors import VersionConflict
from novapulse.core.paging import Listing
from novapulse.people.references import require_members
from novapulse.projects.model import (
    ChangeProject,
    NewProject,
    Project,
    ProjectArchived,
    ProjectCreated,
    ProjectQuery,
    ProjectStatus,
    ProjectUpdated,
)
from novapulse.projects.store import ProjectStore


async def create_project(ctx: Context, command: NewProject) -> Project:
    """Add a project; raises Invalid for members of another company and times that can not be."""
    ctx.require(Scope.PROJECTS_WRITE)
    project = command.project(project_id=new_object_id(), by=ctx.principal.user_id, at=ctx.now())
    async with ctx.transaction() as tx:
        await _check_members(tx, project)
        await ProjectStore(tx).insert(project)
        tx.record(ProjectCreated(project=project))
        if project.status is ProjectStatus.ARCHIVED:
            tx.record(ProjectArchived(project=project, changed=("status",)))
    return project


async def get_project(ctx: Context, project_id: str) -> Project:
    """Raises NotFound."""
    ctx.require(Scope.PROJECTS_READ)
    return await ProjectStore(ctx.read()).get(project_id)


async def list_projects(ctx: Context, query: ProjectQuery) -> Listing[Project]:
    """The company's projects, newest first."""
    ctx.require(Scope.PROJECTS_READ)
    return paging.listing(await ProjectStore(ctx.read()).page(query), query.limit)


async def change_project(
    ctx: Context, project_id: str, *, change: ChangeProject, if_version: int | None = None
) -> Project:
    """Change some fields; changing nothing writes nothing.

    Raises:
        NotFound: no such project in the caller's company.
        VersionConflict: saved by someone else since `if_version`.
        Invalid: a new member is none of the company's, or it would end before it starts.
    """
    ctx.require(Scope.PROJECTS_WRITE)
    async with ctx.transaction() as tx:
        projects = ProjectStore(tx)
        before = await projects.get(project_id)
        if if_version is not None and before.version != if_version:
            raise VersionConflict()
        after = before.changed(change, at=ctx.now())
        changed = changed_fields(before, after)
        if not changed:
            return before
        if "memberIds" in changed:
            await _check_members(tx, after)
        await projects.replace(after, if_version=before.version)
        tx.record(ProjectUpdated(project=after, changed=changed))
        if "status" in changed and after.status is ProjectStatus.ARCHIVED:
            tx.record(ProjectArchived(project=after, changed=("status",)))
    return after


async def archive_project(ctx: Context, project_id: str, *, if_version: int | None = None) -> None:
    """Close a project for further tasks; those that it has stay. Raises as `change_project`."""
    archived = ChangeProject(status=ProjectStatus.ARCHIVED)
    await change_project(ctx, project_id, change=archived, if_version=if_version)


async def _check_members(tx: Transaction, project: Project) -> None:
    named = {f"memberIds[{number}]": member for number, member in enumerate(project.member_ids)}
    await require_members(tx, named)
