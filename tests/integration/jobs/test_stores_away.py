"""Redis or mongod go away and come back: latency for the one, a pause for the other, no loss."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from novapulse.core.errors import Unavailable
from novapulse.core.jobs.context import JobContext
from tests.support.engine import Engine, declared, open_engine, until
from tests.support.stores import RunningStores

pytestmark = [pytest.mark.slow, pytest.mark.chaos]


@pytest.fixture
async def private_engine(private_stores: RunningStores) -> AsyncIterator[Engine]:
    async with open_engine(private_stores) as opened:
        yield opened


async def started_within(engine: Engine, kind: str, seconds: float) -> None:
    began = time.monotonic()
    await engine.until_state(await engine.add_one(kind), "completed", seconds=10)
    assert time.monotonic() - began < seconds


async def test_without_redis_jobs_start_within_little_more_than_a_second_and_with_it_at_once(
    private_engine: Engine, private_stores: RunningStores
) -> None:
    async def nothing(ctx: JobContext) -> None: ...

    engine = private_engine
    with declared(nothing) as kind:
        async with engine.working() as worker:
            await until(lambda: worker._ear._is_connected, what="the subscription")
            await started_within(engine, kind, 1.0)
            private_stores.redis.kill()
            await until(lambda: not worker._ear._is_connected, what="the loss to be noticed")
            for _ in range(3):
                await started_within(engine, kind, 1.2 + 0.5)
            private_stores.redis.start()
            await until(lambda: worker._ear._is_connected, what="the subscription to come back")
            await asyncio.sleep(2.1)  # the breaker's pause
            best = []
            for _ in range(5):
                began = time.monotonic()
                await engine.until_state(await engine.add_one(kind), "completed")
                best.append(time.monotonic() - began)
            assert min(best) < 0.2, best


async def test_a_wiped_redis_loses_no_job(
    private_engine: Engine, private_stores: RunningStores
) -> None:
    async def nothing(ctx: JobContext) -> None: ...

    engine = private_engine
    with declared(nothing) as kind:
        async with engine.working():
            for _ in range(5):
                await engine.add(kind, number=100)
                private_stores.wipe_redis()
            await engine.until_all("completed", 500)


async def test_a_redis_that_hangs_holds_up_neither_work_nor_the_drain(
    private_engine: Engine, private_stores: RunningStores
) -> None:
    async def nothing(ctx: JobContext) -> None: ...

    engine = private_engine
    with declared(nothing) as kind:
        worker = engine.worker()
        running = asyncio.create_task(worker.run(drain_seconds=5))
        await until(lambda: worker._ear._is_connected, what="the subscription")
        private_stores.redis.pause()
        try:
            await started_within(engine, kind, 4.0)
            worker.stop()
            began = time.monotonic()
            await asyncio.wait_for(running, 10)
            assert time.monotonic() - began < 3.0
        finally:
            private_stores.redis.resume()


async def test_jobs_go_on_after_a_mongod_that_was_killed(
    private_engine: Engine, private_stores: RunningStores
) -> None:
    ran: list[str] = []

    async def work(ctx: JobContext) -> None:
        ran.append(ctx.job.id)
        await asyncio.sleep(0.002)

    engine = private_engine
    with declared(work) as kind:
        ids = await engine.add(kind, number=2_000)
        async with engine.working(concurrency=10, drain_seconds=10):
            await until(lambda: len(ran) > 200, what="some to run")
            private_stores.mongod.kill()
            await asyncio.sleep(1.0)
            private_stores.mongod.start()
            await engine.until_all("completed", 2_000, seconds=40)
    assert set(ran) == set(ids)
    assert len(ran) - len(ids) <= 10 * 5


async def test_what_ends_while_mongod_is_away_is_written_when_it_is_back(
    private_engine: Engine, private_stores: RunningStores
) -> None:
    started, may_end = asyncio.Event(), asyncio.Event()
    runs: list[str] = []

    async def work(ctx: JobContext) -> None:
        runs.append(ctx.job.id)
        started.set()
        await may_end.wait()

    engine = private_engine
    with declared(work) as kind:
        job_id = await engine.add_one(kind)
        async with engine.working():
            await started.wait()
            # A durable write vouches for those before it: now no crash undoes the claim.
            await engine.db.platform("others").insert({})
            private_stores.mongod.kill()
            may_end.set()
            with pytest.raises(Unavailable):
                await engine.db.ping()
            private_stores.mongod.start()
            row = await engine.until_state(job_id, "completed", seconds=30)
    assert (row["attempt"], runs) == (1, [job_id])
