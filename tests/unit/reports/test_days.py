"""Which days the report on use shows, and from where to where each of them goes."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.errors import Invalid
from novapulse.reports.kinds import selection_of
from novapulse.reports.model import ReportKind
from novapulse.reports.summaries import DaySelection, names_of_days, span_of_days

ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia")
moments = st.integers(1_577_836_800, 2_208_988_800).map(  # of the years 2020 to 2039
    lambda seconds: datetime.fromtimestamp(seconds, UTC)
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def days(chosen: DaySelection, now: datetime) -> list[str]:
    since, until = span_of_days(chosen, now)
    return names_of_days(since, until, chosen.zone())


def test_the_last_thirty_days_begin_with_a_whole_one_and_end_today() -> None:
    now = at("2026-11-23T15:00")
    since, until = span_of_days(DaySelection(), now)
    assert (since, until) == (at("2026-10-25T00:00"), now)
    shown = days(DaySelection(), now)
    assert (len(shown), shown[0], shown[-1]) == (30, "2026-10-25", "2026-11-23")
    over = DaySelection(until=at("2026-11-23T00:00"))
    assert (len(days(over, now)), days(over, now)[-1]) == (30, "2026-11-22")


def test_days_of_a_zone_begin_there_whatever_its_clocks_do() -> None:
    berlin = DaySelection(time_zone="Europe/Berlin")
    since, _ = span_of_days(berlin, at("2026-04-10T15:00"))
    assert since == at("2026-03-11T23:00")  # still winter time
    assert len(days(berlin, at("2026-04-10T15:00"))) == 30
    assert days(berlin, at("2026-04-09T22:00"))[-1] == "2026-04-09"
    assert days(berlin, at("2026-04-09T22:01"))[-1] == "2026-04-10"


@given(st.sampled_from(ZONES), moments)
def test_a_beginning_that_nobody_chose_is_that_of_a_day(zone: str, now: datetime) -> None:
    for chosen in (
        DaySelection(time_zone=zone),
        DaySelection(time_zone=zone, since=now - timedelta(days=900)),
    ):
        since, _ = span_of_days(chosen, now)
        before = (since - timedelta(milliseconds=1)).astimezone(chosen.zone()).date()
        assert since.astimezone(chosen.zone()).date() > before
        assert len(days(chosen, now)) == (30 if chosen.since is None else 366)


def test_what_somebody_chose_is_shown_as_it_was_chosen() -> None:
    chosen = DaySelection(since=at("2026-11-01T15:00"), until=at("2026-11-03T15:00"))
    assert span_of_days(chosen, at("2026-11-23T15:00")) == (chosen.since, chosen.until)
    assert days(chosen, at("2026-11-23T15:00")) == ["2026-11-01", "2026-11-02", "2026-11-03"]


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", ""])
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(Invalid) as refused:
        selection_of(ReportKind.USAGE, {"timeZone": zone})
    assert [one.path for one in refused.value.errors] == ["params.timeZone"]
