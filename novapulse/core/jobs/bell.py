"""The bell: tells sleeping processes over Redis that there is work. A hint, never a promise.

Only the name of what has work travels. A lost ring costs latency: whoever
listens also looks at the database now and then.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress

from novapulse.core.redis import Cache, RedisError

_CHANNEL = "nova:bell:"


def channel(name: str) -> str:
    """Where rings of `name` are published."""
    return _CHANNEL + name


class Bell:
    """Rings and listens for names such as a queue's or `events`."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._pending: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def ring(self, name: str) -> None:
        """Ring soon, without waiting: rings of the same name in the meantime are one."""
        self._pending.add(name)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        while self._pending:
            names, self._pending = self._pending, set()
            for name in names:
                await self._cache.publish(channel(name))

    async def close(self) -> None:
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=0.5)


def _lonely_seconds() -> float:
    """Between two looks without Redis; drawn, so that consumers do not look all at once."""
    return 1.0 + random.random() * 0.2  # noqa: S311 - no secret


class Ear:
    """Listens for some bells; `rung` is set by a ring and by the safety look.

    Without Redis it looks every second, with it every `look_seconds`.
    """

    def __init__(self, cache: Cache, names: tuple[str, ...], *, look_seconds: float = 2.0) -> None:
        self._cache = cache
        self._names = names
        self._look_seconds = look_seconds
        self._rung = asyncio.Event()
        self._is_connected = False

    async def listen(self) -> None:
        """Runs until cancelled; reconnects by itself."""
        while True:
            self._is_connected = False
            with suppress(RedisError, OSError, asyncio.TimeoutError):
                async for _ in self._rings():
                    self._rung.set()
            if self._is_connected:
                self._is_connected = False
                self._rung.set()  # whoever waits for a ring looks more often from now on
            await asyncio.sleep(0.5 + random.random() * 0.5)  # noqa: S311 - no secret

    async def _rings(self) -> AsyncIterator[None]:
        # Leaving closes the connection: cancelling inside a pub/sub read that is
        # kept open can hang a drain.
        async with self._cache.subscription(*map(channel, self._names)) as rings:
            self._is_connected = True
            yield  # what was rung while we were away
            async for _ in rings:
                yield

    def ring(self) -> None:
        """Wake the waiter from inside this process."""
        self._rung.set()

    async def wait(self, at_most_seconds: float) -> None:
        """Until a ring, a due time (`at_most_seconds`) or the next safety look."""
        look = self._look_seconds if self._is_connected else _lonely_seconds()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._rung.wait(), max(0.0, min(at_most_seconds, look)))
        self._rung.clear()
