"""What MongoDB's driver does in the background, without waking an idle process all the time.

It looks twice a second whether somebody wants its task done early. Here who wants that says
so, and else the task sleeps for as long as it should.
"""

import asyncio
import time
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.asynchronous.monitor import Monitor
from pymongo.periodic_executor import AsyncPeriodicExecutor

# Forgotten cursors and connections that rested too long; the driver's own way is every second.
_TIDY_SECONDS = 10.0


class QuietMonitor(Monitor):
    """Asks one server how it is, at its interval or as soon as somebody misses the server."""

    def __init__(self, **surroundings: Any) -> None:
        super().__init__(**surroundings)
        sleep_through(self._executor)


def look_seldom(client: AsyncMongoClient[Any]) -> None:
    """Have the driver tidy its pools less often; of a process that idles, that is a third."""
    executor = client._kill_cursors_executor
    executor._interval = _TIDY_SECONDS
    sleep_through(executor)


def sleep_through(executor: AsyncPeriodicExecutor) -> None:
    """Let it wait for its interval or for `wake` in one sleep; before it is opened."""
    target, wake, least = executor._target, executor.wake, executor._min_interval
    is_wanted = asyncio.Event()

    async def run_and_sleep() -> Any:
        goes_on = await target()
        if not goes_on or executor._skip_sleep:
            return goes_on
        began = time.monotonic()
        try:
            async with asyncio.timeout(executor._interval):
                await is_wanted.wait()
        except TimeoutError:
            pass
        is_wanted.clear()
        if (rest := began + least - time.monotonic()) > 0:
            await asyncio.sleep(rest)
        executor.skip_sleep()
        return goes_on

    def wake_now() -> None:
        wake()
        is_wanted.set()

    executor._target = run_and_sleep
    executor.wake = wake_now  # type: ignore[method-assign]  # the driver has no other way in
