"""`/projects`."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.paging import Listing
from novapulse.core.routing import Routes
from novapulse.projects import service
from novapulse.projects.model import ChangeProject, NewProject, Project, ProjectQuery

routes = Routes("projects")


@routes.add("POST", "/projects", scope=Scope.PROJECTS_WRITE, status=201)
async def create_project(ctx: Context, body: NewProject) -> Project:
    """Create a project."""
    return await service.create_project(ctx, body)


@routes.add("GET", "/projects", scope=Scope.PROJECTS_READ)
async def list_projects(ctx: Context, query: ProjectQuery) -> Listing[Project]:
    """List projects, newest first."""
    return await service.list_projects(ctx, query)


@routes.add("GET", "/projects/{id}", scope=Scope.PROJECTS_READ)
async def get_project(ctx: Context, project_id: str) -> Project:
    """Read one project."""
    return await service.get_project(ctx, project_id)


@routes.add("PATCH", "/projects/{id}", scope=Scope.PROJECTS_WRITE)
async def change_project(
    ctx: Context, project_id: str, *, body: ChangeProject, if_match: int | None
) -> Project:
    """Change some fields of a project; `If-Match` guards against lost updates."""
    return await service.change_project(ctx, project_id, change=body, if_version=if_match)


@routes.add("DELETE", "/projects/{id}", scope=Scope.PROJECTS_WRITE)
async def archive_project(ctx: Context, project_id: str, if_match: int | None) -> None:
    """Archive a project: it takes no further tasks, and stays readable with those it has."""
    await service.archive_project(ctx, project_id, if_version=if_match)
