"""Waits between attempts: never early, never far late, and the same for the same attempt."""

from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.jobs.backoff import MAX_DELAY_SECONDS, AnyBackoff, Exponential, Fixed, Ladder

attempts = st.integers(1, 1_000)
rolls = st.floats(0, 1, exclude_max=True)
seconds = st.floats(0, 86_400)
steps = st.lists(st.floats(0.1, 90_000), min_size=1, max_size=12).map(tuple)
backoffs: st.SearchStrategy[AnyBackoff] = (
    st.builds(Exponential, seconds=seconds, factor=st.floats(1, 10))
    | st.builds(Fixed, seconds=seconds)
    | st.builds(Ladder, steps=steps)
)


@given(backoff=backoffs, attempt=attempts, roll=rolls)
def test_no_retry_comes_before_its_base(backoff: AnyBackoff, attempt: int, roll: float) -> None:
    base = min(backoff.base_seconds(attempt), MAX_DELAY_SECONDS)
    assert backoff.delay_seconds(attempt, dice=lambda: roll) >= base


@given(backoff=backoffs, attempt=attempts)
def test_without_luck_a_wait_is_its_base_and_no_more(backoff: AnyBackoff, attempt: int) -> None:
    base = min(backoff.base_seconds(attempt), MAX_DELAY_SECONDS)
    assert backoff.delay_seconds(attempt, dice=lambda: 0.0) == base


@given(
    backoff=st.builds(Exponential, seconds=seconds, factor=st.floats(1, 10))
    | st.builds(Fixed, seconds=seconds),
    attempt=attempts,
    roll=rolls,
)
def test_the_jitter_is_at_most_a_fifth(
    backoff: Exponential | Fixed, attempt: int, roll: float
) -> None:
    base = min(backoff.base_seconds(attempt), MAX_DELAY_SECONDS)
    assert backoff.delay_seconds(attempt, dice=lambda: roll) <= base * 1.2 * (1 + 1e-12)


@given(backoff=backoffs, attempt=attempts)
def test_no_wait_is_shorter_than_the_one_before_but_on_a_ladder(
    backoff: AnyBackoff, attempt: int
) -> None:
    if isinstance(backoff, Ladder):
        return
    assert backoff.base_seconds(attempt + 1) >= backoff.base_seconds(attempt)


@given(backoff=backoffs, attempt=attempts, roll=rolls)
def test_a_job_comes_back_within_nine_days_whatever_was_asked(
    backoff: AnyBackoff, attempt: int, roll: float
) -> None:
    delay = backoff.delay_seconds(attempt, dice=lambda: roll)
    assert 0 <= delay <= MAX_DELAY_SECONDS * 1.2 + 2


def test_the_default_is_two_four_eight_and_sixteen_seconds() -> None:
    waits = [Exponential().delay_seconds(attempt, dice=lambda: 0.0) for attempt in (1, 2, 3, 4)]
    assert waits == [2.0, 4.0, 8.0, 16.0]


def test_a_fixed_wait_is_five_seconds_unless_told_otherwise() -> None:
    assert [Fixed().delay_seconds(attempt, dice=lambda: 0.0) for attempt in (1, 9)] == [5.0, 5.0]


@given(ladder=st.builds(Ladder, steps=steps), attempt=attempts)
def test_a_ladder_takes_one_step_an_attempt_and_stays_on_the_last(
    ladder: Ladder, attempt: int
) -> None:
    assert ladder.base_seconds(attempt) == ladder.steps[min(attempt, len(ladder.steps)) - 1]


@given(ladder=st.builds(Ladder, steps=steps), attempt=attempts, roll=rolls)
def test_a_ladders_jitter_is_two_seconds_to_a_quarter_of_an_hour(
    ladder: Ladder, attempt: int, roll: float
) -> None:
    base = ladder.base_seconds(attempt)
    jitter = ladder.delay_seconds(attempt, dice=lambda: roll) - base
    assert jitter <= min(900.0, max(2.0, 0.2 * base)) + 1e-6
