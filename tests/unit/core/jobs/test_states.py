"""What becomes of a job when an attempt ends: bounded, and final where it is final."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.jobs.backoff import Exponential, Fixed
from novapulse.core.jobs.states import (
    CLAIMABLE_STATES,
    TERMINAL,
    Cancelled,
    GiveUp,
    Outcome,
    Retry,
    Snooze,
    State,
    can_become,
    outcome_of,
)

numbers = st.integers(1, 50)
ordinary = st.one_of(
    st.builds(ValueError, st.text()),
    st.builds(Retry, st.text(), after_seconds=st.none() | st.floats(-10, 1e6)),
    st.builds(TimeoutError, st.text()),
    st.just(OSError()),
)
whatever = st.one_of(
    st.none(),
    ordinary,
    st.builds(GiveUp, st.text()),
    st.builds(Cancelled, st.text()),
    st.builds(Snooze, st.text(), seconds=st.floats(-10, 1e6)),
)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


def ended(error: BaseException | None, *, attempt: int = 1, most: int = 5) -> Outcome:
    return outcome_of(error, attempt=attempt, max_attempts=most, backoff=Exponential())


@given(error=whatever, attempt=numbers, most=numbers)
def test_an_attempt_ends_only_where_a_running_job_may_go(
    error: BaseException | None, attempt: int, most: int
) -> None:
    assert can_become(State.RUNNING, ended(error, attempt=attempt, most=most).state)


@given(before=st.sampled_from(TERMINAL), after=st.sampled_from(State))
def test_nothing_leaves_a_terminal_state(before: State, after: State) -> None:
    assert not can_become(before, after)


def test_every_other_state_can_reach_an_end() -> None:
    reached = set(TERMINAL)
    while more := {a for a in State for b in reached if a not in reached and can_become(a, b)}:
        reached |= more
    assert reached == set(State)


@pytest.mark.parametrize("state", CLAIMABLE_STATES)
def test_a_waiting_job_can_run_and_be_cancelled(state: State) -> None:
    assert can_become(state, State.RUNNING)
    assert can_become(state, State.CANCELLED)


@given(errors=st.lists(ordinary, min_size=60, max_size=60), most=numbers)
def test_a_job_that_fails_each_time_is_dead_after_its_attempts(
    errors: list[BaseException], most: int
) -> None:
    states = [
        ended(error, attempt=attempt, most=most).state
        for attempt, error in enumerate(errors, start=1)
    ]
    assert states[: most - 1] == [State.RETRYABLE] * (most - 1)
    assert set(states[most - 1 :]) == {State.DEAD}


@given(error=st.builds(Snooze, st.text(), seconds=st.floats(-10, 1e6)), attempt=numbers)
def test_a_snooze_spends_no_attempt_and_never_looks_back(error: Snooze, attempt: int) -> None:
    outcome = ended(error, attempt=attempt)
    assert (outcome.state, outcome.spends_attempt) == (State.RETRYABLE, False)
    assert outcome.delay_seconds >= 0


@given(attempt=numbers, most=numbers)
def test_giving_up_is_final_at_once(attempt: int, most: int) -> None:
    assert ended(GiveUp("no"), attempt=attempt, most=most) == Outcome(State.DEAD, reason="no")


def test_a_handlers_own_wait_replaces_the_backoff() -> None:
    assert ended(Retry("later", after_seconds=77.0)).delay_seconds == 77.0


@given(attempt=st.integers(1, 4))
def test_a_failure_waits_as_its_backoff_says(attempt: int) -> None:
    backoff = Fixed(seconds=3.0, jitter=0.0)
    outcome = outcome_of(ValueError(), attempt=attempt, max_attempts=5, backoff=backoff)
    assert outcome.delay_seconds == 3.0


@given(text=st.text(st.characters(), max_size=2_000))
def test_what_is_kept_of_an_error_is_short_and_can_be_stored(text: str) -> None:
    for error in (ValueError(text), GiveUp(text), Snooze(text, seconds=1)):
        reason = ended(error).reason
        assert len(reason) <= 500
        reason.encode()


def test_an_error_with_a_broken_text_is_kept_as_what_can_be_said() -> None:
    assert ended(ValueError("file \udcff")).reason == "ValueError: file ?"
    assert ended(Unprintable()).reason == "Unprintable: (no text)"
