"""Limits of time behave as `asyncio.timeout`, with one timer for all of them."""

import asyncio

import pytest

from novapulse.core.deadlines import Deadlines


async def test_what_is_in_time_is_left_alone():
    with Deadlines().within(30) as limit:
        await asyncio.sleep(0)
    assert not limit.expired


async def test_what_takes_longer_ends_as_a_timeout_and_the_task_goes_on():
    with pytest.raises(TimeoutError), Deadlines().within(0.01) as limit:
        await asyncio.sleep(30)
    assert limit.expired
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_cancellation_from_elsewhere_stays_one():
    async def wait() -> None:
        with deadlines.within(30):
            await asyncio.sleep(30)

    deadlines = Deadlines()
    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_that_comes_together_with_the_end_is_not_swallowed():
    async def wait() -> None:
        with deadlines.within(0.01):
            await asyncio.sleep(30)

    deadlines = Deadlines()
    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    (limit,) = deadlines._limits
    limit.expire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_swallows_the_cancellation_is_not_cancelled_later():
    with Deadlines().within(0.01) as limit:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            pass
    assert limit.expired
    await asyncio.sleep(0.01)


async def test_another_error_on_the_way_out_stays_what_it_is():
    async def fail_when_cancelled() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            raise ValueError("mine") from None

    with pytest.raises(ValueError, match="mine"), Deadlines().within(0.01):
        await fail_when_cancelled()


async def test_each_ends_in_its_own_time_in_whatever_order_they_began():
    deadlines, ended = Deadlines(), []

    async def wait(seconds: float) -> None:
        with pytest.raises(TimeoutError), deadlines.within(seconds):
            await asyncio.sleep(30)
        ended.append(seconds)

    await asyncio.gather(*(wait(seconds) for seconds in (0.15, 0.05, 0.2, 0.1)))
    assert ended == [0.05, 0.1, 0.15, 0.2]


async def test_limits_within_limits_end_the_one_that_is_over():
    deadlines = Deadlines()
    with deadlines.within(30) as outer:
        with pytest.raises(TimeoutError), deadlines.within(0.01) as inner:
            await asyncio.sleep(30)
        assert (outer.expired, inner.expired) == (False, True)
    with pytest.raises(TimeoutError), deadlines.within(0.01), deadlines.within(30) as inner:
        await asyncio.sleep(30)
    assert not inner.expired


async def test_a_limit_that_is_over_when_it_begins_ends_at_the_first_wait():
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError), Deadlines().until(loop.time() - 1):
        await asyncio.sleep(30)


async def test_after_a_limit_that_was_kept_the_next_one_still_ends():
    deadlines = Deadlines()
    with deadlines.within(0.02):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError), deadlines.within(0.1):
        await asyncio.sleep(30)
    with pytest.raises(TimeoutError), deadlines.within(0.01):
        await asyncio.sleep(30)
