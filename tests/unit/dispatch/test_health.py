"""What is told of a failing webhook, and when it is beyond hope."""

from datetime import UTC, datetime, timedelta

import pytest

from novapulse.deliveries.model import AnswerClass, LastAnswer
from novapulse.dispatch.health import Told, Vitals, vitals_of

START = datetime(2026, 11, 23, 8, tzinfo=UTC)


def answer(after: timedelta, *, ok: bool = False) -> LastAnswer:
    result = AnswerClass.OK if ok else AnswerClass.TRANSIENT
    return LastAnswer(result=result, status=200 if ok else 500, error=None, at=START + after)


def failed(*after: timedelta) -> Vitals:
    vitals = Vitals("w", "c")
    for one in after:
        vitals.failed(answer(one))
    return vitals


def test_nothing_is_told_of_a_few_failures() -> None:
    assert failed(timedelta(0), timedelta(minutes=5)).to_tell() is Told.NOTHING


def test_an_opened_circuit_is_told() -> None:
    vitals = failed(timedelta(0))
    vitals.circuit(START.timestamp(), START.timestamp() + 30, clock=START)
    assert vitals.to_tell() is Told.FAILING
    assert vitals.open_until == START + timedelta(seconds=30)


@pytest.mark.parametrize(
    ("lasting", "told"),
    [
        (timedelta(hours=23), Told.NOTHING),
        (timedelta(hours=24), Told.FOR_A_DAY),
        (timedelta(days=3, hours=23), Told.FOR_A_DAY),
        (timedelta(days=4), Told.FOR_DAYS),
    ],
)
def test_people_are_reminded(lasting: timedelta, told: Told) -> None:
    assert failed(timedelta(0), lasting).to_tell() is told


@pytest.mark.parametrize(
    ("lasting", "hopeless"),
    [(timedelta(days=4, hours=23), False), (timedelta(days=5), True)],
)
def test_five_days_of_failures_are_enough(lasting: timedelta, hopeless: bool) -> None:
    assert failed(timedelta(0), lasting).is_hopeless() is hopeless


def test_one_failure_long_ago_is_not_enough() -> None:
    assert not failed(timedelta(0)).is_hopeless()


def test_a_success_starts_the_days_anew() -> None:
    vitals = failed(timedelta(0), timedelta(days=4))
    vitals.succeeded(answer(timedelta(days=4, hours=1), ok=True))
    vitals.failed(answer(timedelta(days=6)))
    assert vitals.failing_since == START + timedelta(days=6)
    assert not vitals.is_hopeless()


def test_what_was_written_is_read_again() -> None:
    vitals = failed(timedelta(0), timedelta(hours=1))
    vitals.circuit(START.timestamp(), START.timestamp() + 60, clock=START)
    read = vitals_of("w", "c", {"_id": "w", **vitals.row(), "told": 2})
    assert read.health() == vitals.health()
    assert read.opened_at == vitals.opened_at
    assert read.told is Told.FOR_A_DAY
