"""Times of the clock: a crontab as Huey reads it, in somebody's time zone.

On the day that clocks go forward a time that does not exist comes as much later
as they jump; on the day that they go back one that exists twice comes once.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from huey import crontab

from novapulse.core.errors import Invalid

# The rarest that exists is 29 February, which may be eight years away.
_FAR_DAYS = 8 * 366 + 1
_ANY_DAY = datetime(2024, 1, 1)  # noqa: DTZ001 - a wall clock's, in no zone


class Clock:
    """A crontab of five fields (minute, hour, day, month, day of the week; all must fit)."""

    def __init__(self, cron: str, zone: str) -> None:
        """Raises Invalid with the field `cron` or `timeZone`."""
        fields = cron.split()
        if len(fields) != 5:
            raise Invalid.field("cron", "has five fields: minute hour day month day-of-week")
        minute, hour, day, month, day_of_week = fields
        try:
            at = crontab(minute, hour, strict=True)
            self._is_day: Callable[[datetime], bool] = crontab(
                "*", "*", day, month, day_of_week, strict=True
            )
        except ValueError as error:
            raise Invalid.field("cron", f"can not be read: {error}") from error
        minutes = (_ANY_DAY + timedelta(minutes=number) for number in range(24 * 60))
        self._times = tuple(moment.time() for moment in minutes if at(moment))
        self._zone = _zone(zone)

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time after `moment`, in UTC; None when there is none within eight years."""
        today = moment.astimezone(self._zone).date()
        for number in range(_FAR_DAYS):
            day = today + timedelta(days=number)
            if not self._is_day(datetime.combine(day, time())):
                continue
            later = [at for at in self._moments(day) if at > moment]
            if later:
                return min(later)
        return None

    def _moments(self, day: date) -> list[datetime]:
        return [datetime.combine(day, at, tzinfo=self._zone).astimezone(UTC) for at in self._times]


@lru_cache(maxsize=512)
def read_clock(cron: str, zone: str) -> Clock:
    """The clock of a crontab and an IANA time zone such as Europe/Berlin; raises Invalid."""
    return Clock(cron, zone)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise Invalid.field("timeZone", f"there is no time zone {name!r}") from error
