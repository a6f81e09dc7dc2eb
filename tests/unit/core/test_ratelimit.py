import pytest

from novapulse.core.ratelimit import LocalWindow, Verdict
from novapulse.core.settings.rates import Rate


@pytest.mark.parametrize("is_allowed", [True, False])
def test_the_headers_tell_the_limit_what_is_left_and_when_it_turns(is_allowed: bool) -> None:
    verdict = Verdict(is_allowed, limit=100, remaining=7, reset_seconds=12, window_seconds=60)
    assert dict(verdict.headers) == {
        "ratelimit": '"default";r=7;t=12',
        "ratelimit-policy": '"default";q=100;w=60',
    }


class Time:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_without_redis_a_process_counts_by_itself() -> None:
    window = LocalWindow(Time())
    verdicts = [window.check("a", Rate(3, 60)) for _ in range(5)]
    assert [verdict.is_allowed for verdict in verdicts] == [True, True, True, False, False]
    assert [verdict.remaining for verdict in verdicts] == [2, 1, 0, 0, 0]
    assert window.check("b", Rate(3, 60)).is_allowed


def test_its_window_slides_and_ends() -> None:
    time = Time()
    time.now = 60 * 10_000.0
    window, rate = LocalWindow(time), Rate(4, 60)
    assert all(window.check("a", rate).is_allowed for _ in range(4))
    time.now += 60
    assert not window.check("a", rate).is_allowed, "what was counted has not faded yet"
    time.now += 30
    assert [window.check("a", rate).is_allowed for _ in range(3)] == [True, True, False]
    time.now += 600
    assert all(window.check("a", rate).is_allowed for _ in range(4))


def test_its_memory_is_bounded() -> None:
    window = LocalWindow(max_keys=100)
    for number in range(1_000):
        window.check(str(number), Rate(5, 60))
    assert len(window._windows) == 100
