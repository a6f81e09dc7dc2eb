"""What every request is checked against: sessions and people as they were at most 5 s ago."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from novapulse.core.errors import Unauthenticated

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

    async def get(self, key: str) -> T:
        """Raises Unauthenticated for what is not, or not any more."""
        seen = self._seen.get(key)
        asked = self._clock()
        if seen is not None and asked - seen[0] < CHECK_SECONDS:
            return seen[1]
        self._seen.pop(key, None)
        found = await self._find(key)
        if found is None:
            raise Unauthenticated("The session has ended")
        # The answer is as old as the question: a change while we waited may be missing in it.
        self._seen[key] = (asked, found)
        if len(self._seen) > _CAPACITY:
            self._seen.popitem(last=False)
        return found

    def forget(self, key: str) -> None:
        """Ask again at the next request: this process changed it."""
        self._seen.pop(key, None)
