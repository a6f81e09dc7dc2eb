from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.clock import Steadiness, rfc3339, system_clock, to_utc

# Not the last days of the calendar: an offset would lead out of it.
MOMENTS = st.integers(3 * 86_400 * 10**6, 3_650_000 * 86_400 * 10**6).map(
    lambda microseconds: datetime.min.replace(tzinfo=UTC) + timedelta(microseconds=microseconds)
)
OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def test_the_clock_ticks_in_whole_milliseconds_of_utc() -> None:
    now = system_clock()
    assert now.tzinfo is UTC
    assert now.microsecond % 1000 == 0


def test_a_moment_is_written_with_milliseconds_and_z() -> None:
    moment = datetime(2026, 11, 23, 15, 18, 0, 7_000, tzinfo=UTC)
    assert rfc3339(moment) == "2026-11-23T15:18:00.007Z"
    assert rfc3339(datetime(7, 1, 1, tzinfo=UTC)) == "0007-01-01T00:00:00.000Z"


@given(MOMENTS, OFFSETS)
def test_a_clients_moment_is_kept_in_utc_to_the_millisecond(moment: datetime, zone: timezone):
    kept = to_utc(moment.astimezone(zone))
    assert kept.tzinfo is UTC
    assert kept.microsecond % 1000 == 0
    assert timedelta(0) <= moment - kept < timedelta(milliseconds=1)


@given(MOMENTS)
def test_what_is_written_is_read_as_the_same_moment(moment: datetime) -> None:
    kept = to_utc(moment)
    assert datetime.fromisoformat(rfc3339(kept)) == kept


def test_a_clock_is_steady_since_it_was_set_last_and_drifting_sets_nothing() -> None:
    passed, start = 0.0, datetime(2026, 11, 23, tzinfo=UTC)
    steadiness = Steadiness(monotonic=lambda: passed)
    seconds = []
    for passed, ahead in ((0, 0), (300, 1), (600, -32_400), (900, -32_401), (1_200, 31_536_000)):
        seconds.append(steadiness.seconds(start + timedelta(seconds=passed + ahead)))
    assert seconds == [0, 300, 0, 300, 0]
