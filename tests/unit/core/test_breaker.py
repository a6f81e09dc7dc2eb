"""The breaker in front of Redis, on a clock of its own."""

from novapulse.core.redis import Breaker


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened() -> tuple[Breaker, Time]:
    time = Time()
    breaker = Breaker(time)
    for _ in range(3):
        breaker.failed()
    return breaker, time


def test_two_failures_are_not_enough() -> None:
    breaker = Breaker(Time())
    breaker.failed()
    breaker.failed()
    assert not breaker.is_open


def test_three_failures_in_a_row_open_it() -> None:
    assert opened()[0].is_open


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = Breaker(Time())
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert not breaker.is_open


def test_after_two_seconds_it_lets_something_through() -> None:
    breaker, time = opened()
    time.now += 1.99
    assert breaker.is_open
    time.now += 0.02
    assert not breaker.is_open


def test_one_more_failure_opens_it_again_at_once() -> None:
    breaker, time = opened()
    time.now += 2.5
    breaker.failed()
    assert breaker.is_open


def test_it_closes_with_the_first_success() -> None:
    breaker, time = opened()
    time.now += 2.5
    breaker.succeeded()
    breaker.failed()
    assert not breaker.is_open
