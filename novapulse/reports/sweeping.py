"""What the leading scheduler does for reports every so often; a repeat is harmless."""

from dataclasses import replace

import structlog

from novapulse.core.access import SYSTEM
from novapulse.core.context import Context, Runtime
from novapulse.core.files import FileStore, all_files
from novapulse.core.ids import new_id
from novapulse.reports import making
from novapulse.reports.store import BUCKET, ended_jobs, expire, open_reports, wanted_files

log = structlog.get_logger("reports")
_MANY = 1_000


async def sweep(runtime: Runtime) -> None:
    """Expire reports, give up those whose job is over, and delete files that nobody knows."""
    expired = await expire(runtime.db, now=runtime.clock())
    failed = await _give_up(runtime)
    deleted = await _delete_orphans(runtime)
    if expired or failed or deleted:
        log.info("reports.swept", expired=expired, failed=failed, deletedFiles=deleted)


async def _give_up(runtime: Runtime) -> int:
    """Fail reports that no job makes any more: it died with its consumer, or was cancelled."""
    found = await open_reports(runtime.db, limit=_MANY)
    ended = await ended_jobs(runtime.db, [report.job_id for _, report in found])
    lost = [(company_id, report) for company_id, report in found if report.job_id in ended]
    for company_id, report in lost:
        ctx = _acting_on(runtime, company_id)
        await making.fail(ctx, report.id, reason="Its job ended without it")
    return len(lost)


async def _delete_orphans(runtime: Runtime) -> int:
    """Files are looked at before reports: one that begins in between has its report already."""
    files = await all_files(runtime.db, BUCKET)
    deleted = 0
    for at in range(0, len(files), _MANY):
        some = files[at : at + _MANY]
        wanted = await wanted_files(runtime.db, [file_id for _, file_id in some])
        for company_id, file_id in some:
            if file_id not in wanted:
                await FileStore(_acting_on(runtime, company_id).read(), BUCKET).delete(file_id)
                deleted += 1
    return deleted


def _acting_on(runtime: Runtime, company_id: str) -> Context:
    principal = replace(SYSTEM, company_id=company_id)
    return Context(runtime, principal, request_id=new_id("run"), via="job")
