"""Time limits for many short things at once: one timer in the loop for all of them.

`asyncio.timeout` sets and takes away a timer of its own each time, which costs as much as a
short request needs for everything else together on its way through the loop.
"""

import asyncio
from types import TracebackType


class Limit:
    """As `asyncio.timeout`: in its block the current task is cancelled when the time is over.

    That cancellation leaves the block as TimeoutError; any other one stays what it is.
    """

    __slots__ = ("_cancelling", "_deadlines", "_task", "at", "expired")

    def __init__(self, deadlines: "Deadlines", at: float) -> None:
        self._deadlines = deadlines
        self.at = at
        self.expired = False

    def __enter__(self) -> "Limit":
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - whoever awaits is in a task
        self._task, self._cancelling = task, task.cancelling()
        self._deadlines.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._deadlines.drop(self)
        if not self.expired:
            return
        is_ours = self._task.uncancel() <= self._cancelling
        if is_ours and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error

    def expire(self) -> None:
        self.expired = True
        self._task.cancel()


class Deadlines:
    """Limits of one event loop; the timer is set for the earliest of them, or for one before it."""

    def __init__(self) -> None:
        self._limits: set[Limit] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0

    def until(self, at: float) -> Limit:
        """For a `with` block that may last until `at`, a time of the loop."""
        return Limit(self, at)

    def within(self, seconds: float) -> Limit:
        """For a `with` block that may last so long."""
        return Limit(self, asyncio.get_running_loop().time() + seconds)

    def add(self, limit: Limit) -> None:
        self._limits.add(limit)
        if self._timer is None or limit.at < self._next:
            self._set(limit.at)

    def drop(self, limit: Limit) -> None:
        """The timer stays, as the next limit is seldom far behind this one."""
        self._limits.discard(limit)

    def _set(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = at
        self._timer = asyncio.get_running_loop().call_at(at, self._look)

    def _look(self) -> None:
        """Expire what is over; then wait for the next one, if there is any."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        for limit in [one for one in self._limits if one.at <= now]:
            self._limits.discard(limit)
            limit.expire()
        if self._limits:
            self._set(min(one.at for one in self._limits))
