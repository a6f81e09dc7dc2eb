"""When a circuit opens, how long it waits, and what a dead receiver sees of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.dispatch.breaker import (
    LONGEST_WAIT_SECONDS,
    OPENS_AFTER_IN_A_ROW,
    SHORTEST_WAIT_SECONDS,
    WINDOW_SECONDS,
    Breaker,
    Circuit,
    wait_seconds,
)


def fail(breaker: Breaker, times: int, *, now: float = 0.0) -> None:
    for _ in range(times):
        breaker.begin()
        breaker.failed(now)


def opened(*, now: float = 0.0) -> Breaker:
    breaker = Breaker()
    fail(breaker, OPENS_AFTER_IN_A_ROW, now=now)
    return breaker


def test_ten_failures_in_a_row_open_it_and_nine_do_not() -> None:
    breaker = Breaker()
    fail(breaker, 9)
    assert breaker.state(0) is Circuit.CLOSED
    assert breaker.failed(0)
    assert breaker.state(0) is Circuit.OPEN


def test_a_success_in_between_starts_the_row_anew() -> None:
    breaker = Breaker()
    for _ in range(30):
        breaker.succeeded(0.0)
    fail(breaker, 9)
    breaker.succeeded(0.0)
    fail(breaker, 9)
    assert not breaker.is_open


@pytest.mark.parametrize(("failures", "successes", "opens"), [(7, 3, True), (6, 4, False)])
def test_seven_failures_in_ten_requests_open_it(failures: int, successes: int, opens: bool) -> None:
    breaker = Breaker()
    for _ in range(successes):
        breaker.succeeded(0.0)
    fail(breaker, failures)
    assert breaker.is_open is opens


def test_less_than_ten_requests_say_nothing() -> None:
    breaker = Breaker()
    breaker.succeeded(0.0)
    fail(breaker, 8)
    assert not breaker.is_open


def test_what_is_five_minutes_ago_is_forgotten() -> None:
    breaker = Breaker()
    fail(breaker, 6, now=0.0)
    breaker.succeeded(1.0)
    breaker.succeeded(1.0)
    fail(breaker, 1, now=WINDOW_SECONDS + 20)
    for _ in range(9):
        breaker.succeeded(WINDOW_SECONDS + 20)
    assert not breaker.is_open


def test_an_open_circuit_lets_nothing_through_and_then_one_probe() -> None:
    breaker = opened()
    assert breaker.room(SHORTEST_WAIT_SECONDS - 1, in_flight=0, cap=10) == 0
    assert breaker.room(SHORTEST_WAIT_SECONDS, in_flight=0, cap=10) == 1
    assert breaker.state(SHORTEST_WAIT_SECONDS) is Circuit.HALF_OPEN
    breaker.begin()
    assert breaker.room(SHORTEST_WAIT_SECONDS, in_flight=1, cap=10) == 0
    assert breaker.room(SHORTEST_WAIT_SECONDS, in_flight=0, cap=10) == 0


def test_a_probe_waits_for_what_was_under_way() -> None:
    assert opened().room(SHORTEST_WAIT_SECONDS, in_flight=3, cap=10) == 0


def test_a_good_probe_closes_it() -> None:
    breaker = opened()
    breaker.begin()
    assert breaker.succeeded(31.0)
    assert breaker.state(31.0) is Circuit.CLOSED
    assert breaker.room(31.0, in_flight=0, cap=10) == 10


def test_a_failed_probe_makes_it_wait_again_and_what_was_under_way_does_not() -> None:
    breaker = opened()
    assert not breaker.failed(5.0)
    assert breaker.open_until == SHORTEST_WAIT_SECONDS
    breaker.begin()
    breaker.failed(31.0)
    assert breaker.open_until == 31.0 + SHORTEST_WAIT_SECONDS


def test_a_probe_that_never_began_may_be_made_again() -> None:
    breaker = opened()
    breaker.begin()
    breaker.abandon()
    assert breaker.room(SHORTEST_WAIT_SECONDS, in_flight=0, cap=10) == 1


@pytest.mark.parametrize(
    ("outage", "wait"),
    [(0, 30), (299, 30), (300, 60), (599, 60), (600, 120), (2_400, 480), (4_800, 900)],
)
def test_the_wait_doubles_with_the_outage(outage: float, wait: float) -> None:
    assert wait_seconds(outage) == wait


@given(st.floats(0, 10**7))
def test_the_wait_is_bounded_and_short_beside_the_outage(outage: float) -> None:
    wait = wait_seconds(outage)
    assert SHORTEST_WAIT_SECONDS <= wait <= LONGEST_WAIT_SECONDS
    assert wait <= max(SHORTEST_WAIT_SECONDS, outage / 5)


def test_a_receiver_that_begins_to_fail_gets_no_more_than_may_still_fail() -> None:
    breaker = Breaker()
    fail(breaker, 4)
    assert breaker.room(0.0, in_flight=2, cap=10) == 4
    fail(breaker, 5)
    assert breaker.room(0.0, in_flight=0, cap=10) == 1


@given(st.integers(1, 10), st.floats(0.01, 20))
def test_a_dead_receiver_sees_at_most_thirty_requests_in_five_minutes(
    cap: int, answer_seconds: float
) -> None:
    """Whatever its cap, and however long it takes to fail."""
    breaker, now, requests = Breaker(), 0.0, 0
    ends: list[float] = []
    while now < 300:
        while breaker.room(now, in_flight=len(ends), cap=cap) > 0:
            breaker.begin()
            ends.append(now + answer_seconds)
            requests += 1
        now = min(ends) if ends else breaker.open_until
        while ends and min(ends) <= now:
            ends.remove(min(ends))
            breaker.failed(now)
    assert requests <= 30
