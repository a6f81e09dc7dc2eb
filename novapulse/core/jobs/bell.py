"""The bell: tells sleeping processes over Redis that there is work. A hint, never a promise.

Only the name of what has work travels. A lost ring costs latency: whoever
listens also looks at the database now and then. How often depends on the tick,
which the leading scheduler publishes all the time: who hears it may take silence
for nothing to do. Without it (no Redis, one that hangs, nobody who leads) silence
means nothing, and listeners look every second.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress

from novapulse.core.redis import Cache, RedisError
from novapulse.core.tasks import end_all

_CHANNEL = "nova:bell:"
_TICK = "tick"
TICK_SECONDS = 2.0
# Together with a look, less than the three seconds after which work without Redis has begun.
_SILENCE_SECONDS = 2.7
# Whoever leads rings again for what is due every five seconds, and a ring that could not be
# sent is sent later: this look is for what nobody thought of.
LOOK_SECONDS = 15.0
_SEND_AGAIN_SECONDS = 0.5
_CLOSE_SECONDS = 0.5


def channel(name: str) -> str:
    """Where rings of `name` are published."""
    return _CHANNEL + name


class Bell:
    """Rings and listens for names such as a queue's or `events`."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._pending: set[str] = set()
        self._is_lost = False
        self._task: asyncio.Task[None] | None = None

    def ring(self, name: str) -> None:
        """Ring soon, without waiting: rings of the same name in the meantime are one."""
        self._pending.add(name)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._send())

    async def tick(self) -> None:
        """Let every listener know that rings arrive; for the one who leads, all the time."""
        await self._cache.publish(channel(_TICK))

    async def _send(self) -> None:
        """Until all are out: who heard nothing while Redis was away hears of it afterwards."""
        while self._pending:
            name = self._pending.pop()
            self._is_lost = not await self._cache.publish(channel(name))
            if self._is_lost:
                self._pending.add(name)
                await asyncio.sleep(_SEND_AGAIN_SECONDS)

    async def close(self) -> None:
        if self._task is not None and not self._task.done():
            if not self._is_lost:
                await asyncio.wait([self._task], timeout=_CLOSE_SECONDS)
            await end_all((self._task,))


def _lonely_seconds() -> float:
    """Between two looks without Redis; drawn, so that consumers do not look all at once."""
    return 1.0 + random.random() * 0.2  # noqa: S311 - no secret


class Ear:
    """Listens for some bells; `rung` is set by a ring and by the safety look.

    While it hears the tick it looks every `look_seconds`, else every second.
    """

    def __init__(
        self, cache: Cache, names: tuple[str, ...], *, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._cache = cache
        self._channels = tuple(map(channel, (*names, _TICK)))
        self._look_seconds = look_seconds
        self._rung = asyncio.Event()
        self._is_connected = False
        # Runs out when no tick has come for too long; there is none while silence says nothing.
        self._doubt: asyncio.TimerHandle | None = None

    async def listen(self) -> None:
        """Runs until cancelled; reconnects by itself."""
        try:
            while True:
                with suppress(RedisError, OSError, asyncio.TimeoutError):
                    async for heard in self._heard():
                        self._take(heard)
                self._is_connected = False
                self._distrust()
                await asyncio.sleep(0.5 + random.random() * 0.5)  # noqa: S311 - no secret
        finally:
            self._distrust()

    async def _heard(self) -> AsyncIterator[str]:
        # Leaving closes the connection: cancelling inside a pub/sub read that is
        # kept open can hang a drain.
        async with self._cache.subscription(*self._channels) as messages:
            self._is_connected = True
            yield ""  # what was rung while we were away
            async for message in messages:
                yield message["channel"].decode()

    def _take(self, heard: str) -> None:
        if heard == channel(_TICK):
            self._trust()
        else:
            self._rung.set()

    def _trust(self) -> None:
        if self._doubt is not None:
            self._doubt.cancel()
        loop = asyncio.get_running_loop()
        self._doubt = loop.call_later(_SILENCE_SECONDS, self._distrust)

    def _distrust(self) -> None:
        if self._doubt is not None:
            self._doubt.cancel()
            self._doubt = None
            self._rung.set()  # whoever waits for a ring looks more often from now on

    def ring(self) -> None:
        """Wake the waiter from inside this process."""
        self._rung.set()

    async def wait(self, at_most_seconds: float) -> None:
        """Until a ring, a due time (`at_most_seconds`) or the next safety look."""
        look = _lonely_seconds() if self._doubt is None else self._look_seconds
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(at_most_seconds, look))):
                await self._rung.wait()
        self._rung.clear()
