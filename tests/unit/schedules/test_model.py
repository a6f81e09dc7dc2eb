"""When a schedule runs, and what of."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.errors import Invalid
from novapulse.reports.kinds import selection_of
from novapulse.reports.model import ReportFormat, ReportKind
from novapulse.reports.summaries import DaySelection, names_of_days, span_of_days
from novapulse.schedules.model import Frequency, Plan, Schedule, Window

moments = st.integers(1_577_836_800, 2_208_988_800).map(  # of the years 2020 to 2039
    lambda seconds: datetime.fromtimestamp(seconds, UTC)
)
plans = st.builds(
    Plan,
    frequency=st.sampled_from(Frequency),
    at=st.times().map(lambda time: f"{time:%H:%M}"),
    time_zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"]),
    weekday=st.integers(1, 7),
    day=st.integers(1, 28),
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("plan", "after", "expected"),
    [
        (Plan(frequency=Frequency.DAILY), "2026-11-23T05:59", "2026-11-23T06:00"),
        (Plan(frequency=Frequency.DAILY), "2026-11-23T06:00", "2026-11-24T06:00"),
        (Plan(frequency=Frequency.WEEKLY), "2026-11-23T06:00", "2026-11-30T06:00"),
        (Plan(frequency=Frequency.MONTHLY, day=28), "2026-01-28T06:00", "2026-02-28T06:00"),
        # Summer time began on the 29th: six o'clock there is an hour earlier here.
        (
            Plan(frequency=Frequency.DAILY, time_zone="Europe/Berlin"),
            "2026-03-28T05:00",
            "2026-03-29T04:00",
        ),
    ],
)
def test_the_next_run(plan: Plan, after: str, expected: str) -> None:
    assert plan.next_after(at(after)) == at(expected)


@given(plans, moments)
def test_runs_lie_ahead_and_not_further_than_their_frequency(plan: Plan, moment: datetime) -> None:
    found = plan.next_after(moment)
    longest = {"daily": 1, "weekly": 7, "monthly": 31}[plan.frequency]
    # A day more: some places have skipped one, and clocks are set back.
    assert timedelta(0) < found - moment <= timedelta(days=longest + 1, hours=1)


@given(plans, moments)
def test_a_period_is_whole_days_that_are_over(plan: Plan, moment: datetime) -> None:
    start, end = plan.period_before(moment)
    assert start < end <= moment
    for edge in (start, end):
        local = edge.astimezone(plan.zone())
        assert (local.hour, local.minute) in ((0, 0), (1, 0)), local
    days = {"daily": (1, 1), "weekly": (7, 7), "monthly": (28, 31)}[plan.frequency]
    first, last = (edge.astimezone(plan.zone()).date() for edge in (start, end))
    assert days[0] <= (last - first).days <= days[1]


@given(plans, moments)
def test_a_period_of_the_report_on_use_has_a_row_for_each_of_its_days(
    plan: Plan, moment: datetime
) -> None:
    schedule = Schedule(
        id="s",
        name="Use",
        kind=ReportKind.USAGE,
        format=ReportFormat.CSV,
        params={},
        plan=plan,
        window=Window.PERIOD,
        is_active=True,
        owner_id="u",
        next_run_at=moment,
        created_at=moment,
        updated_at=moment,
    )
    chosen = selection_of(schedule.kind, schedule.params_at(moment))
    assert isinstance(chosen, DaySelection)
    start, end = span_of_days(chosen, moment)
    assert (start, end) == plan.period_before(moment)
    shown = names_of_days(start, end, chosen.zone())
    first, last = (edge.astimezone(plan.zone()).date() for edge in (start, end))
    assert (len(shown), shown[0]) == ((last - first).days, first.isoformat())
    if plan.frequency is not Frequency.MONTHLY:
        assert len(shown) == (7 if plan.frequency is Frequency.WEEKLY else 1)


def test_periods_of_daily_runs_follow_each_other_without_a_gap() -> None:
    plan = Plan(frequency=Frequency.DAILY, at="02:30", time_zone="Europe/Berlin")
    moment, former = at("2026-03-25T00:00"), None
    for _ in range(10):
        moment = plan.next_after(moment)
        start, end = plan.period_before(moment)
        assert former in (None, start)
        former = end


def test_a_time_zone_that_is_none_is_refused() -> None:
    for name in ("Nowhere/Land", "../../etc/passwd", "/etc/localtime"):
        with pytest.raises(Invalid):
            Plan(frequency=Frequency.DAILY, time_zone=name).zone()
