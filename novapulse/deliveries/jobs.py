"""The job kinds that move many deliveries at once."""

from datetime import datetime

from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.kinds import Queue, job
from novapulse.deliveries import planner, recovery, settling


@job(planner.SETTLE, queue=Queue.WEBHOOK, attempts=10, timeout_seconds=3_600)
async def settle(ctx: JobContext, *, webhook_id: str) -> None:
    """Hold, release or discard a webhook's open deliveries, as its state has it."""
    await settling.settle(ctx, webhook_id)


@job(planner.RECOVER, queue=Queue.WEBHOOK, attempts=5, timeout_seconds=3_600)
async def recover(ctx: JobContext, *, webhook_id: str, since: str, until: str) -> None:
    """Replay what failed for good between two moments."""
    await recovery.recover(
        ctx,
        webhook_id,
        since=datetime.fromisoformat(since),
        until=datetime.fromisoformat(until),
    )
