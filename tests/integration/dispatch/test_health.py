"""A receiver that fails: its circuit, who is told when, and when it is disabled.

The clock stands still unless a test moves it; only the ledger's times are real.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest

from novapulse.core.errors import Unavailable
from novapulse.core.mongo import Rows
from novapulse.deliveries import store
from novapulse.deliveries.model import AnswerClass, LastAnswer
from novapulse.deliveries.store import ATTEMPTS, HEALTH
from novapulse.dispatch.dispatcher import Dispatcher
from novapulse.dispatch.health import Keeper, Vitals
from tests.support.dispatching import COMPANY, House, Plan, Sink, StillClock, open_house, until
from tests.support.stores import RunningStores

_clock = StillClock()


@pytest.fixture(scope="module")
async def shared_house(stores: RunningStores) -> AsyncIterator[House]:
    async with open_house(stores, clock=_clock) as opened:
        yield opened


@pytest.fixture
def clock() -> StillClock:
    _clock.reset()
    return _clock


async def pass_time(
    house: House, dispatcher: Dispatcher, clock: StillClock, *, seconds: int, step: int = 10
) -> None:
    """Let the dispatcher do in each step what there is to do."""
    for _ in range(0, seconds, step):
        clock.jump(timedelta(seconds=step))
        house.ring()
        await asyncio.sleep(0.03)
        await until(lambda: not dispatcher.board.in_flight, what="the attempts to end")


async def told(house: House, event_type: str) -> int:
    return len(await house.recorded(event_type))


async def until_told(house: House, event_type: str, number: int) -> None:
    async def was_told() -> bool:
        return await told(house, event_type) == number

    await until(was_told, what=f"{number} of {event_type}")


async def test_a_dead_receiver_sees_few_requests_and_recovers_soon(
    house: House, there: Sink, clock: StillClock
) -> None:
    """1,000 are due: at most 30 requests in five minutes, and within one after it is mended."""
    await house.subscribe(f"{there.url}/a")
    there.plans["/a"] = Plan(500)
    await house.emit(1_000)
    async with house.dispatching() as dispatcher:
        await until(lambda: len(there.told) >= 10, what="the first attempts")
        await pass_time(house, dispatcher, clock, seconds=300)
        assert 15 <= len(there.told) <= 30, len(there.told)
        spent = len(await house.rows(ATTEMPTS))
        assert spent == len(there.told)
        (seat,) = dispatcher.board.seats.values()
        assert seat.breaker.is_open
        there.plans.clear()
        await pass_time(house, dispatcher, clock, seconds=60)
        assert not seat.breaker.is_open
        await until(lambda: len(there.told) >= 900, what="the backlog", seconds=90)
    await until_told(house, "webhook.recovered", 1)


async def test_an_open_circuit_spends_no_attempts(
    house: House, there: Sink, clock: StillClock
) -> None:
    await house.subscribe(f"{there.url}/a")
    there.plans["/a"] = Plan(500)
    await house.emit(40)
    async with house.dispatching() as dispatcher:
        await until(lambda: len(there.told) >= 10, what="the first attempts")
        await pass_time(house, dispatcher, clock, seconds=20)
        seen = len(there.told)
        await house.emit(40)
        await pass_time(house, dispatcher, clock, seconds=5, step=5)
        assert len(there.told) == seen < 20
    states = await house.states()
    assert states["pending"] == 80 - seen
    assert states["retry"] == seen


async def test_a_circuit_stays_open_over_a_restart(
    house: House, there: Sink, clock: StillClock
) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    there.plans["/a"] = Plan(500)
    await house.emit(40)
    async with house.dispatching():
        await until(lambda: len(there.told) >= 10, what="the first attempts")
        await until_told(house, "webhook.failing", 1)
    seen = len(there.told)
    health = await store.health_of(house.db.tenant(COMPANY), [webhook])
    until_then = health[webhook].circuit_open_until
    assert until_then is not None
    assert until_then > clock()
    async with house.dispatching() as dispatcher:
        await pass_time(house, dispatcher, clock, seconds=10, step=5)
        assert len(there.told) == seen


@pytest.mark.parametrize("error", [None, Unavailable(), asyncio.CancelledError()])
async def test_what_changes_while_it_is_written_is_written_too(
    house: House, there: Sink, monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    vitals, bulk = Vitals(webhook, COMPANY), Rows.bulk
    keeper = Keeper(house.runtime, {webhook: vitals})
    at = house.runtime.clock()

    async def change_and_write(self: Rows, writes: Any) -> int:
        vitals.circuit(at.timestamp(), at.timestamp() + 30, clock=at)
        if error is not None:
            raise error
        return await bulk(self, writes)

    vitals.reset()  # it was resumed just now
    vitals.failed(LastAnswer(result=AnswerClass.TRANSIENT, status=500, error=None, at=at))
    with monkeypatch.context() as meanwhile, suppress(Unavailable, asyncio.CancelledError):
        meanwhile.setattr(Rows, "bulk", change_and_write)
        await keeper.flush()
    await keeper.flush()
    health = await store.health_of(house.db.tenant(COMPANY), [webhook])
    assert health[webhook].failing_since == at
    assert health[webhook].circuit_open_until == at + timedelta(seconds=30)
    vitals.is_dirty = True
    await keeper.flush()
    row = await house.db.platform(HEALTH).find_one({"_id": webhook})
    assert row is not None
    assert row["told"] == await told(house, "webhook.failing") == 1


async def test_people_are_told_at_first_after_a_day_after_four_and_at_the_end(
    house: House, there: Sink, clock: StillClock
) -> None:
    webhook = await house.subscribe(f"{there.url}/a", retries=0)
    there.plans["/a"] = Plan(500)
    await house.emit(12)
    async with house.dispatching():
        await until_told(house, "webhook.failing", 1)
        for days, number in ((1, 2), (3, 3)):
            clock.jump(timedelta(days=days))
            await house.emit()
            await until_told(house, "webhook.failing", number)
        assert (await house.webhook(webhook))["state"] == "active"
        clock.jump(timedelta(days=1))
        await house.emit()
        await until_told(house, "webhook.disabled", 1)
        assert await told(house, "webhook.failing") == 3
        row = await house.webhook(webhook)
        assert (row["state"], row["disabledReason"], row["isActive"]) == (
            "disabled",
            "failing",
            False,
        )


async def test_events_of_a_disabled_webhook_are_held_and_released_when_it_is_resumed(
    house: House, there: Sink, clock: StillClock
) -> None:
    webhook = await house.subscribe(f"{there.url}/a", retries=0)
    there.plans["/a"] = Plan(500)
    await house.emit(2)
    async with house.dispatching():
        await house.until_states({"exhausted": 2})
        clock.jump(timedelta(days=5))
        await house.emit(1)
        await until_told(house, "webhook.disabled", 1)
        events = await house.emit(5)
        await house.until_states({"exhausted": 3, "held": 5})
        there.plans.clear()
        await house.set_state(webhook, is_active=True)
        await house.until_states({"exhausted": 3, "delivered": 5})
    assert {one.event_id for one in there.told[-5:]} == set(events)
    assert (await house.webhook(webhook))["state"] == "active"


async def test_a_resumed_webhook_that_fails_again_has_five_days_again(
    house: House, there: Sink, clock: StillClock
) -> None:
    webhook = await house.subscribe(f"{there.url}/a", retries=0)
    there.plans["/a"] = Plan(500)
    await house.emit(1)
    async with house.dispatching():
        await house.until_states({"exhausted": 1})
        clock.jump(timedelta(days=6))
        await house.emit(1)
        await until_told(house, "webhook.disabled", 1)
    await house.set_state(webhook, is_active=True)
    async with house.dispatching():
        clock.jump(timedelta(hours=1))
        await house.emit(1)
        await house.until_states({"exhausted": 3})
        await asyncio.sleep(1.2)  # health is looked at once a second
    assert await told(house, "webhook.disabled") == 1
    assert (await house.webhook(webhook))["state"] == "active"


async def test_one_success_starts_the_days_anew(
    house: House, there: Sink, clock: StillClock
) -> None:
    webhook = await house.subscribe(f"{there.url}/a", retries=0)
    there.plans["/a"] = Plan(500)
    async with house.dispatching():
        for day in range(8):
            there.plans["/a"] = Plan(200 if day == 4 else 500)
            await house.emit(1)
            await until(lambda day=day: len(there.told) == day + 1, what="the attempt")
            clock.jump(timedelta(days=1))
        await house.until_states({"exhausted": 7, "delivered": 1})
        await asyncio.sleep(1.2)  # health is looked at once a second
    assert (await house.webhook(webhook))["state"] == "active"
    assert await told(house, "webhook.disabled") == 0


async def test_whom_nobody_saw_paused_has_five_days_anew_when_he_is_resumed(
    house: House, there: Sink, clock: StillClock
) -> None:
    """The dispatcher was started again in between: it knows only what is written."""
    webhook = await house.subscribe(f"{there.url}/a", retries=0)
    there.plans["/a"] = Plan(500)
    await house.emit(1)
    async with house.dispatching():
        await house.until_states({"exhausted": 1})
    await house.set_state(webhook, is_active=False)
    clock.jump(timedelta(days=7))
    await house.set_state(webhook, is_active=True)
    async with house.dispatching():
        for number, later in enumerate((timedelta(hours=1), timedelta(days=5)), start=2):
            assert (await house.webhook(webhook))["state"] == "active"
            clock.jump(later)
            await house.emit(1)
            await house.until_states({"exhausted": number})
            await asyncio.sleep(1.2)  # health is looked at once a second
    assert await told(house, "webhook.disabled") == 1


async def test_who_was_resumed_is_told_of_anew(
    house: House, there: Sink, clock: StillClock
) -> None:
    webhook = await house.subscribe(f"{there.url}/a", retries=0)
    there.plans["/a"] = Plan(500)
    async with house.dispatching():
        for number in (1, 2):
            await house.emit(12)
            await until_told(house, "webhook.failing", number)
            await house.set_state(webhook, is_active=False)
            clock.jump(timedelta(hours=1))
            await house.set_state(webhook, is_active=True)
            clock.jump(timedelta(minutes=1))


def answered(at: datetime, *, ok: bool = False) -> LastAnswer:
    result = AnswerClass.OK if ok else AnswerClass.TRANSIENT
    return LastAnswer(result=result, status=200 if ok else 500, error=None, at=at)


async def test_what_another_dispatcher_delivered_counts_as_a_success(
    house: House, clock: StillClock
) -> None:
    """One sees two failures, five days apart; the other a success between them."""
    webhook = await house.subscribe("http://127.0.0.1:9/")
    one, other = Vitals(webhook, COMPANY), Vitals(webhook, COMPANY)
    keepers = [Keeper(house.runtime, {webhook: vitals}) for vitals in (one, other)]
    one.failed(answered(clock()))
    await keepers[0].flush()
    clock.jump(timedelta(days=4, hours=23))
    other.succeeded(answered(succeeded_at := clock(), ok=True))
    await keepers[1].flush()
    clock.jump(timedelta(hours=1))
    one.failed(answered(failed_at := clock()))
    for _ in range(2):
        await keepers[0].flush()
    assert (await house.webhook(webhook))["state"] == "active"
    assert await told(house, "webhook.failing") == 0
    (row,) = await house.rows(HEALTH)
    assert timedelta(0) <= failed_at - row["failingSince"] < timedelta(milliseconds=1)
    assert timedelta(0) <= succeeded_at - row["lastSuccessAt"] < timedelta(milliseconds=1)
    clock.jump(timedelta(days=5))
    one.failed(answered(clock()))
    await keepers[0].flush()
    assert (await house.webhook(webhook))["state"] == "disabled"


async def test_a_resume_that_was_not_read_yet_is_no_reason_to_disable_again(
    house: House, clock: StillClock
) -> None:
    webhook = await house.subscribe("http://127.0.0.1:9/")
    vitals = Vitals(webhook, COMPANY)
    keeper = Keeper(house.runtime, {webhook: vitals})
    vitals.failed(answered(clock()))
    await house.set_state(webhook, is_active=False)
    clock.jump(timedelta(days=7))
    await house.set_state(webhook, is_active=True)
    clock.jump(timedelta(seconds=1))
    vitals.failed(answered(clock()))
    await keeper.flush()
    assert (await house.webhook(webhook))["state"] == "active"
    assert vitals.failing_since is None
