"""Coroutines that are begun at once behave as awaited ones; a Ctrl-C is heard."""

import asyncio
import signal
from contextlib import suppress

import pytest

from novapulse.core.tasks import begin, run


async def test_what_never_waits_is_over_at_once():
    seen = []

    async def quick() -> None:
        seen.append(1)

    assert begin(quick()) is None
    assert seen == [1]


async def test_what_waits_runs_up_to_there_and_then_to_its_end():
    seen = []

    async def slow() -> None:
        seen.append("begun")
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        seen.append("ended")

    rest = begin(slow())
    assert seen == ["begun"]
    assert rest is not None
    await rest
    assert seen == ["begun", "ended"]


@pytest.mark.parametrize("waits", [0, 1, 2])
async def test_what_it_raises_is_raised_before_and_after_a_wait(waits: int):
    async def fail() -> None:
        for _ in range(waits):
            await asyncio.sleep(0)
        raise KeyError("told")

    async def run() -> None:
        if (rest := begin(fail())) is not None:
            await rest

    with pytest.raises(KeyError, match="told"):
        await run()


async def test_a_timeout_and_a_cancellation_are_the_coroutines_to_hear():
    heard = []
    first = asyncio.Event()

    async def sleeper() -> None:
        for _ in range(2):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError as error:
                heard.append(error)
                first.set()
                if len(heard) > 1:
                    raise

    async def run() -> None:
        rest = begin(sleeper())
        assert rest is not None
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await rest

    task = asyncio.create_task(run())
    await asyncio.wait_for(first.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(heard) == 2


@pytest.mark.parametrize("is_deaf", [True, False])
def test_a_ctrl_c_is_heard_also_when_a_driver_is_deaf_to_it(is_deaf: bool):
    """As `asyncio.wait_for` of Python 3.11, which returns what it has and says nothing."""

    async def work() -> int:
        signal.raise_signal(signal.SIGINT)
        with suppress(asyncio.CancelledError if is_deaf else ()):
            await asyncio.sleep(10)
        return 1

    with pytest.raises(KeyboardInterrupt):
        run(work())


def test_what_nobody_interrupts_returns_its_result():
    async def work() -> int:
        await asyncio.sleep(0)
        return 1

    assert run(work()) == 1
