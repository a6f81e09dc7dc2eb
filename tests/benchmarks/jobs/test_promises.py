"""What the engine promises in numbers, on this machine: latency, huge backlogs, cheap idling.

Prints figures; the only assertions are on counts. Run by `make bench-jobs`.
"""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from novapulse.core.access import SYSTEM
from novapulse.core.context import Context, Runtime
from novapulse.core.jobs import ledger, presence, stats
from novapulse.core.jobs.bell import Bell
from novapulse.core.jobs.kinds import Queue, job
from novapulse.core.jobs.ledger import Ledger
from novapulse.core.jobs.rows import JOBS, NewJob
from novapulse.core.jobs.worker import Worker
from novapulse.core.migrate import ensure_indexes
from novapulse.core.mongo import Database
from novapulse.core.redis import Cache
from novapulse.core.settings import Settings
from novapulse.ops.queues import queue_table
from tests.benchmarks.jobs.ledger import COMPANY, key_ring
from tests.support.stores import RunningStores

BACKLOG = int(os.environ.get("BENCH_BACKLOG", "1000000"))
SAMPLES = 200
STARTS: list[float] = []

pytestmark = pytest.mark.timeout(0)


@job("bench.stamp", queue=Queue.REPORT)
async def stamp(ctx: object) -> None:
    STARTS.append(time.perf_counter())


@asynccontextmanager
async def opened(stores: RunningStores) -> AsyncIterator[Runtime]:
    db = Database(
        stores.mongo_uri, stores.database_name("bench"), timeout_seconds=120, max_pool_size=10
    )
    cache = Cache(stores.redis_url, timeout_seconds=0.25)
    await ensure_indexes(db, {JOBS: ledger.INDEXES, presence.CONSUMERS: presence.INDEXES})
    yield Runtime(settings=Settings(), db=db, cache=cache, bell=Bell(cache), keys=key_ring())
    await cache.close()
    await db.close()


async def test_a_job_starts_soon_after_it_was_enqueued_on_an_idle_queue(
    private_stores: RunningStores,
):
    async with opened(private_stores) as runtime:
        worker = Worker(
            runtime,
            Queue.REPORT,
            owner="bench/1",
            concurrency=2,
            lease_seconds=30,
            make_pool=lambda _: ThreadPoolExecutor(),
        )
        running = asyncio.create_task(worker.run(drain_seconds=1))
        await asyncio.sleep(1)
        waits = []
        for number in range(SAMPLES):
            row = runtime.job_row(NewJob(kind="bench.stamp", payload={}, company_id=COMPANY))
            await runtime.db.platform(JOBS).insert(row)
            asked = time.perf_counter()
            runtime.bell.ring(str(Queue.REPORT))
            while len(STARTS) <= number:  # noqa: ASYNC110 - an event would hide the latency
                await asyncio.sleep(0.0005)
            waits.append((STARTS[number] - asked) * 1000)
            await asyncio.sleep(0.02)
        worker.stop()
        await running
    cuts = statistics.quantiles(waits, n=100)
    print(f"\nenqueue to start, idle: p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms")
    assert len(waits) == SAMPLES


async def test_a_huge_backlog_is_claimed_and_counted_as_fast_as_a_small_one(
    private_stores: RunningStores,
):
    async with opened(private_stores) as runtime:
        small = await _claim_milliseconds(runtime, jobs=10_000)
        await runtime.db.platform(JOBS).delete_many({})
        large = await _claim_milliseconds(runtime, jobs=BACKLOG)
        snapshot = await stats.take_snapshots(runtime.db)
        operator = Context(runtime, SYSTEM, request_id="bench")
        looks = []
        for _ in range(11):
            asked = time.perf_counter()
            table = await queue_table(operator)
            looks.append((time.perf_counter() - asked) * 1000)
    print(
        f"\nclaim of 50: {small:.1f} ms of 10,000 and {large:.1f} ms of {BACKLOG} "
        f"({large / small:.2f}x); statistics {statistics.median(looks):.1f} ms, "
        f"full count {snapshot:.2f} s in the background"
    )
    (reports,) = (row for row in table.data if row.queue == Queue.REPORT.public_name)
    assert reports.available > BACKLOG * 0.9


async def _claim_milliseconds(runtime: Runtime, *, jobs: int) -> float:
    """The median time of finding and claiming 50 jobs, with `jobs` waiting."""
    row = NewJob(kind="bench.stamp", payload={}, company_id=COMPANY)
    for start in range(0, jobs, 5_000):
        rows = [runtime.job_row(row) for _ in range(min(5_000, jobs - start))]
        await runtime.db.platform(JOBS).insert_many(rows)
    queue = Ledger(runtime.db, Queue.REPORT, owner="bench/1", lease_seconds=600)
    taken = []
    for _ in range(31):
        asked = time.perf_counter()
        await queue.look(limit=1_000)
        claimed = await queue.claim(await queue.candidates(COMPANY, 50))
        taken.append((time.perf_counter() - asked) * 1000)
        assert len(claimed) == 50
    return statistics.median(taken)
