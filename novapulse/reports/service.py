"""Use cases on reports: ask for one, look, download, delete."""

from functools import partial

from novapulse.core import paging
from novapulse.core.access import Grant, Principal, Scope
from novapulse.core.context import Context
from novapulse.core.documents import new_object_id
from novapulse.core.download import Download
from novapulse.core.files import FileStore
from novapulse.core.jobs.states import State
from novapulse.core.paging import Listing
from novapulse.core.rowtext import MEDIA_TYPES
from novapulse.reports.kinds import KINDS, selection_of
from novapulse.reports.model import (
    MAX_OPEN,
    NewReport,
    Report,
    ReportDeleted,
    ReportDetail,
    ReportExpired,
    ReportNotReady,
    ReportQuery,
    ReportRequested,
    ReportRow,
    ReportStatus,
    TooManyReports,
    Work,
)
from novapulse.reports.store import BUCKET, ReportStore

MAKER = "report.generate"


async def request_report(ctx: Context, command: NewReport) -> ReportDetail:
    """Have a report made of what the caller may see now.

    Raises:
        Forbidden: the caller may not read what the kind is about.
        Invalid: `params` are not the kind's.
        TooManyReports: too many of the caller's wait already.
    """
    return await request_as(ctx, ctx.principal, command=command)


async def request_as(
    ctx: Context, owner: Principal, *, command: NewReport, schedule_id: str | None = None
) -> ReportDetail:
    """As `request_report`, for a member of the company that `ctx` acts on."""
    owner.require(Scope.REPORTS_WRITE)
    grant = owner.require(KINDS[command.kind].scope)
    chosen = selection_of(command.kind, command.params)
    user_id, now, report_id = owner.user_id, ctx.now(), new_object_id()
    async with ctx.transaction() as tx:
        if await ReportStore(tx, own=user_id).count_open(limit=MAX_OPEN) >= MAX_OPEN:
            raise TooManyReports()
        job_id = await tx.enqueue(MAKER, {"report_id": report_id})
        report = ReportRow(
            id=report_id,
            kind=command.kind,
            format=command.format,
            params=chosen.given(),
            owner_id=user_id,
            own=user_id if grant is Grant.OWN else None,
            job_id=job_id,
            schedule_id=schedule_id,
            created_at=now,
            updated_at=now,
        )
        await ReportStore(tx).insert(report)
        tx.record(ReportRequested(report=report.view()))
    work = Work(id=job_id, kind=MAKER, state=State.AVAILABLE, attempt=0, progress=None)
    return _detail(report, work)


async def get_report(ctx: Context, report_id: str) -> ReportDetail:
    """A report and how far its job is; raises NotFound."""
    store = _reports(ctx)
    report = await store.get(report_id)
    return _detail(report, await store.find_work(report.job_id))


async def list_reports(ctx: Context, query: ReportQuery) -> Listing[Report]:
    """The caller's reports, or the company's, newest first."""
    return paging.listing(await _reports(ctx).page(query), query.limit)


async def download_report(ctx: Context, report_id: str) -> Download:
    """A report's file.

    Raises NotFound, ReportNotReady, or ReportExpired when its time is over.
    """
    report = await _reports(ctx).get(report_id)
    if report.is_expired(ctx.now()):
        raise ReportExpired()
    ready = report.status is ReportStatus.READY
    if not ready or report.file_id is None or report.sha256 is None or report.size_bytes is None:
        raise ReportNotReady()
    files = FileStore(ctx.read(), BUCKET)
    return Download(
        name=report.file_name,
        media_type=MEDIA_TYPES[report.format],
        size=report.size_bytes,
        sha256=report.sha256,
        read=partial(files.read, report.file_id),
    )


async def delete_report(ctx: Context, report_id: str, *, if_version: int | None = None) -> None:
    """Remove a report and its file; one that is being made is given up.

    Raises NotFound or VersionConflict.
    """
    ctx.require(Scope.REPORTS_WRITE)
    async with ctx.transaction() as tx:
        store = ReportStore(tx, own=own_id(ctx, Scope.REPORTS_WRITE))
        report = await store.get(report_id)
        await store.delete(report_id, if_version=if_version)
        tx.record(ReportDeleted(report=report.view()))
    if report.file_id is not None:
        await FileStore(ctx.read(), BUCKET).delete(report.file_id)


def own_id(ctx: Context, scope: Scope) -> str | None:
    """The caller, if `scope` reaches their own only."""
    return ctx.principal.user_id if ctx.require(scope) is Grant.OWN else None


def _reports(ctx: Context) -> ReportStore:
    """Those that the caller may see."""
    return ReportStore(ctx.read(), own=own_id(ctx, Scope.REPORTS_READ))


def _detail(report: ReportRow, work: Work | None) -> ReportDetail:
    shown = report.view()
    fields = {name: getattr(shown, name) for name in shown.__struct_fields__}
    return ReportDetail(**fields, job=work)
