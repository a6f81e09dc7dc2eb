"""Rings and the tick over a real Redis: what a listener may take silence for."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from novapulse.core.jobs.bell import TICK_SECONDS, Bell, Ear
from novapulse.core.redis import Cache
from novapulse.core.tasks import end_all
from tests.support.engine import until
from tests.support.stores import RunningStores

pytestmark = [pytest.mark.slow, pytest.mark.chaos]
# Without Redis work starts within it.
BOUND_SECONDS = 3.0


@pytest.fixture
async def cache(private_stores: RunningStores) -> AsyncIterator[Cache]:
    opened = Cache(private_stores.redis_url, timeout_seconds=0.25)
    yield opened
    await opened.close()


@asynccontextmanager
async def listening(cache: Cache) -> AsyncIterator[Ear]:
    ear = Ear(cache, ("queue",), look_seconds=30.0)
    task = asyncio.create_task(ear.listen())
    await until(lambda: ear._is_connected, what="the subscription")
    await ear.wait(0.5)  # what was rung before
    try:
        yield ear
    finally:
        await end_all((task,))


@asynccontextmanager
async def ticking(bell: Bell) -> AsyncIterator[None]:
    async def tick() -> None:
        while True:
            await bell.tick()
            await asyncio.sleep(TICK_SECONDS)

    task = asyncio.create_task(tick())
    await asyncio.sleep(0.2)
    try:
        yield
    finally:
        await end_all((task,))


async def waited(ear: Ear, at_most_seconds: float = 3600.0) -> float:
    began = time.monotonic()
    await ear.wait(at_most_seconds)
    return time.monotonic() - began


async def test_who_hears_the_tick_sleeps_until_a_ring(cache: Cache):
    bell = Bell(cache)
    async with listening(cache) as ear:
        assert 0.9 < await waited(ear) < 2.0  # nobody leads: it looks by itself
        async with ticking(bell):
            assert await waited(ear, 5.0) > 4.9
            bell.ring("queue")
            assert await waited(ear) < 0.5
            bell.ring("another")
            assert await waited(ear, 1.0) > 0.9


async def test_when_the_tick_ends_listeners_look_by_themselves_again(cache: Cache):
    async with listening(cache) as ear:
        async with ticking(Bell(cache)):
            pass
        assert await waited(ear) < BOUND_SECONDS
        assert await waited(ear) < 2.0


async def test_a_redis_that_hangs_is_noticed_within_the_bound(
    cache: Cache, private_stores: RunningStores
):
    async with listening(cache) as ear, ticking(Bell(cache)):
        private_stores.redis.pause()
        try:
            assert await waited(ear) < BOUND_SECONDS
            assert await waited(ear) < 2.0
        finally:
            private_stores.redis.resume()


async def test_a_ring_that_could_not_be_sent_is_sent_when_redis_is_back(
    cache: Cache, private_stores: RunningStores
):
    private_stores.redis.kill()
    bell = Bell(cache)
    bell.ring("queue")
    await asyncio.sleep(1.2)  # it failed three times, and is not tried again for two seconds
    private_stores.redis.start()
    async with listening(cache) as ear, ticking(bell):
        assert await waited(ear, 5.0) < 4.0
    await bell.close()


async def test_closing_does_not_wait_for_a_redis_that_is_away(
    cache: Cache, private_stores: RunningStores
):
    private_stores.redis.kill()
    bell = Bell(cache)
    bell.ring("queue")
    await asyncio.sleep(0.3)
    began = time.monotonic()
    await bell.close()
    assert time.monotonic() - began < 0.4
