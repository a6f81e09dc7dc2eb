import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.policy import Quarantine, Start, earliest_start, next_start, remember_exit
from supervisor.spec import RestartPolicy

POLICY = RestartPolicy()


def delays(*, exits: int, chance: float = 0.0) -> float:
    # Far apart, so that only their number counts.
    times = [-1000.0 * n for n in range(exits, 0, -1)]
    start = next_start(POLICY, times, now=1024, chance=chance)
    assert isinstance(start, Start)
    return start.at - 1024


def test_a_proven_process_starts_again_after_half_a_second():
    assert delays(exits=0) == 0.5


def test_each_counting_exit_doubles_the_delay_up_to_the_cap():
    assert [delays(exits=n) for n in range(1, 10)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_the_jitter_adds_a_fifth_at_most_and_never_takes_away():
    assert delays(exits=3, chance=1.0) == pytest.approx(2 * 1.2)


def test_the_sixth_exit_within_a_minute_leads_into_quarantine():
    exits = (0.0, 1.0, 2.0, 3.0, 4.0)
    assert isinstance(next_start(POLICY, exits, now=5), Start)
    assert next_start(POLICY, (*exits, 60.0), now=60) == Quarantine(until=120)


def test_six_exits_spread_over_more_than_a_minute_do_not():
    assert isinstance(next_start(POLICY, (0.0, 1.0, 2.0, 3.0, 4.0, 60.1), now=61), Start)


def test_a_quarantine_lasts_however_many_tries_fail_after_it():
    exits: tuple[float, ...] = ()
    for at in range(6):
        exits = remember_exit(POLICY, exits, float(at))
    for at in range(60, 60 * 1000, 60):
        exits = remember_exit(POLICY, exits, float(at))
        assert next_start(POLICY, exits, now=at) == Quarantine(until=at + 60)


@given(st.lists(st.floats(0, 1e4), max_size=80), st.floats(0, 1))
def test_no_history_delays_a_start_beyond_a_minute(times: list[float], chance: float):
    exits: tuple[float, ...] = ()
    for at in sorted(times):
        exits = remember_exit(POLICY, exits, at)
        decision = next_start(POLICY, exits, now=at, chance=chance)
        moment = decision.until if isinstance(decision, Quarantine) else decision.at
        assert at + 0.5 <= moment <= at + 60
    assert len(exits) <= 32


def test_the_eleventh_start_waits_until_the_first_is_a_minute_old():
    starts = tuple(float(n) for n in range(10))
    assert earliest_start(POLICY, starts[:9], 9.0) == 9.0
    assert earliest_start(POLICY, starts, 10.0) == 60.0
    assert earliest_start(POLICY, starts, 70.0) == 70.0
