"""When a process is worn: it answered enough requests, or grew too big."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from novapulse.core.settings.sections import Supervision

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_JITTER = 0.2
# So that a limit that every process is over at once does not become a loop of replacements.
_LEAST_LIFE_SECONDS = 10.0
_ASK_AGAIN_SECONDS = 60.0


class Wear:
    """Asks for a replacement by `ask(reason)`, at limits that differ a little by process."""

    def __init__(
        self,
        ask: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._factor = 1 + _JITTER * chance()
        self._not_before = clock() + _LEAST_LIFE_SECONDS

    def look(self, limits: Supervision, *, requests: int, rss_bytes: int | None = None) -> None:
        """Compare with the limits; `rss_bytes` is read from the kernel when it is not given."""
        if self._clock() < self._not_before:
            return
        reason = ""
        if limits.max_requests and requests > limits.max_requests * self._factor:
            reason = f"answered {requests} requests"
        elif limits.max_rss_mb:
            megabytes = (rss_bytes or own_rss_bytes()) / 1_000_000
            if megabytes > limits.max_rss_mb * self._factor:
                reason = f"uses {megabytes:.0f} MB of memory"
        if reason:
            self._not_before = self._clock() + _ASK_AGAIN_SECONDS
            self._ask(reason)


def own_rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE_BYTES
