"""Our side of the race: one consumer process, Huey's consumer on the ledger.

Usage: python -m tests.benchmarks.jobs.our_consumer JOBS CONCURRENCY, stores in the environment.
"""

import asyncio
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("NOVAPULSE_INSTANCE", f"bench-{os.getpid()}")

from novapulse.core.context import Runtime
from novapulse.core.jobs.bell import Bell
from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.kinds import Queue, hueys, job
from novapulse.core.jobs.worker import Worker
from novapulse.core.mongo import Database
from novapulse.core.redis import Cache
from novapulse.core.settings import Settings
from novapulse.core.telemetry import logs
from tests.benchmarks.jobs.ledger import has_open_jobs, key_ring


class Race:
    """Counts what ran; `over` is set by the last one."""

    def __init__(self, total: int) -> None:
        self.left = total
        self.over = asyncio.Event()

    def tick(self) -> None:
        self.left -= 1
        if not self.left:
            self.over.set()


RACES: list[Race] = []


@job("bench.noop", queue=Queue.EMAIL)
async def noop(ctx: JobContext, *, x: str) -> None:
    RACES[0].tick()


async def serve(stopping: asyncio.Event) -> None:
    total, concurrency = int(sys.argv[1]), int(sys.argv[2])
    RACES.append(Race(total))
    db = Database(
        os.environ["BENCH_MONGO"],
        os.environ["BENCH_DATABASE"],
        timeout_seconds=10,
        max_pool_size=20,
    )
    cache = Cache(os.environ["BENCH_REDIS"], timeout_seconds=0.25)
    runtime = Runtime(settings=Settings(), db=db, cache=cache, bell=Bell(cache), keys=key_ring())
    worker = Worker(
        runtime,
        Queue.EMAIL,
        owner=f"bench/{os.getpid()}",
        concurrency=concurrency,
        lease_seconds=30,
        make_pool=lambda _: ThreadPoolExecutor(),
    )
    await db.ping()
    started, cpu = time.perf_counter(), time.process_time()
    running = asyncio.create_task(worker.run(drain_seconds=5))
    await RACES[0].over.wait()
    while await has_open_jobs(db, "email"):  # noqa: ASYNC110 - of the database
        await asyncio.sleep(0.002)  # there is no event to wait for
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "cpuSeconds": time.process_time() - cpu}), flush=True)
    worker.stop()
    await running
    await cache.close()
    await db.close()


if __name__ == "__main__":
    logs.configure("bench", level="info", style="json")
    hueys[Queue.EMAIL].create_consumer(serve).run()
