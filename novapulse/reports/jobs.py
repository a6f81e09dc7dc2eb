"""The job kind that makes reports."""

from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.kinds import Pool, Queue, job
from novapulse.reports import making


@job("report.generate", queue=Queue.REPORT, pool=Pool.THREAD)
async def generate(ctx: JobContext, *, report_id: str) -> None:
    """Make one report; a repeat makes it anew, and one that is ready stays as it is."""
    await making.make(ctx, report_id)
