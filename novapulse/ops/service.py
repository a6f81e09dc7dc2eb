"""Use cases of whoever runs the appliance."""

from novapulse import __version__
from novapulse.core import health
from novapulse.core.access import Grant, Scope
from novapulse.core.context import Context
from novapulse.core.health import Health
from novapulse.core.jobs import ledger
from novapulse.core.jobs.kinds import Queue
from novapulse.ops.model import HealthReport, QueueStats, QueueTable


async def health_report(ctx: Context) -> HealthReport:
    """The status for everybody, its reasons for those who may read the system's state."""
    watch = ctx.runtime.feature(Health)
    checks = await watch.checks()
    status = health.overall(checks)
    if ctx.principal.grant(Scope.SYSTEM_READ) is None:
        return HealthReport(status=status)
    return HealthReport(
        status=status, checks=checks, version=__version__, uptime_seconds=watch.uptime_seconds
    )


async def queue_table(ctx: Context) -> QueueTable:
    """Statistics per queue: of all jobs for the operator, of the own company's else."""
    grant = ctx.require(Scope.QUEUE_READ)
    company_id = None if grant is Grant.ALL else ctx.company_id
    db = ctx.runtime.db
    counts = await ledger.counts(db, company_id)
    ages = await ledger.oldest_seconds(db, company_id)
    rates = await ledger.finished_last_minute(db, company_id)
    consumers = await ledger.live_consumers(db)
    rows = [
        QueueStats(
            queue=queue.public_name,
            available=counts[queue]["available"],
            scheduled=counts[queue]["scheduled"],
            running=counts[queue]["running"],
            retryable=counts[queue]["retryable"],
            completed=counts[queue]["completed"],
            dead=counts[queue]["dead"],
            oldest_seconds=round(ages.get(queue, 0.0), 3),
            rate_per_minute=rates.get(queue, 0),
            paused=False,
            consumers=consumers.get(queue, 0),
        )
        for queue in Queue
    ]
    return QueueTable(rows)
