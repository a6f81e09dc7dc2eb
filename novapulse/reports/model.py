"""Reports: the document, the commands on it, its events and errors."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from novapulse.core import errors, paging
from novapulse.core.events import Event, event
from novapulse.identity.model import Command
from novapulse.people.model import Cursor, Limit


class ReportNotReady(errors.Conflict):
    code = "report_not_ready"
    title = "The report is not made yet, or could not be made"


class ReportExpired(errors.Gone):
    code = "report_expired"
    title = "The report has expired; make a new one"


class TooManyReports(errors.Conflict):
    code = "too_many_reports"
    title = "Too many of your reports wait to be made"


class ReportKind(StrEnum):
    TASKS_SUMMARY = "tasks_summary"
    TASK_LIST = "task_list"
    USER_ACTIVITY = "user_activity"
    WEBHOOK_DELIVERIES = "webhook_deliveries"
    AUDIT = "audit"
    USAGE = "usage"


class ReportFormat(StrEnum):
    CSV = "csv"
    NDJSON = "ndjson"
    HTML = "html"


class ReportStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"
    EXPIRED = "expired"


OPEN = (ReportStatus.QUEUED, ReportStatus.RUNNING)
# Reports of one person that may wait or run at the same time.
MAX_OPEN = 20


class NewReport(Command, frozen=True):
    """`params` are what the kind's rows are chosen by."""

    kind: ReportKind
    format: ReportFormat
    params: dict[str, Any] = msgspec.field(default_factory=dict)


class ReportQuery(Command, frozen=True):
    limit: Limit = paging.DEFAULT_LIMIT
    cursor: Cursor | None = None
    kind: ReportKind | None = None
    format: ReportFormat | None = None
    status: ReportStatus | None = None


class Work(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The job that makes a report, as far as it has come."""

    id: str
    kind: str
    state: str
    attempt: int
    progress: dict[str, Any] | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A report as its owner sees it; what is known once it is ready is null before."""

    id: str
    kind: ReportKind
    format: ReportFormat
    params: dict[str, Any]
    status: ReportStatus = ReportStatus.QUEUED
    owner_id: str
    job_id: str
    schedule_id: str | None = None
    rows: int | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    error: str | None = None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    version: int = 1

    @property
    def file_name(self) -> str:
        day = self.created_at.date().isoformat()
        return f"{self.kind}-{day}-{self.id}.{self.format}"

    def is_expired(self, now: datetime) -> bool:
        """Whether its time is over, swept or not."""
        return self.expires_at is not None and self.expires_at <= now


class ReportRow(Report, frozen=True, kw_only=True, rename="camel"):
    """As it is kept: `own` is whose rows it is about, if not everybody's.

    `file_id` is the file that is being written or that is ready: any other one
    that was meant for the report is an orphan.
    """

    own: str | None = None
    file_id: str | None = None

    def view(self) -> Report:
        shown = {name: getattr(self, name) for name in Report.__struct_fields__}
        return Report(**shown)


class ReportDetail(Report, frozen=True, kw_only=True, rename="camel"):
    """A report with the job that makes it, for as long as that is kept."""

    job: Work | None


@event("report.ready")
class ReportReady(Event, frozen=True, kw_only=True):
    report: Report


@event("report.failed")
class ReportFailed(Event, frozen=True, kw_only=True):
    report: Report


@event("report.requested", is_public=False)
class ReportRequested(Event, frozen=True, kw_only=True):
    report: Report


@event("report.deleted", is_public=False)
class ReportDeleted(Event, frozen=True, kw_only=True):
    report: Report
