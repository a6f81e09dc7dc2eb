"""Every query on reports and their schedules."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from novapulse.core import files, paging
from novapulse.core.documents import find_as, from_document, to_document
from novapulse.core.errors import NotFound, VersionConflict
from novapulse.core.files import StoredFile
from novapulse.core.jobs.rows import JOBS
from novapulse.core.jobs.states import TERMINAL, State
from novapulse.core.mongo import Database, Document, TenantSession
from novapulse.people.store import present
from novapulse.reports.model import OPEN, Report, ReportQuery, ReportRow, ReportStatus, Work

REPORTS = "reports"
BUCKET = "report_files"
# A report that is over stays in the list, so that its link says that it has expired.
FORGET_AFTER = timedelta(days=30)

_NEWEST = [("createdAt", -1), ("_id", -1)]
INDEXES: dict[str, tuple[dict[str, Any], ...]] = {
    REPORTS: (
        {"name": "newest", "keys": [("companyId", 1), *_NEWEST]},
        {"name": "owner", "keys": [("companyId", 1), ("ownerId", 1), *_NEWEST]},
        {"name": "state", "keys": [("status", 1), ("expiresAt", 1)]},
        {
            "name": "file",
            "keys": [("fileId", 1)],
            "partialFilterExpression": {"fileId": {"$exists": True}},
        },
        {"name": "expiry", "keys": [("forgetAt", 1)], "expireAfterSeconds": 0},
    ),
    **files.indexes(BUCKET),
}
_OPEN = {"$in": [str(status) for status in OPEN]}


class ReportStore:
    """One company's reports; `own` narrows every query to those of this user."""

    def __init__(self, session: TenantSession, *, own: str | None = None) -> None:
        self._rows = session.rows(REPORTS)
        self._jobs = session.rows(JOBS)
        self._own = present(ownerId=own)

    async def insert(self, report: ReportRow) -> None:
        document = {name: value for name, value in to_document(report).items() if name != "fileId"}
        await self._rows.insert(document)

    async def find(self, report_id: str) -> ReportRow | None:
        return find_as(await self._rows.find_one({"_id": report_id, **self._own}), ReportRow)

    async def get(self, report_id: str) -> ReportRow:
        """Raises NotFound."""
        report = await self.find(report_id)
        if report is None:
            raise NotFound("There is no such report")
        return report

    async def page(self, query: ReportQuery) -> list[Report]:
        """One more than the page holds, when there are more; newest first."""
        where = present(kind=query.kind, format=query.format, status=query.status)
        found = await self._rows.find(
            {**where, **self._own, **paging.after(query.cursor)},
            sort=paging.NEWEST_FIRST,
            limit=query.limit + 1,
        )
        return [from_document(document, Report) for document in found]

    async def count_open(self, *, limit: int) -> int:
        return await self._rows.count({**self._own, "status": _OPEN}, limit=limit)

    async def find_work(self, job_id: str) -> Work | None:
        return find_as(await self._jobs.find_one({"_id": job_id}), Work)

    async def delete(self, report_id: str, *, if_version: int | None) -> None:
        """Raises VersionConflict when it is another version by now."""
        where: Document = {"_id": report_id}
        if if_version is not None:
            where["version"] = if_version
        if not await self._rows.delete_one(where):
            raise VersionConflict()

    # While it is made: each step only if the one before is still what counts.

    async def begin(self, report_id: str, *, file_id: str, now: datetime) -> ReportRow | None:
        """Announce the file that is going to be written; None when the report is over or gone."""
        startable = [str(status) for status in (*OPEN, ReportStatus.FAILED)]
        where = {"_id": report_id, "status": {"$in": startable}}
        change = {
            "$set": {
                "status": str(ReportStatus.RUNNING),
                "fileId": file_id,
                "error": None,
                "finishedAt": None,
                "updatedAt": now,
            },
            "$unset": {"forgetAt": ""},
            "$inc": {"version": 1},
        }
        return find_as(await self._rows.find_and_update(where, change), ReportRow)

    async def finish(
        self, report: ReportRow, stored: StoredFile, *, rows: int, now: datetime, keep: timedelta
    ) -> ReportRow | None:
        """Make it ready; None when another attempt, or nobody, wants this file."""
        change = {
            "$set": {
                "status": str(ReportStatus.READY),
                "rows": rows,
                "sizeBytes": stored.size_bytes,
                "sha256": stored.sha256,
                "finishedAt": now,
                "updatedAt": now,
                "expiresAt": now + keep,
                "forgetAt": now + keep + FORGET_AFTER,
            },
            "$inc": {"version": 1},
        }
        where = {"_id": report.id, "fileId": stored.id, "status": str(ReportStatus.RUNNING)}
        return find_as(await self._rows.find_and_update(where, change), ReportRow)

    async def fail(self, report_id: str, *, reason: str, now: datetime) -> ReportRow | None:
        """None when it is no longer being made."""
        change = {
            "$set": {
                "status": str(ReportStatus.FAILED),
                "error": reason,
                "finishedAt": now,
                "updatedAt": now,
                "forgetAt": now + FORGET_AFTER,
            },
            "$unset": {"fileId": ""},
            "$inc": {"version": 1},
        }
        where = {"_id": report_id, "status": _OPEN}
        return find_as(await self._rows.find_and_update(where, change), ReportRow)


# Across companies, for the leader's sweep


async def expire(db: Database, *, now: datetime) -> int:
    """Let go of the files of reports whose time is over; how many."""
    where = {"status": str(ReportStatus.READY), "expiresAt": {"$lte": now}}
    change = {
        "$set": {"status": str(ReportStatus.EXPIRED), "updatedAt": now},
        "$unset": {"fileId": ""},
        "$inc": {"version": 1},
    }
    return await db.platform(REPORTS).update_many(where, change)


async def wanted_files(db: Database, file_ids: Sequence[str]) -> set[str]:
    """Those of the files that a report knows."""
    where = {"fileId": {"$in": list(file_ids)}}
    found = await db.platform(REPORTS).find(
        where, limit=len(file_ids), projection={"fileId": 1}, hint="file"
    )
    return {row["fileId"] for row in found}


async def open_reports(db: Database, *, limit: int) -> list[tuple[str, ReportRow]]:
    """Company and report of those that are being made, the longest untouched first."""
    found = await db.brief(REPORTS).find(
        {"status": _OPEN}, sort=(("updatedAt", 1),), limit=limit, hint="state"
    )
    return [(row["companyId"], from_document(row, ReportRow)) for row in found]


async def ended_jobs(db: Database, job_ids: Sequence[str]) -> set[str]:
    """Those of the jobs that have ended, or are not kept any more."""
    if not job_ids:
        return set()
    alive = [str(state) for state in State if state not in TERMINAL]
    where = {"_id": {"$in": list(job_ids)}, "state": {"$in": alive}}
    found = await db.platform(JOBS).find(where, limit=len(job_ids), projection={"_id": 1})
    return set(job_ids) - {row["_id"] for row in found}
