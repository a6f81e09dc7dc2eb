"""Times of the clock, in time zones and over the changes of the clocks."""

from datetime import UTC, datetime, timedelta

import pytest
from huey import crontab
from hypothesis import given, settings
from hypothesis import strategies as st

from novapulse.core.errors import Invalid
from novapulse.rules.cron import Clock, read_clock


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def times(cron: str, zone: str, after: str, count: int) -> list[str]:
    clock, at, found = Clock(cron, zone), moment(after), []
    for _ in range(count):
        following = clock.next_after(at)
        assert following is not None
        at = following
        found.append(at.strftime("%Y-%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("* * * * *", "UTC", "2026-11-23T16:00:30", ["2026-11-23 16:01", "2026-11-23 16:02"]),
        ("0 9 * * 1-5", "UTC", "2026-11-27T10:00", ["2026-11-30 09:00", "2026-12-01 09:00"]),
        ("*/30 8-9 * * *", "UTC", "2026-11-23T08:10", ["2026-11-23 08:30", "2026-11-23 09:00"]),
        ("0 9 * * *", "Europe/Berlin", "2026-07-01T00:00", ["2026-07-01 07:00"]),
        ("0 9 * * *", "Europe/Berlin", "2026-12-01T00:00", ["2026-12-01 08:00"]),
        ("30 0 * * *", "Asia/Kolkata", "2026-07-01T00:00", ["2026-07-01 19:00"]),
        ("0 0 1 * *", "America/New_York", "2026-07-01T05:00", ["2026-08-01 04:00"]),
        ("15 10 29 2 *", "UTC", "2026-01-01T00:00", ["2028-02-29 10:15", "2032-02-29 10:15"]),
        ("0 12 * * 7", "UTC", "2026-11-23T00:00", ["2026-11-29 12:00"]),
        ("5,35 23 31 12 *", "UTC", "2026-11-23T00:00", ["2026-12-31 23:05", "2026-12-31 23:35"]),
        # 02:30 does not exist on 2026-03-29 in Berlin: an hour later by the clock.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00",
            ["2026-03-29 01:30", "2026-03-30 00:30"],
        ),
        # 02:30 comes twice on 2026-10-25 in Berlin: it runs once.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00",
            ["2026-10-25 00:30", "2026-10-26 01:30"],
        ),
        (
            "0 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:30",
            ["2026-03-29 01:00", "2026-03-29 02:00"],
        ),
    ],
)
def test_the_next_times_are_by_the_clock_of_the_zone(
    cron: str, zone: str, after: str, expected: list[str]
) -> None:
    assert times(cron, zone, after, len(expected)) == expected


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 31 4 *"])
def test_a_day_that_never_comes_has_no_next_time(cron: str) -> None:
    assert Clock(cron, "UTC").next_after(moment("2026-01-01T00:00")) is None


@pytest.mark.parametrize(
    "cron",
    [
        *("", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *"),
        *("* * * * 8", "*/0 * * * *", "a * * * *", "0 9 * * MON", "1- * * * *", "@daily"),
        *("1,,2 * * * *", "-1 * * * *", "* * * * */2"),
    ],
)
def test_a_crontab_that_can_not_be_read_is_refused(cron: str) -> None:
    with pytest.raises(Invalid) as refused:
        Clock(cron, "UTC")
    assert refused.value.errors[0].path == "cron"


@pytest.mark.parametrize(
    "zone", ["", "Europe", "Berlin", "../../etc/passwd", "/etc/localtime", "\0"]
)
def test_a_time_zone_that_nobody_knows_is_refused(zone: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_clock("* * * * *", zone)
    assert refused.value.errors[0].path == "timeZone"


@settings(max_examples=30)
@given(
    st.sampled_from(["*/7 * * * *", "0 */5 * * *", "3 4 * * 2", "59 23 28-31 * *", "0 0 * 2,6 0"]),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001 - made UTC below
)
def test_the_next_time_is_the_first_that_hueys_crontab_accepts(cron: str, after: datetime) -> None:
    start = after.replace(tzinfo=UTC)
    following = Clock(cron, "UTC").next_after(start)
    assert following is not None
    assert following > start
    accepts = crontab(*cron.split())
    assert accepts(following)
    minute = start.replace(second=0, microsecond=0) + timedelta(minutes=1)
    step = timedelta(minutes=1)
    while minute < min(following, start + timedelta(days=2)):
        assert not accepts(minute)
        minute += step
