"""`/reports`."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.paging import Listing
from novapulse.core.routing import Reply, Routes, Stream
from novapulse.reports import service
from novapulse.reports.model import NewReport, Report, ReportDetail, ReportQuery

routes = Routes("reports")
_READ, _WRITE = Scope.REPORTS_READ, Scope.REPORTS_WRITE


@routes.add("POST", "/reports", scope=_WRITE, status=202)
async def request_report(ctx: Context, body: NewReport) -> ReportDetail:
    """Have a report made; its job tells how far it is."""
    return await service.request_report(ctx, body)


@routes.add("GET", "/reports", scope=_READ)
async def list_reports(ctx: Context, query: ReportQuery) -> Listing[Report]:
    """List reports, newest first."""
    return await service.list_reports(ctx, query)


@routes.add("GET", "/reports/{id}", scope=_READ)
async def get_report(ctx: Context, report_id: str) -> ReportDetail:
    """Read one report and the progress of its job."""
    return await service.get_report(ctx, report_id)


@routes.add(
    "GET",
    "/reports/{id}/download",
    scope=_READ,
    also=(206, 304),
    returns=str,
    media_type="application/octet-stream",
)
async def download_report(ctx: Context, report_id: str) -> Reply | Stream:
    """Download a report's file, or a range of it."""
    download = await service.download_report(ctx, report_id)
    return download.answer(ctx.request.headers if ctx.request is not None else {})


@routes.add("DELETE", "/reports/{id}", scope=_WRITE)
async def delete_report(ctx: Context, report_id: str, if_match: int | None) -> None:
    """Remove a report and its file."""
    await service.delete_report(ctx, report_id, if_version=if_match)
