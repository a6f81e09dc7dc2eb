"""How fast one webhook is sent to: its in-flight cap under throttling, its rate; pure."""

# After so many successes in a row a throttled webhook gets one more at once.
_SUCCESSES_A_STEP = 10
# How far a fast rate may run ahead, so that nobody is woken for every single attempt.
_AHEAD_SECONDS = 0.05
_FAST = 40.0
NO_LIMIT = 1_000_000


class Cap:
    """How many attempts at once: halved by every 429 or 503, and slowly back."""

    __slots__ = ("_halved_at", "_successes", "_under")

    def __init__(self) -> None:
        self._under: int | None = None  # None: not throttled
        self._halved_at = 0.0
        self._successes = 0

    def of(self, limit: int) -> int:
        """The cap under the setting `limit`, which may change at any time."""
        return limit if self._under is None else min(limit, self._under)

    def throttled(self, now: float, *, limit: int, begun: float) -> None:
        """Halve it, but once for all that was sent before the last halving."""
        self._successes = 0
        if self._under is not None and begun < self._halved_at:
            return
        self._under = max(1, self.of(limit) // 2)
        self._halved_at = now

    def succeeded(self, *, limit: int) -> None:
        if self._under is None:
            return
        self._successes += 1
        if self._successes >= _SUCCESSES_A_STEP:
            self._successes = 0
            self._under += 1
            if self._under >= limit:
                self._under = None


class Rate:
    """At most so many a second, evenly spread; without one there is no limit."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0.0

    def allowed(self, now: float, *, per_second: float | None) -> int:
        """How many may begin now."""
        if per_second is None:
            return NO_LIMIT
        latest = now + (_AHEAD_SECONDS if per_second >= _FAST else 0.0)
        start = max(now, self._next)
        return int((latest - start) * per_second) + 1 if start <= latest else 0

    def take(self, now: float, *, per_second: float | None) -> None:
        """One begins."""
        if per_second is not None:
            self._next = max(now, self._next) + 1 / per_second

    def wait_seconds(self, now: float) -> float:
        """Until one more may begin."""
        return max(0.0, self._next - now)
