"""The driver's background tasks: they sleep through, and wake up for who misses the server."""

import asyncio
import itertools
import time

from pymongo.periodic_executor import AsyncPeriodicExecutor

from novapulse.core.mongo import Database
from novapulse.core.mongowatch import QuietMonitor, sleep_through
from tests.support.stores import RunningStores


async def test_a_task_is_done_at_its_interval_and_as_soon_as_it_is_wanted() -> None:
    done: list[float] = []

    async def task() -> bool:
        done.append(time.monotonic())
        return True

    executor = AsyncPeriodicExecutor(interval=30.0, min_interval=0.2, target=task)
    sleep_through(executor)
    executor.open()
    await asyncio.sleep(0.05)
    executor.wake()
    await asyncio.sleep(0.4)
    executor.wake()
    await asyncio.sleep(0.1)
    executor.wake()
    executor.wake()
    await asyncio.sleep(0.3)
    executor.close()
    gaps = [after - before for before, after in itertools.pairwise(done)]
    assert len(done) == 4
    assert 0.19 < gaps[0] < 0.3, "not again before the least interval"
    assert gaps[1] < 0.3
    assert 0.19 < gaps[2] < 0.3


async def test_a_client_keeps_its_private_parts_where_we_look(stores: RunningStores) -> None:
    db = Database(stores.mongo_uri, "quiet", timeout_seconds=2, max_pool_size=2)
    try:
        await db.ping()
        (server,) = db.client._topology._servers.values()
        assert isinstance(server._monitor, QuietMonitor)
        for executor in (server._monitor._executor, db.client._kill_cursors_executor):
            assert executor._task is not None
            assert executor._target.__name__ == "run_and_sleep"
            assert executor._interval == 10.0
    finally:
        await db.close()
