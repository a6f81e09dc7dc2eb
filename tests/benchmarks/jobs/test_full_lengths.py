"""What the engine promises, at full length: drains, retries, shares, and a Redis that is away.

The ordinary tests hold the short forms. Prints figures; asserts on what may not differ with the
machine's load. Run by `make bench-jobs`.
"""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from novapulse.core.jobs.backoff import Exponential
from novapulse.core.jobs.context import JobContext
from novapulse.core.telemetry import logs
from tests.support.consumers import consumers
from tests.support.engine import COMPANY, OTHER, Engine, declared, open_engine, until
from tests.support.stores import RunningStores

DRAINS = int(os.environ.get("BENCH_DRAINS", "50"))
LARGE = int(os.environ.get("BENCH_LARGE", "100000"))
AWAY_SECONDS = float(os.environ.get("BENCH_AWAY_SECONDS", "60"))
SLOTS = 20

pytestmark = pytest.mark.timeout(0)


@pytest.fixture(autouse=True)
def a_quiet_log() -> None:
    """A line a job would bury the figures."""
    logs.configure("bench", level="warning", style="json")


@pytest.fixture
async def private_engine(private_stores: RunningStores) -> AsyncIterator[Engine]:
    async with open_engine(private_stores) as opened:
        yield opened


async def test_drains_of_jobs_of_200_milliseconds_exit_within_a_second(private_engine: Engine):
    engine = private_engine

    async def nothing(ctx: JobContext) -> None: ...

    with declared(nothing, kind="test.slow"):
        await engine.add("test.slow", number=DRAINS * 3 * SLOTS)
    exits = []
    for _ in range(DRAINS):
        async with consumers(engine, number=1, concurrency=SLOTS, slow_seconds=0.2) as (one,):
            await engine.until_all("running", SLOTS)
            asked = time.perf_counter()
            one.terminate()
            assert await one.exit_code(seconds=12) == 0
            exits.append(time.perf_counter() - asked)
            states = await engine.states()
            assert set(states) <= {"available", "completed"}
    done = [row["jobId"] for row in await engine.db.platform("effects").find({}, limit=100_000)]
    print(
        f"\n{DRAINS} drains of {SLOTS} jobs of 200 ms: exit after {statistics.median(exits):.2f} s "
        f"in the median, {max(exits):.2f} s at most; {len(done)} jobs ran"
    )
    assert len(done) == len(set(done)) == (await engine.states())["completed"]


async def test_retries_wait_2_4_8_and_16_seconds(private_engine: Engine):
    engine = private_engine
    starts: list[float] = []

    async def fail(ctx: JobContext) -> None:
        starts.append(time.monotonic())
        raise ValueError("again")

    with declared(fail, attempts=5, backoff=Exponential(seconds=2, jitter=0.0)) as kind:
        async with engine.working():
            await engine.until_state(await engine.add_one(kind), "dead", seconds=60)
    gaps = [after - before for before, after in pairwise(starts)]
    late = [(gap - want) * 1000 for gap, want in zip(gaps, (2, 4, 8, 16), strict=True)]
    print("\nretries later than 2, 4, 8 and 16 s by", *(f"{one:.0f} ms" for one in late))


async def test_ten_jobs_of_a_company_pass_a_hundred_thousand_of_another(private_engine: Engine):
    engine = private_engine
    order: list[str | None] = []

    async def work(ctx: JobContext) -> None:
        order.append(ctx.job.company_id)

    with declared(work) as kind:
        for _ in range(0, LARGE, 5_000):
            await engine.add(kind, number=5_000, company_id=COMPANY)
        async with engine.working(concurrency=10):
            await until(lambda: len(order) > LARGE // 100, what="the large company's first jobs")
            came = len(order)
            await engine.add(kind, number=10, company_id=OTHER)
            await until(lambda: order.count(OTHER) == 10, what="the small company's jobs")
            last = len(order) - order[::-1].index(OTHER)
            share = order[came:last].count(COMPANY) / LARGE
    print(f"\n10 jobs were done before {share:.2%} of the {LARGE} that came earlier")
    assert share < 0.02


async def test_jobs_go_on_without_redis(private_engine: Engine, private_stores: RunningStores):
    engine = private_engine
    waits: dict[str, float] = {}

    async def stamp(ctx: JobContext, *, asked: float) -> None:
        waits[ctx.job.id] = time.monotonic() - asked

    async def load(kind: str, seconds: float) -> list[float]:
        ids, over = [], time.monotonic() + seconds
        while time.monotonic() < over:
            ids.append(await engine.add_one(kind, {"asked": time.monotonic()}))
            await asyncio.sleep(0.02)
        await until(lambda: waits.keys() >= set(ids), what="the jobs to have run")
        return [waits[one] for one in ids]

    with declared(stamp) as kind:
        async with engine.working() as worker:
            await until(lambda: worker._ear._is_connected, what="the subscription")
            before = await load(kind, 5)
            private_stores.redis.stop()
            away = await load(kind, AWAY_SECONDS)
            private_stores.redis.start()
            await until(lambda: worker._ear._is_connected, what="the subscription to come back")
            await asyncio.sleep(2.1)  # the bell's pause after a failure
            after = await load(kind, 5)
    print(f"\nRedis stopped for {AWAY_SECONDS:g} s under load, from insert to start:")
    for name, found in (("before", before), ("without", away), ("after", after)):
        middle, worst = statistics.median(found) * 1000, max(found) * 1000
        print(f"  {name:8} {len(found):5} jobs, p50 {middle:.1f} ms, at most {worst:.0f} ms")
    assert max(away) < 3.0
