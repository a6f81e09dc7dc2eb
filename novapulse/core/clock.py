"""Time as the rest of the program sees it: aware UTC, whole milliseconds.

Leases, due times and expiries use the database's clock instead (`$$NOW`).
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

Clock = Callable[[], datetime]
# The clocks of machines that lead in turn differ by less. What one of them left further ahead
# is of a clock that was wrong, and nobody has to wait for that time.
SKEW = timedelta(minutes=10)
# A clock that is kept right little by little does not drift as far for hours.
_SET_SECONDS = 60.0


def system_clock() -> datetime:
    """Now, cut to the millisecond that BSON and the API can carry."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


class Steadiness:
    """For how long a clock has not been set, beside one that nobody can set."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._since: tuple[float, float] | None = None

    def seconds(self, now: datetime) -> float:
        """As far as the calls show, the first of which sees nothing; `now` is what it says."""
        at = self._monotonic()
        ahead = now.timestamp() - at
        if self._since is None or abs(ahead - self._since[0]) > _SET_SECONDS:
            self._since = ahead, at
        return at - self._since[1]


def until_next(seconds: float) -> float:
    """How long to sleep until the next whole multiple of `seconds`.

    What is done again and again is done at the same moments everywhere: an idle machine
    wakes up less often. The supervised processes beat then, too.
    """
    return seconds - time.monotonic() % seconds


def to_utc(moment: datetime) -> datetime:
    """A client's moment as it is kept: UTC, whole milliseconds.

    Raises OverflowError for one that in UTC lies outside of the years 1 to 9999.
    """
    utc = moment.astimezone(UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def rfc3339(moment: datetime) -> str:
    """`2026-11-23T15:18:00.123Z` of a moment in UTC."""
    # A quarter of the time that `isoformat` takes: a page of 20 tasks has more than 40 moments.
    text: str = msgspec.to_builtins(moment)
    return f"{text[:23]}Z" if text[19:20] == "." else f"{text[:19]}.000Z"
