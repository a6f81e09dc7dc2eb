"""How many changes a process works on at once: some that are done, instead of all too late.

A change is several round trips within one limit (`mongocalls.budget`). When more come than
the machine can bear, each of very many is refused just before its commit, and nothing is done
at all; so the others wait outside for a moment, and are refused there before they cost much.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from novapulse.core.errors import Unavailable
from novapulse.core.mongo import spending

# A change that is alone takes some milliseconds, most of them for MongoDB's journal.
AT_ONCE = 16
WAIT_SECONDS = 1.0
_is_inside: ContextVar[bool] = ContextVar("is_inside", default=False)


class Turnstile:
    def __init__(self, at_once: int = AT_ONCE, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._wait_seconds = wait_seconds

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Take one; who is inside already needs no second. Raises Unavailable."""
        if _is_inside.get():
            yield
            return
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()
        token = _is_inside.set(True)
        try:
            yield
        finally:
            _is_inside.reset(token)
            self._free.release()

    async def _wait(self) -> None:
        try:
            with spending():
                await asyncio.wait_for(self._free.acquire(), self._wait_seconds)
        except TimeoutError:
            raise Unavailable("There is too much to do at once; try again shortly") from None
