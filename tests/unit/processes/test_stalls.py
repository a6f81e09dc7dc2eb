"""Who is still reading: slowly is no stall, and nothing is left behind."""

import asyncio
from typing import Any

from novapulse.processes.connections import LEAST_BYTES, Stall


class Buffer:
    """A transport of which one sees only how much waits in it, at each look."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = list(sizes)
        self.is_aborted = False
        self.was_seen = asyncio.Event()

    def get_write_buffer_size(self) -> int:
        size = self.sizes.pop(0)
        if not self.sizes:
            self.was_seen.set()
        return size

    def abort(self) -> None:
        self.is_aborted = True


async def watched(*sizes: int) -> Buffer:
    buffer: Any = Buffer(*sizes)
    Stall(buffer, 0.001).watch()
    async with asyncio.timeout(10):
        await buffer.was_seen.wait()
    await asyncio.sleep(0.01)
    return buffer  # type: ignore[no-any-return]  # it is one


async def test_who_takes_enough_each_time_is_waited_for() -> None:
    first, second, third = (times * LEAST_BYTES for times in (3, 2, 1))
    # Each look asks twice: how much was taken, and from where the next one counts.
    assert not (await watched(first, second, second, third, third, 0, 0)).is_aborted


async def test_who_takes_a_little_only_is_not() -> None:
    assert (await watched(2 * LEAST_BYTES, LEAST_BYTES + 1)).is_aborted


async def test_a_rest_that_is_taken_is_no_stall() -> None:
    assert not (await watched(1, 0, 0)).is_aborted


async def test_nobody_looks_where_nothing_waits() -> None:
    assert not (await watched(0)).is_aborted


async def test_nobody_looks_any_more_once_it_is_over() -> None:
    buffer: Any = Buffer(1, 1, 1)
    stall = Stall(buffer, 0.001)
    stall.watch()
    stall.stop()
    await asyncio.sleep(0.02)
    assert (buffer.sizes, buffer.is_aborted) == ([1, 1], False)
