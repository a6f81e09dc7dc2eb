"""What every request is checked against: sessions and people as they were at most 5 s ago."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from novapulse.core.errors import Unauthenticated
from novapulse.core.mongo import spending

T = TypeVar("T")
CHECK_SECONDS = 5.0
_CAPACITY = 10_000


class LiveCache(Generic[T]):
    """What `find` said about a key a moment ago; bounded, oldest out first."""

    def __init__(
        self,
        find: Callable[[str], Awaitable[T | None]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find = find
        self._clock = clock
        self._seen: OrderedDict[str, tuple[float, T]] = OrderedDict()
        self._questions: dict[str, asyncio.Task[T | None]] = {}

    async def get(self, key: str) -> T:
        """Raises Unauthenticated for what is not, or not any more."""
        seen = self._seen.get(key)
        if seen is not None and self._clock() - seen[0] < CHECK_SECONDS:
            return seen[1]
        question = self._questions.get(key)
        if question is None:
            found = await asyncio.shield(self._ask(key))
        else:  # a slow database is not asked by everybody
            with spending():
                found = await asyncio.shield(question)
        if found is None:
            raise Unauthenticated("The session has ended")
        return found

    def forget(self, key: str) -> None:
        """Ask again at the next request: this process changed it."""
        self._seen.pop(key, None)
        self._questions.pop(key, None)

    def _ask(self, key: str) -> "asyncio.Task[T | None]":
        """One question for all who come meanwhile, also when who came first goes away."""
        self._seen.pop(key, None)
        question = asyncio.create_task(self._found(key))
        self._questions[key] = question
        question.add_done_callback(lambda done: self._asked(key, done))
        return question

    async def _found(self, key: str) -> T | None:
        asked, question = self._clock(), asyncio.current_task()
        found = await self._find(key)
        # The answer is as old as the question: a change while we waited may be missing in it.
        if found is not None and self._questions.get(key) is question:
            self._seen[key] = (asked, found)
            if len(self._seen) > _CAPACITY:
                self._seen.popitem(last=False)
        return found

    def _asked(self, key: str, question: "asyncio.Task[T | None]") -> None:
        if self._questions.get(key) is question:
            del self._questions[key]
        if not question.cancelled():
            question.exception()  # retrieved, also when nobody waits any more
