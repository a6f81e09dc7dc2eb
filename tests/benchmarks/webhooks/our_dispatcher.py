"""Our side of the race: one consumer process of the webhook queue.

Usage: python -m tests.benchmarks.webhooks.our_dispatcher DELIVERIES CONCURRENCY,
stores in the environment.
"""

import asyncio
import json
import os
import sys
import time

os.environ.setdefault("NOVAPULSE_INSTANCE", f"bench-{os.getpid()}")

from novapulse.core.jobs.kinds import Queue, hueys
from novapulse.core.jobs.rows import JOBS
from novapulse.core.telemetry import logs
from tests.benchmarks.jobs.ledger import has_open_jobs
from tests.support.dispatching import house_over


async def serve(stopping: asyncio.Event) -> None:
    total, concurrency = int(sys.argv[1]), int(sys.argv[2])
    env = os.environ
    async with house_over(
        env["BENCH_MONGO"], env["BENCH_DATABASE"], redis_url=env["BENCH_REDIS"]
    ) as house:
        await house.db.ping()
        finished = {"queue": "webhook", "state": "completed", "finishedAt": {"$exists": True}}
        started, cpu = time.perf_counter(), time.process_time()
        async with house.dispatching(concurrency=concurrency):
            while await has_open_jobs(house.db, "webhook"):  # noqa: ASYNC110 - of the
                await asyncio.sleep(0.1)  # database there is no event to wait for
            seconds = time.perf_counter() - started
            used = time.process_time() - cpu
        assert await house.db.platform(JOBS).count(finished, limit=total + 1) == total
        print(json.dumps({"seconds": seconds, "cpuSeconds": used}), flush=True)


if __name__ == "__main__":
    logs.configure("bench", level="info", style="json")
    hueys[Queue.WEBHOOK].create_consumer(serve).run()
