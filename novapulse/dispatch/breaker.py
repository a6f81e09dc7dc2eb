"""The circuit breaker of one webhook, and how many attempts at once it bears; pure.

Times are seconds of any clock that only grows.
"""

from collections import deque
from enum import StrEnum

OPENS_AFTER_IN_A_ROW = 10
OPENS_AFTER_REQUESTS = 10
OPENS_AT_SHARE = 0.7
WINDOW_SECONDS = 300.0
_BUCKET_SECONDS = 10.0
SHORTEST_WAIT_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 900.0
# A wait is a tenth of the outage when it doubles, so never more than a fifth of it: whoever
# mends his receiver after five minutes is met again within one.
_OUTAGE_IN_WAITS = 10.0


class Circuit(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


def wait_seconds(outage_seconds: float) -> float:
    """How long an open circuit waits for its next probe.

    30 s, doubling as the outage lasts to at most 15 min.
    """
    wait = SHORTEST_WAIT_SECONDS
    while wait < LONGEST_WAIT_SECONDS and outage_seconds >= _OUTAGE_IN_WAITS * wait:
        wait *= 2
    return min(wait, LONGEST_WAIT_SECONDS)


class Breaker:
    """Opens when a receiver fails, then lets one probe through at a time.

    It opens after ten failures in a row, or when of at least ten requests
    within five minutes seven in ten failed. A success closes it.
    """

    __slots__ = ("_buckets", "_in_a_row", "is_probing", "open_until", "opened_at")

    def __init__(self) -> None:
        self._buckets: deque[list[float]] = deque()  # [start, requests, failures]
        self._in_a_row = 0
        self.opened_at: float | None = None
        self.open_until = 0.0
        self.is_probing = False

    @property
    def is_open(self) -> bool:
        return self.opened_at is not None

    @property
    def remembers(self) -> bool:
        """Whether there is anything that a new one would not know."""
        return self.is_open or bool(self._in_a_row)

    def state(self, now: float) -> Circuit:
        if self.opened_at is None:
            return Circuit.CLOSED
        return Circuit.HALF_OPEN if now >= self.open_until else Circuit.OPEN

    def room(self, now: float, *, in_flight: int, cap: int) -> int:
        """How many more attempts may begin beside those `in_flight`; a probe begins alone.

        A webhook that begins to fail gets no more at once than may still fail
        before it opens: that bounds what a dead receiver ever sees.
        """
        if self.opened_at is not None:
            return 0 if self.is_probing or in_flight or now < self.open_until else 1
        if self._in_a_row:
            cap = min(cap, max(1, OPENS_AFTER_IN_A_ROW - self._in_a_row))
        return max(0, cap - in_flight)

    def begin(self) -> None:
        """An attempt begins; through an open circuit it is the probe."""
        if self.opened_at is not None:
            self.is_probing = True

    def abandon(self) -> None:
        """The attempt did not take place after all, or nothing is known of its end."""
        self.is_probing = False

    def succeeded(self, now: float) -> bool:
        """Whether this success closed the circuit."""
        self._in_a_row = 0
        self.is_probing = False
        if self.opened_at is None:
            self._count(now, failures=0)
            return False
        self.close()
        return True

    def failed(self, now: float) -> bool:
        """Whether this failure opened the circuit; a failed probe only lengthens its wait."""
        self._in_a_row += 1
        was_probe, self.is_probing = self.is_probing, False
        if self.opened_at is not None:
            if was_probe:  # and not something that was under way when it opened
                self.open_until = now + wait_seconds(now - self.opened_at)
            return False
        self._count(now, failures=1)
        if self._in_a_row < OPENS_AFTER_IN_A_ROW and not self._fails_too_often():
            return False
        self.open(now, until=now + SHORTEST_WAIT_SECONDS)
        return True

    def open(self, at: float, *, until: float) -> None:
        """As of its own, or as another dispatcher found it."""
        self.opened_at, self.open_until = at, until
        self._buckets.clear()

    def close(self) -> None:
        self.opened_at, self.open_until = None, 0.0
        self._in_a_row = 0
        self._buckets.clear()

    def _count(self, now: float, *, failures: int) -> None:
        while self._buckets and self._buckets[0][0] <= now - WINDOW_SECONDS:
            self._buckets.popleft()
        if not self._buckets or now - self._buckets[-1][0] >= _BUCKET_SECONDS:
            self._buckets.append([now, 0, 0])
        newest = self._buckets[-1]
        newest[1] += 1
        newest[2] += failures

    def _fails_too_often(self) -> bool:
        requests = sum(bucket[1] for bucket in self._buckets)
        failures = sum(bucket[2] for bucket in self._buckets)
        return requests >= OPENS_AFTER_REQUESTS and failures >= OPENS_AT_SHARE * requests
