"""What requests are checked against is at most five seconds old."""

import asyncio

import pytest

from novapulse.core.errors import Unauthenticated, Unavailable
from novapulse.core.live import LiveCache


class Rows:
    """Something to look up, and how often that was done."""

    def __init__(self) -> None:
        self.rows = {"a": "first"}
        self.asked = 0

    async def find(self, key: str) -> str | None:
        self.asked += 1
        return self.rows.get(key)


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_an_answer_is_good_for_five_seconds() -> None:
    rows, time = Rows(), Time()
    cache = LiveCache(rows.find, clock=time)
    assert await cache.get("a") == "first"
    rows.rows["a"] = "second"
    time.now += 4.9
    assert await cache.get("a") == "first"
    time.now += 0.2
    assert await cache.get("a") == "second"
    assert rows.asked == 2


async def test_who_is_gone_is_out_after_that_and_asked_for_again() -> None:
    rows, time = Rows(), Time()
    cache = LiveCache(rows.find, clock=time)
    await cache.get("a")
    del rows.rows["a"]
    time.now += 5
    for asked in (2, 3):
        with pytest.raises(Unauthenticated):
            await cache.get("a")
        assert rows.asked == asked


async def test_what_this_process_changed_is_asked_for_at_once() -> None:
    rows = Rows()
    cache = LiveCache(rows.find)
    await cache.get("a")
    rows.rows["a"] = "second"
    cache.forget("a")
    cache.forget("never seen")
    assert await cache.get("a") == "second"


async def test_an_answer_is_as_old_as_its_question() -> None:
    rows, time = Rows(), Time()

    async def slowly(key: str) -> str | None:
        found = await rows.find(key)
        time.now += 3
        return found

    cache = LiveCache(slowly, clock=time)
    await cache.get("a")
    time.now += 2.1
    rows.rows["a"] = "second"
    assert await cache.get("a") == "second"


async def test_who_comes_while_somebody_asks_does_not_ask_again() -> None:
    rows, may_answer = Rows(), asyncio.Event()

    async def slowly(key: str) -> str | None:
        found = await rows.find(key)
        await may_answer.wait()
        return found

    cache = LiveCache(slowly)
    first = asyncio.create_task(cache.get("a"))
    others = [asyncio.create_task(cache.get("a")) for _ in range(20)]
    await asyncio.sleep(0.01)
    first.cancel()  # its client has gone
    rows.rows["a"] = "second"
    cache.forget("a")
    later = asyncio.create_task(cache.get("a"))
    await asyncio.sleep(0.01)
    may_answer.set()
    assert await asyncio.gather(*others) == ["first"] * 20
    assert await later == await cache.get("a") == "second"
    assert rows.asked == 2


async def test_an_error_is_everybodys_and_not_kept() -> None:
    rows = Rows()
    errors = [Unavailable()]

    async def find(key: str) -> str | None:
        await asyncio.sleep(0)
        if errors:
            raise errors.pop()
        return await rows.find(key)

    cache = LiveCache(find)
    found = await asyncio.gather(*(cache.get("a") for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in found] == [Unavailable] * 3
    assert await cache.get("a") == "first"


async def test_the_memory_is_bounded() -> None:
    async def anything(key: str) -> str | None:
        return key

    cache = LiveCache(anything)
    for number in range(10_500):
        await cache.get(str(number))
    assert len(cache._seen) == 10_000
