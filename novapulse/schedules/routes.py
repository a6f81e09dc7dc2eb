"""`/report-schedules`."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.paging import Listing
from novapulse.core.routing import Routes
from novapulse.schedules import service
from novapulse.schedules.model import ChangeSchedule, NewSchedule, Schedule, ScheduleQuery

routes = Routes("reports")
_READ, _WRITE = Scope.REPORTS_READ, Scope.REPORTS_WRITE


@routes.add("POST", "/report-schedules", scope=_WRITE, status=201)
async def create_report_schedule(ctx: Context, body: NewSchedule) -> Schedule:
    """Have a report made every day, week or month."""
    return await service.create_schedule(ctx, body)


@routes.add("GET", "/report-schedules", scope=_READ)
async def list_report_schedules(ctx: Context, query: ScheduleQuery) -> Listing[Schedule]:
    """List report schedules, newest first."""
    return await service.list_schedules(ctx, query)


@routes.add("GET", "/report-schedules/{id}", scope=_READ)
async def get_report_schedule(ctx: Context, schedule_id: str) -> Schedule:
    """Read one report schedule."""
    return await service.get_schedule(ctx, schedule_id)


@routes.add("PATCH", "/report-schedules/{id}", scope=_WRITE)
async def change_report_schedule(
    ctx: Context, schedule_id: str, *, body: ChangeSchedule, if_match: int | None
) -> Schedule:
    """Change some fields of a report schedule; `If-Match` guards against lost updates."""
    return await service.change_schedule(ctx, schedule_id, change=body, if_version=if_match)


@routes.add("DELETE", "/report-schedules/{id}", scope=_WRITE)
async def delete_report_schedule(ctx: Context, schedule_id: str, if_match: int | None) -> None:
    """Remove a report schedule; reports that it had made stay."""
    await service.delete_schedule(ctx, schedule_id, if_version=if_match)
