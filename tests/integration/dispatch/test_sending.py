"""From a planned delivery to its receiver and the rows that tell of it."""

import asyncio
from datetime import timedelta
from typing import Any, NoReturn

import pytest

from novapulse.core.connector import NameResolver
from novapulse.core.events import EVENTS
from novapulse.core.exchange import LookupsBusy
from novapulse.core.jobs.rows import JOBS
from novapulse.core.networks import AddressPolicy
from novapulse.core.outbound import OutboundClient
from novapulse.deliveries.store import ATTEMPTS, DELIVERIES
from novapulse.dispatch.dispatcher import DeliveryLedger
from tests.support.dispatching import COMPANY, OTHER, House, Plan, Sink, open_house, until
from tests.support.stores import RunningStores


async def test_every_due_delivery_is_sent_once_and_recorded(house: House, there: Sink) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    events = await house.emit(50)
    async with house.dispatching():
        await house.until_states({"delivered": 50})
    assert there.ids("/a") == dict.fromkeys(events, 1)
    attempts = await house.rows(ATTEMPTS)
    assert {(row["class"], row["status"], row["attempt"]) for row in attempts} == {("ok", 200, 1)}
    assert {row["webhookId"] for row in attempts} == {webhook}
    assert {row["attempts"] for row in await house.deliveries()} == {1}
    assert {row["state"] for row in await house.rows(JOBS)} == {"completed"}


async def test_while_outcomes_are_recorded_others_are_too(
    house: House, there: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the bound on what is unrecorded lets one write at a time through."""
    under_way, most, finish = 0, 0, DeliveryLedger.finish

    async def slowly(self: DeliveryLedger, ended: Any) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.5)
        await finish(self, ended)
        under_way -= 1

    monkeypatch.setattr(DeliveryLedger, "finish", slowly)
    await house.subscribe(f"{there.url}/a")
    await house.emit(200)
    async with house.dispatching(drain_seconds=30):
        await house.until_states({"delivered": 200})
    assert most == 2


async def test_a_failed_attempt_is_followed_by_another_and_the_last_one_exhausts(
    house: House, there: Sink
) -> None:
    await house.subscribe(f"{there.url}/a", retries=1)
    there.plans["/a"] = Plan(500)
    await house.emit()
    async with house.dispatching():
        await house.until_states({"retry": 1})
        (row,) = await house.deliveries()
        assert (row["attempts"], row["status"], row["class"]) == (1, 500, "transient")
        assert row["dueAt"] - row["updatedAt"] >= timedelta(seconds=5)
        await house.hurry()
        await house.until_states({"exhausted": 1})
    first, second = there.at("/a")
    assert first.body == second.body
    assert [one.headers["x-novapulse-attempt"] for one in (first, second)] == ["1", "2"]
    (job,) = await house.rows(JOBS)
    assert job["state"] == "dead"


async def test_a_later_success_delivers(house: House, there: Sink) -> None:
    await house.subscribe(f"{there.url}/a")
    there.plans["/a"] = Plan(502)
    await house.emit()
    async with house.dispatching():
        await house.until_states({"retry": 1})
        there.plans.clear()
        await house.hurry()
        await house.until_states({"delivered": 1})
    (row,) = await house.deliveries()
    assert (row["attempts"], row["status"], row.get("reason")) == (2, 200, None)
    assert len(await house.rows(ATTEMPTS)) == 2


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_puts_the_next_attempt_off(
    house: House, there: Sink, status: int
) -> None:
    await house.subscribe(f"{there.url}/a")
    there.plans["/a"] = Plan(status, headers="Retry-After: 3600\r\n")
    await house.emit()
    async with house.dispatching():
        await house.until_states({"retry": 1})
    (row,) = await house.deliveries()
    assert row["class"] == "throttled"
    assert row["dueAt"] - row["updatedAt"] >= timedelta(hours=1)


async def test_a_receiver_that_is_gone_is_disabled_and_its_events_are_held(
    house: House, there: Sink
) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    there.plans["/a"] = Plan(410)
    await house.emit()
    async with house.dispatching():
        await house.until_states({"discarded": 1})

        async def is_disabled() -> bool:
            return bool((await house.webhook(webhook))["state"] == "disabled")

        await until(is_disabled, what="the webhook disabled")
        await house.emit(3)
        await house.until_states({"discarded": 1, "held": 3})
    assert (await house.webhook(webhook))["disabledReason"] == "gone"
    (told,) = await house.recorded("webhook.disabled")
    assert told["data"]["health"]["lastAnswer"]["status"] == 410
    assert len(there.told) == 1


async def test_a_target_that_is_not_allowed_is_discarded_at_once_and_told(house: House) -> None:
    await house.subscribe("http://169.254.169.254/latest")
    await house.emit()
    async with house.dispatching():
        await house.until_states({"discarded": 1})

        async def was_told() -> bool:
            return bool(await house.recorded("webhook.failing"))

        await until(was_told, what="webhook.failing")
    (row,) = await house.rows(ATTEMPTS)
    assert (row["class"], row["peerIp"]) == ("blocked", None)


async def test_a_delivery_whose_event_is_gone_is_discarded(house: House, there: Sink) -> None:
    await house.subscribe(f"{there.url}/a")
    await house.emit()
    await house.db.platform(EVENTS).delete_many({})
    async with house.dispatching():
        await house.until_states({"discarded": 1})
    assert there.told == []


async def test_what_one_company_does_is_not_seen_by_another(house: House, there: Sink) -> None:
    await house.subscribe(f"{there.url}/mine")
    await house.subscribe(f"{there.url}/theirs", company_id=OTHER)
    await house.emit(3)
    async with house.dispatching():
        await house.until_states({"delivered": 3})
    assert {one.path for one in there.told} == {"/mine"}


async def test_planning_twice_plans_once(house: House, there: Sink) -> None:
    await house.subscribe(f"{there.url}/a")
    made = house.events(5, "task.created", company_id=COMPANY)
    await house.plan(made)
    await house.db.platform(EVENTS).delete_many({})
    await house.plan(made)
    assert await house.states() == {"pending": 5}
    assert len(await house.rows(JOBS)) == 5


class _Busy(NameResolver):
    async def resolve(self, *_: object, **__: object) -> NoReturn:
        raise LookupsBusy(None, "too many name lookups are hanging")


@pytest.mark.parametrize("way_out", ["proxy", "names"])
async def test_an_own_fault_spends_no_attempt(
    stores: RunningStores, there: Sink, way_out: str
) -> None:
    """A proxy that does not answer, or names that can not be looked up: the delivery waits."""
    async with open_house(stores) as house:
        await house.subscribe("http://well.example.com/")
        await house.emit()
        if way_out == "proxy":
            await house.break_way_out()
        else:
            await house.runtime.feature(OutboundClient).aclose()
            house.runtime.add(OutboundClient(AddressPolicy(()), resolver=_Busy(3.0)))
        async with house.dispatching() as dispatcher:

            async def was_tried() -> bool:
                (job,) = await house.rows(JOBS)
                return bool(job["state"] == "retryable")

            await until(was_tried, what="the job snoozed")
            assert [seat.breaker.remembers for seat in dispatcher.board.seats.values()] == [False]
        (job,) = await house.rows(JOBS)
        assert job["attempt"] == 0
        assert await house.states() == {"pending": 1}
        assert await house.rows(ATTEMPTS) == []


async def test_ended_rows_go_away_after_their_time(house: House, there: Sink) -> None:
    await house.subscribe(f"{there.url}/a")
    await house.emit()
    async with house.dispatching():
        await house.until_states({"delivered": 1})
    settings = house.runtime.settings.webhooks
    for collection, days in (
        (DELIVERIES, settings.delivery_keep_days),
        (ATTEMPTS, settings.attempt_keep_days),
    ):
        (row,) = await house.rows(collection)
        assert row["expiresAt"] - row["createdAt"] == timedelta(days=days)
        indexes = await house.db.raw[collection].index_information()
        assert indexes["expiry"]["key"] == [("expiresAt", 1)]
        assert indexes["expiry"]["expireAfterSeconds"] == 0
