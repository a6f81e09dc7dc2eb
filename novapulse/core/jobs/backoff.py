"""How long a failed job waits; pure but for the jitter's dice."""

import random
from collections.abc import Callable

import msgspec

MAX_DELAY_SECONDS = 7 * 86400.0
Dice = Callable[[], float]


class Backoff(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower):
    """Base of the ways to wait; stored in the job row, so that a change of settings spares it."""

    def base_seconds(self, attempt: int) -> float:
        raise NotImplementedError

    def jitter_seconds(self, base: float) -> float:
        raise NotImplementedError

    def delay_seconds(self, attempt: int, *, dice: Dice = random.random) -> float:
        """Seconds to wait after failed attempt `attempt` (1-based), never less than the base.

        The jitter on top keeps a fleet that failed together from coming back together.
        """
        base = min(self.base_seconds(attempt), MAX_DELAY_SECONDS)
        return base + self.jitter_seconds(base) * dice()


class Exponential(Backoff, frozen=True):
    """`seconds`, then times `factor` after every attempt, plus up to `jitter` of it."""

    seconds: float = 2.0
    jitter: float = 0.2
    factor: float = 2.0

    def base_seconds(self, attempt: int) -> float:
        return self.seconds * self.factor ** min(attempt - 1, 40)

    def jitter_seconds(self, base: float) -> float:
        return self.jitter * base


class Fixed(Backoff, frozen=True):
    """Always `seconds`, plus up to `jitter` of it."""

    seconds: float = 5.0
    jitter: float = 0.2

    def base_seconds(self, attempt: int) -> float:
        return self.seconds

    def jitter_seconds(self, base: float) -> float:
        return self.jitter * base


class Ladder(Backoff, frozen=True):
    """One step an attempt, the last one for ever.

    Plus U(0, min(15 min, max(2 s, 20 %))): a webhook receiver that comes back
    must not meet everybody at once.
    """

    steps: tuple[float, ...]

    def base_seconds(self, attempt: int) -> float:
        return self.steps[min(attempt, len(self.steps)) - 1]

    def jitter_seconds(self, base: float) -> float:
        return min(900.0, max(2.0, 0.2 * base))


AnyBackoff = Exponential | Fixed | Ladder
