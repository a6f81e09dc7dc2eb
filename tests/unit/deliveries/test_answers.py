"""What a receiver's answer means, and when it wants to be asked again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.jobs.states import Retry, State, outcome_of
from novapulse.deliveries.answers import (
    FINAL,
    MAX_RETRY_AFTER_SECONDS,
    SCHEDULE,
    classify,
    delay_seconds,
    retry_after_seconds,
)
from novapulse.deliveries.model import AnswerClass

NOW = datetime(2026, 11, 23, 15, 18, 0, 500_000, tzinfo=UTC)
CLASSES = {
    AnswerClass.OK: (200, 201, 202, 204, 206, 226, 299),
    AnswerClass.REDIRECT: (300, 301, 302, 303, 304, 307, 308, 399),
    AnswerClass.GONE: (410,),
    AnswerClass.THROTTLED: (429, 503),
    AnswerClass.TRANSIENT: (408, 500, 501, 502, 504, 507, 520, 599),
    AnswerClass.REJECTED: (400, 401, 402, 403, 404, 405, 409, 411, 413, 415, 421, 422, 451, 499),
}


@pytest.mark.parametrize(
    ("status", "expected"), [(status, one) for one, group in CLASSES.items() for status in group]
)
def test_a_status_has_its_class(status: int, expected: AnswerClass) -> None:
    assert classify(status, {}) is expected


@pytest.mark.parametrize("status", [200, 302, 404, 429, 500])
@pytest.mark.parametrize("said", ["disable", " Disable ", "DISABLE"])
def test_a_receiver_may_unsubscribe_with_any_answer(status: int, said: str) -> None:
    assert classify(status, {"webhook-delivery": said}) is AnswerClass.GONE


@pytest.mark.parametrize("said", ["", "enabled", "disabled", "no"])
def test_other_words_do_not_unsubscribe(said: str) -> None:
    assert classify(200, {"webhook-delivery": said}) is AnswerClass.OK


@given(st.integers(100, 999), st.dictionaries(st.text(), st.text()))
def test_every_answer_has_a_class(status: int, headers: dict[str, str]) -> None:
    assert isinstance(classify(status, headers), AnswerClass)


def test_nothing_is_tried_again_after_a_final_answer() -> None:
    assert set(FINAL) == {AnswerClass.GONE, AnswerClass.BLOCKED}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0), ("1", 1), (" 120 ", 120), ("86400", 86400), ("86401", 86400), ("9" * 40, 86400)],
)
def test_seconds_to_wait_are_at_most_a_day(value: str, seconds: float) -> None:
    assert retry_after_seconds(value, NOW) == seconds


@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        (timedelta(seconds=90.5), 90),
        (timedelta(days=3), MAX_RETRY_AFTER_SECONDS),
        (timedelta(seconds=-30), 0),
        (timedelta(days=-4000), 0),
    ],
)
def test_a_date_to_wait_for_is_at_most_a_day_ahead(after: timedelta, seconds: float) -> None:
    value = format_datetime((NOW + after).replace(microsecond=0), usegmt=True)
    assert 0 <= retry_after_seconds(value, NOW) - seconds <= 1


def test_a_date_is_never_waited_for_too_short() -> None:
    value = format_datetime((NOW + timedelta(seconds=10)).replace(microsecond=0), usegmt=True)
    waited = NOW + timedelta(seconds=retry_after_seconds(value, NOW) or 0)
    assert waited >= (NOW + timedelta(seconds=10)).replace(microsecond=0)


@pytest.mark.parametrize(
    "value",
    [
        "Mon, 23 Nov 2026 15:19:00 GMT",
        "Mon, 23 Nov 2026 16:19:00 +0100",
        "Mon, 23 Nov 2026 15:19:00",
        "Monday, 23-Nov-26 15:19:00 GMT",
        "Mon Nov 23 15:19:00 2026",
    ],
)
def test_a_date_is_read_in_its_spellings(value: str) -> None:
    assert retry_after_seconds(value, NOW) == 60


@pytest.mark.parametrize("value", [None, "", " ", "soon", "-5", "+5", "1.5", "1e3", "٣", "12 s"])
def test_what_says_nothing_is_not_waited_for(value: str | None) -> None:
    assert retry_after_seconds(value, NOW) is None


@given(st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2}, ?[0-9]{1,5} [A-Z][a-z]{2} .{0,30}"))
def test_whatever_a_receiver_sends_is_bounded(value: str) -> None:
    seconds = retry_after_seconds(value, NOW)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_SECONDS


@pytest.mark.parametrize(
    "value",
    [
        "Mon, 23 Nov 2026 15:19:00 +99999999999999999999",
        "Mon, 23 Nov 2026 15:19:00 +9999",
        "Mon, 23 Nov 99999 15:19:00 GMT",
        "Mon, 01 Jan 0001 00:00:00 +1400",
        "Fri, 31 Dec 9999 23:59:59 -1400",
        "Mon, 23 Nov 2026 25:61:61 GMT",
        "Mon, 99 Nov 2026 15:19:00 GMT",
    ],
)
def test_an_impossible_date_is_no_bug_of_ours(value: str) -> None:
    seconds = retry_after_seconds(value, NOW)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_SECONDS


def test_the_schedule_runs_from_seconds_to_a_day() -> None:
    waits = [SCHEDULE.base_seconds(attempt) for attempt in range(1, 13)]
    minutes, hours = 60, 3600
    assert waits == [
        *(5, 5 * minutes, 30 * minutes, 2 * hours, 5 * hours, 10 * hours),
        *(14 * hours, 20 * hours, 24 * hours, 24 * hours, 24 * hours, 24 * hours),
    ]


FAILED = [one for one in AnswerClass if one not in (AnswerClass.OK, *FINAL, AnswerClass.INFRA)]
rolls = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 21), st.sampled_from(FAILED), st.integers(0, 200_000), rolls)
def test_no_attempt_comes_before_the_schedule_or_what_a_throttled_receiver_asked(
    failures: int, result: AnswerClass, asked: int, roll: float
) -> None:
    def roll_it() -> float:
        return roll

    delay = delay_seconds(failures, result, retry_after=str(asked), now=NOW, dice=roll_it)
    assert delay >= SCHEDULE.steps[min(failures, 9) - 1]
    if result is AnswerClass.THROTTLED:
        assert delay >= min(asked, MAX_RETRY_AFTER_SECONDS)
    assert delay <= MAX_RETRY_AFTER_SECONDS + 900


@given(st.integers(0, 20), st.lists(st.sampled_from(FAILED), min_size=21, max_size=21))
def test_a_delivery_that_always_fails_ends_with_its_last_retry(
    retries: int, results: list[AnswerClass]
) -> None:
    attempt, state = 0, State.RETRYABLE
    while state is State.RETRYABLE:
        attempt += 1
        delay = delay_seconds(attempt, results[attempt - 1], retry_after=None, now=NOW)
        error = Retry("failed", after_seconds=delay)
        outcome = outcome_of(error, attempt=attempt, max_attempts=retries + 1, backoff=SCHEDULE)
        state = outcome.state
    assert (state, attempt) == (State.DEAD, retries + 1)
