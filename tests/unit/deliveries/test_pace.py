"""A webhook's in-flight cap under throttling, and its rate."""

from hypothesis import given
from hypothesis import strategies as st

from novapulse.deliveries.pace import NO_LIMIT, Cap, Rate


def test_without_throttling_the_cap_is_the_setting() -> None:
    cap = Cap()
    for _ in range(100):
        cap.succeeded(limit=10)
    assert (cap.of(10), cap.of(3)) == (10, 3)


def test_each_throttling_halves_it_but_never_to_nothing() -> None:
    cap = Cap()
    seen = []
    for now in range(1, 6):
        cap.throttled(float(now), limit=10, begun=float(now))
        seen.append(cap.of(10))
    assert seen == [5, 2, 1, 1, 1]


def test_answers_to_what_was_sent_before_do_not_halve_it_again() -> None:
    cap = Cap()
    for _ in range(8):
        cap.throttled(2.0, limit=10, begun=1.0)
    assert cap.of(10) == 5


def test_it_recovers_slowly_and_then_wholly() -> None:
    cap = Cap()
    cap.throttled(1.0, limit=10, begun=0.0)
    for _ in range(9):
        cap.succeeded(limit=10)
    assert cap.of(10) == 5
    cap.succeeded(limit=10)
    assert cap.of(10) == 6
    for _ in range(40):
        cap.succeeded(limit=10)
    assert cap.of(20) == 20


def test_no_rate_is_no_limit() -> None:
    rate = Rate()
    rate.take(1.0, per_second=None)
    assert rate.allowed(1.0, per_second=None) == NO_LIMIT


@given(st.integers(1, 1_000), st.lists(st.floats(0, 0.3), min_size=1, max_size=60))
def test_no_second_has_more_than_its_rate_and_a_twentieth(
    per_second: int, pauses: list[float]
) -> None:
    rate, now, begun = Rate(), 100.0, []
    for pause in pauses:
        now += pause
        for _ in range(rate.allowed(now, per_second=per_second)):
            rate.take(now, per_second=per_second)
            begun.append(now)
    for start in begun:
        within = sum(start <= at < start + 1 for at in begun)
        assert within <= per_second * 1.05 + 2


@given(st.integers(1, 39))
def test_a_slow_rate_is_evenly_spread(per_second: int) -> None:
    rate = Rate()
    assert rate.allowed(5.0, per_second=per_second) == 1
    rate.take(5.0, per_second=per_second)
    assert rate.allowed(5.0, per_second=per_second) == 0
    wait = rate.wait_seconds(5.0)
    assert abs(wait - 1 / per_second) < 1e-9
    assert rate.allowed(5.0 + wait, per_second=per_second) == 1
