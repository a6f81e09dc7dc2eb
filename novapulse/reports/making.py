"""Making one report: rows in, bytes out, a file at the end, however often a consumer dies.

Which file is being written is noted before its first byte: whatever a killed
attempt leaves behind is a file that no report knows, and swept by that.
"""

from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import structlog

from novapulse.core import rowtext
from novapulse.core.clock import rfc3339
from novapulse.core.context import Context
from novapulse.core.documents import new_object_id
from novapulse.core.errors import Error, StorageFull, Unavailable
from novapulse.core.files import FileStore
from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.states import GiveUp
from novapulse.core.rowtext import Form
from novapulse.core.sources import Row, Selection
from novapulse.reports import charts, pages
from novapulse.reports.charts import Tally
from novapulse.reports.kinds import KINDS, Table, selection_of
from novapulse.reports.model import ReportFailed, ReportFormat, ReportReady, ReportRow
from novapulse.reports.store import BUCKET, ReportStore
from novapulse.reports.summaries import Material

log = structlog.get_logger("reports")
_COUNTED_TO = 1_000_000
_FORMS: dict[ReportFormat, Form] = {ReportFormat.CSV: "csv", ReportFormat.NDJSON: "ndjson"}


async def make(ctx: JobContext, report_id: str) -> None:
    """Write the report's file and tell that it is ready; nothing for one that is over or gone."""
    report = await ReportStore(ctx.read()).find(report_id)
    former = report.file_id if report is not None else None
    drafted = new_object_id()
    report = await ReportStore(ctx.read()).begin(report_id, file_id=drafted, now=ctx.now())
    if report is None:
        return
    files = FileStore(ctx.read(), BUCKET)
    if former is not None:
        await files.delete(former)
    try:
        await _write(ctx, files, report)
    except (Unavailable, StorageFull):
        raise  # the store's trouble spends no attempt: the job comes back
    except Exception as error:
        if isinstance(error, GiveUp) or ctx.job.attempt - ctx.job.lapses >= ctx.job.max_attempts:
            await fail(ctx, report.id, reason=_reason(error))
        raise


async def _write(ctx: JobContext, files: FileStore, report: ReportRow) -> None:
    making = Making(ctx, report)
    assert report.file_id is not None  # noqa: S101  # by `begin`
    stored = await files.write(
        report.file_id, making.pieces(), name=report.file_name, now=ctx.now()
    )
    keep = timedelta(days=ctx.runtime.settings.reports.keep_days)
    async with ctx.transaction() as tx:
        store = ReportStore(tx)
        ready = await store.finish(report, stored, rows=making.count, now=ctx.now(), keep=keep)
        if ready is not None:
            tx.record(ReportReady(report=ready.view()))
    if ready is None:
        await files.delete(stored.id)
        return
    log.info("report.ready", reportId=report.id, rows=making.count, bytes=stored.size_bytes)


async def fail(ctx: Context, report_id: str, *, reason: str) -> None:
    """Tell that the report will not come, unless it is over already."""
    async with ctx.transaction() as tx:
        failed = await ReportStore(tx).fail(report_id, reason=reason, now=ctx.now())
        if failed is not None:
            tx.record(ReportFailed(report=failed.view()))
            log.warning("report.failed", reportId=report_id, reason=reason)


def _reason(error: Exception) -> str:
    """What its owner may read: our own words, nothing of a library's."""
    if isinstance(error, Error):
        return error.detail
    if isinstance(error, TimeoutError):
        return "It took too long"
    return "It could not be made; the job's errors say why"


class Making:
    """The bytes of one report while its rows pass by, and how far it has come."""

    def __init__(self, ctx: JobContext, report: ReportRow) -> None:
        self._ctx = ctx
        self._report = report
        self._kind = KINDS[report.kind]
        self._form = _FORMS.get(report.format)
        self._tally = Tally(self._kind.chart)
        self._read = 0
        self._expected = 0
        self.count = 0

    async def pieces(self) -> AsyncIterator[bytes]:
        """The file, piece by piece; what takes the processor runs beside the event loop."""
        chosen = selection_of(self._report.kind, self._report.params)
        chosen = _until_asked(chosen, self._report)
        material = Material(
            ctx=self._ctx,
            source=self._kind.source,
            chosen=chosen,
            own=self._report.own,
            asked_at=self._report.created_at,
            seen=self._seen,
        )
        self._expected = await self._count(material)
        table = self._kind.table(material)
        yield self._head(table, chosen)
        async for rows in table.batches:
            self.count += len(rows)
            yield await self._ctx.compute(self._body, table, rows)
        yield self._foot()

    async def _count(self, material: Material) -> int:
        """About how many rows will be read, for the progress only."""
        try:
            return await material.view(self._kind.source).count(limit=_COUNTED_TO)
        except Unavailable:  # too many to count in time
            return 0

    async def _seen(self, rows: int) -> None:
        self._read += rows
        await self._ctx.report(self._read, max(self._expected, self._read + 1), "rows read")

    def _head(self, table: Table, chosen: Selection) -> bytes:
        if self._form is not None:
            return rowtext.head(self._form, table.columns)
        facts = {"Made": rfc3339(self._report.created_at)}
        facts |= {name: str(value) for name, value in chosen.given().items()}
        return pages.head(self._kind.title, facts, table.columns).encode()

    def _body(self, table: Table, rows: list[Row]) -> bytes:
        if self._form is not None:
            return rowtext.lines(self._form, rows, table.cells)
        self._tally.add(rows)
        return pages.rows_of(rows, table.cells).encode()

    def _foot(self) -> bytes:
        if self._form is not None:
            return b""
        return pages.foot(self.count, charts.to_svg(self._tally)).encode()


def _until_asked(chosen: Selection, report: ReportRow) -> Selection:
    """Nothing that came after the report was asked for: every attempt has the same rows."""
    asked = report.created_at + timedelta(milliseconds=1)
    until = chosen.moment("until") or asked
    return msgspec.structs.replace(chosen, until=min(until, asked))
