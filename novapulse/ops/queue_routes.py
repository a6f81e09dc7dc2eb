"""`/queue*` and `/jobs/*`: statistics, inspection and administration of background jobs."""

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.paging import Listing
from novapulse.core.routing import Routes
from novapulse.ops import queues
from novapulse.ops.model import BulkAnswer, BulkQuery, JobQuery, JobView, QueueState, QueueTable

routes = Routes("queues")


@routes.add("GET", "/queue/stats", scope=Scope.QUEUE_READ)
async def queue_stats(ctx: Context) -> QueueTable:
    """Jobs per queue and state."""
    return await queues.queue_table(ctx)


@routes.add("GET", "/queue/{queue}/jobs", scope=Scope.QUEUE_READ)
async def list_jobs(ctx: Context, queue: str, query: JobQuery) -> Listing[JobView]:
    """List a queue's jobs, newest first."""
    return await queues.list_jobs(ctx, queues.named_queue(queue), query)


@routes.add("DELETE", "/queue/{queue}/jobs", scope=Scope.QUEUE_WRITE)
async def clear_queue(ctx: Context, queue: str, query: BulkQuery) -> BulkAnswer:
    """Delete a queue's jobs of one state, up to 1,000; `dryRun=true` only counts them."""
    return await queues.clear_queue(ctx, queues.named_queue(queue), query=query)


@routes.add("POST", "/queue/{queue}/retry", scope=Scope.QUEUE_WRITE)
async def retry_queue(ctx: Context, queue: str, query: BulkQuery) -> BulkAnswer:
    """Retry a queue's jobs of one state, up to 1,000; `dryRun=true` only counts them."""
    return await queues.retry_queue(ctx, queues.named_queue(queue), query=query)


@routes.add("POST", "/queue/{queue}/pause", scope=Scope.QUEUE_WRITE)
async def pause_queue(ctx: Context, queue: str) -> QueueState:
    """Start no more jobs of a queue until it is resumed."""
    return await queues.set_paused(ctx, queues.named_queue(queue), is_paused=True)


@routes.add("POST", "/queue/{queue}/resume", scope=Scope.QUEUE_WRITE)
async def resume_queue(ctx: Context, queue: str) -> QueueState:
    """Start jobs of a paused queue again."""
    return await queues.set_paused(ctx, queues.named_queue(queue), is_paused=False)


@routes.add("GET", "/jobs/{id}", scope=Scope.QUEUE_READ)
async def get_job(ctx: Context, job_id: str) -> JobView:
    """Inspect a job: payload, attempts, errors, times."""
    return await queues.get_job(ctx, job_id)


@routes.add("POST", "/jobs/{id}/retry", scope=Scope.QUEUE_WRITE)
async def retry_job(ctx: Context, job_id: str) -> JobView:
    """Run a job again, or now."""
    return await queues.retry_job(ctx, job_id)


@routes.add("POST", "/jobs/{id}/cancel", scope=Scope.QUEUE_WRITE)
async def cancel_job(ctx: Context, job_id: str) -> JobView:
    """End a job; a running one within about a second."""
    return await queues.cancel_job(ctx, job_id)
