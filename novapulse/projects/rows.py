"""A company's projects, for those that carry rows away."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.sources import Selection, View, plain_row, source
from novapulse.people.store import present
from novapulse.projects.model import ProjectStatus
from novapulse.projects.store import PROJECTS

_COLUMNS = (
    *("id", "name", "description", "status", "startsAt", "endsAt", "memberIds"),
    *("createdBy", "createdAt", "updatedAt"),
)


class ProjectSelection(Selection, frozen=True, kw_only=True):
    status: ProjectStatus | None = None


@source("projects", scope=Scope.PROJECTS_READ, columns=_COLUMNS)
def projects(ctx: Context, chosen: ProjectSelection, own: str | None) -> View:
    """Everybody in a company sees its projects: there is nothing to narrow."""
    where = {**chosen.span(), **present(status=chosen.status)}
    return View(ctx.read_bulk().rows(PROJECTS), where, plain_row(_COLUMNS), "newest", _COLUMNS)
