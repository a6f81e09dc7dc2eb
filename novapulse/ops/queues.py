"""Use cases on queues and jobs: look, retry, cancel, clear, pause. What changes is audited."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from novapulse.core.access import Grant, Scope
from novapulse.core.context import Context, Transaction
from novapulse.core.errors import NotFound, TransientConflict
from novapulse.core.events import PLATFORM
from novapulse.core.jobs import presence, stats
from novapulse.core.jobs.admin import JobAdmin, JobFilter, JobStateConflict
from novapulse.core.jobs.kinds import Queue, find_kind
from novapulse.core.jobs.presence import QUEUES
from novapulse.core.jobs.rows import JOBS, JobRow
from novapulse.core.jobs.states import CLAIMABLE_STATES, State
from novapulse.core.paging import Listing, Page
from novapulse.ops.model import (
    BulkAnswer,
    BulkQuery,
    Cleared,
    JobCancelled,
    JobQuery,
    JobRef,
    JobRetried,
    JobView,
    QueueCleared,
    QueuePaused,
    QueueResumed,
    QueueRetried,
    QueueState,
    QueueStats,
    QueueTable,
)

# One transaction takes so many jobs, well within what a request may wait. Where consumers
# change one of them meanwhile nothing of it counts: fewer are sooner done.
BATCHES = (1_000, 100, 10)


def named_queue(name: str) -> Queue:
    """`email` or `nova:email`; raises NotFound."""
    try:
        return Queue(name.removeprefix("nova:"))
    except ValueError as error:
        known = ", ".join(queue.public_name for queue in Queue)
        raise NotFound(f"There is no queue {name!r}; there are {known}") from error


async def queue_table(ctx: Context) -> QueueTable:
    """Statistics per queue: of all jobs for the operator, of the own company's else."""
    company_id = _scope(ctx)
    db = ctx.runtime.db
    counts = await stats.counts(db, company_id)
    consumers = await presence.live_consumers(db)
    paused = await presence.paused_queues(db)
    waiting = [queue for queue in Queue if any(counts[queue][state] for state in CLAIMABLE_STATES)]
    done = [queue for queue in Queue if counts[queue][State.COMPLETED]]
    ages, rates = await asyncio.gather(
        stats.oldest_seconds(db, company_id, among=waiting),
        stats.rate_per_minute(db, company_id, among=done),
    )
    rows = [
        QueueStats(
            queue=queue.public_name,
            available=counts[queue][State.AVAILABLE],
            scheduled=counts[queue][State.SCHEDULED],
            running=counts[queue][State.RUNNING],
            retryable=counts[queue][State.RETRYABLE],
            completed=counts[queue][State.COMPLETED],
            dead=counts[queue][State.DEAD],
            oldest_seconds=round(ages.get(queue, 0.0), 3),
            rate_per_minute=rates.get(queue, 0),
            paused=str(queue) in paused,
            consumers=consumers.get(queue, 0),
        )
        for queue in Queue
    ]
    return QueueTable(rows)


async def list_jobs(ctx: Context, queue: Queue, query: JobQuery) -> Listing[JobView]:
    """The queue's jobs, newest first; of the own company, but for the operator."""
    chosen = JobFilter(
        queue=queue,
        state=query.state,
        kind=query.kind,
        since=query.since,
        company_id=_scope(ctx),
    )
    found = await _admin(ctx).page(chosen, before=query.cursor, limit=query.limit + 1)
    page = [_view(ctx, job) for job in found[: query.limit]]
    cursor = page[-1].id if len(found) > query.limit else None
    return Listing(data=page, page=Page(next_cursor=cursor, limit=query.limit))


async def get_job(ctx: Context, job_id: str) -> JobView:
    """Raises NotFound, also for another company's job."""
    return _view(ctx, await _admin(ctx).get(job_id, company_id=_scope(ctx)))


async def retry_job(ctx: Context, job_id: str) -> JobView:
    """Run a job again, or now; raises NotFound, JobStateConflict."""
    ctx.require(Scope.QUEUE_WRITE)
    async with ctx.transaction(company_id=PLATFORM) as tx:
        job = await _admin_in(tx).retry(job_id)
        tx.record(JobRetried(job=_ref(job)))
    ctx.runtime.bell.ring(str(job.queue))
    return _view(ctx, job)


async def cancel_job(ctx: Context, job_id: str) -> JobView:
    """End a job that has not ended; raises NotFound, JobStateConflict."""
    ctx.require(Scope.QUEUE_WRITE)
    async with ctx.transaction(company_id=PLATFORM) as tx:
        job = await _admin_in(tx).cancel(job_id, by=ctx.principal.user_id)
        tx.record(JobCancelled(job=_ref(job)))
    return _view(ctx, job)


async def clear_queue(
    ctx: Context, queue: Queue, *, query: BulkQuery, at_most: int = BATCHES[0]
) -> BulkAnswer:
    """Delete a batch of the jobs that the filter chooses; raises JobStateConflict for running ones.

    The answer says whether there are more.
    """
    ctx.require(Scope.QUEUE_WRITE)
    if query.state is State.RUNNING:
        raise JobStateConflict("Running jobs can not be deleted; cancel them instead")
    chosen = _chosen(queue, query)
    if query.dry_run:
        return BulkAnswer(count=await _admin(ctx).count(chosen), dry_run=True)
    return await _batch(ctx, _CLEARING, queue=queue, query=query, at_most=at_most)


async def retry_queue(
    ctx: Context, queue: Queue, *, query: BulkQuery, at_most: int = BATCHES[0]
) -> BulkAnswer:
    """Retry a batch of the jobs that the filter chooses; raises JobStateConflict.

    The answer says whether there are more.
    """
    ctx.require(Scope.QUEUE_WRITE)
    if query.state in (State.RUNNING, State.COMPLETED, State.AVAILABLE):
        raise JobStateConflict(f"Jobs that are {query.state} can not be retried")
    chosen = _chosen(queue, query)
    if query.dry_run:
        return BulkAnswer(count=await _admin(ctx).count(chosen), dry_run=True)
    answer = await _batch(ctx, _RETRYING, queue=queue, query=query, at_most=at_most)
    ctx.runtime.bell.ring(str(queue))
    return answer


async def set_paused(ctx: Context, queue: Queue, *, is_paused: bool) -> QueueState:
    """Stop or resume claiming; running jobs finish. Consumers notice within a second."""
    ctx.require(Scope.QUEUE_WRITE)
    state = QueueState(id=queue.public_name, paused=is_paused)
    async with ctx.transaction(company_id=PLATFORM) as tx:
        await _admin_in(tx).set_paused(queue, is_paused=is_paused)
        tx.record(QueuePaused(queue=state) if is_paused else QueueResumed(queue=state))
    ctx.runtime.bell.ring(str(queue))
    return state


class _Deed(NamedTuple):
    find: Callable[..., Awaitable[list[str]]]
    change: Callable[..., Awaitable[int]]
    event: type[QueueCleared | QueueRetried]


_CLEARING = _Deed(JobAdmin.clearable, JobAdmin.clear, QueueCleared)
_RETRYING = _Deed(JobAdmin.retriable, JobAdmin.retry_all, QueueRetried)


async def _batch(
    ctx: Context, deed: _Deed, *, queue: Queue, query: BulkQuery, at_most: int
) -> BulkAnswer:
    """Some of the jobs and the line that says how many, in one transaction."""
    chosen = _chosen(queue, query)
    for batch in BATCHES:
        size = min(batch, at_most)
        ids = await deed.find(_admin(ctx), chosen, limit=size + 1)
        try:
            async with ctx.transaction(company_id=PLATFORM) as tx:
                count = await deed.change(_admin_in(tx), chosen, ids[:size])
                tx.record(deed.event(queue=_cleared(queue, query, count)))
        except TransientConflict:
            if batch == BATCHES[-1]:
                raise
        else:
            return BulkAnswer(count=count, dry_run=False, more=len(ids) > size)
    raise AssertionError("unreachable")


def _scope(ctx: Context) -> str | None:
    """None for all companies' jobs, else the caller's company."""
    grant = ctx.require(Scope.QUEUE_READ)
    return None if grant is Grant.ALL else ctx.company_id


def _admin(ctx: Context) -> JobAdmin:
    db = ctx.runtime.db
    return JobAdmin(db.platform(JOBS), db.platform(QUEUES))


def _admin_in(tx: Transaction) -> JobAdmin:
    return JobAdmin(tx.platform(JOBS), tx.platform(QUEUES))


def _chosen(queue: Queue, query: BulkQuery) -> JobFilter:
    return JobFilter(queue=queue, state=query.state, kind=query.kind, since=query.since)


def _cleared(queue: Queue, query: BulkQuery, count: int) -> Cleared:
    chosen = {"state": str(query.state), "kind": query.kind, "since": query.since}
    return Cleared(id=queue.public_name, filter=chosen, count=count)


def _ref(job: JobRow) -> JobRef:
    return JobRef(id=job.id, company_id=job.company_id, queue=job.queue.public_name, kind=job.kind)


def _view(ctx: Context, job: JobRow) -> JobView:
    """As it is now: nothing promotes a waiting job, it is available once it is due."""
    if job.due_at is not None and job.due_at <= ctx.now():
        job = msgspec.structs.replace(job, state=State.AVAILABLE)
    kind = find_kind(job.kind)
    return JobView.of(job, sealed=kind.sealed if kind is not None else tuple(job.payload))
