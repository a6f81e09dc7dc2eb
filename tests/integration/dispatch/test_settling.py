"""Pausing, resuming, deleting, replaying and recovering, also while something is on its way."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import msgspec
import pytest

from novapulse.core.context import Transaction
from novapulse.core.errors import Invalid, NotFound, TransientConflict
from novapulse.core.events import EVENTS
from novapulse.core.jobs.rows import JOBS
from novapulse.core.mongo import Document
from novapulse.deliveries import service, settling, store
from novapulse.deliveries.model import (
    Delivery,
    DeliveryState,
    NotReplayable,
    Trigger,
    WebhookInactive,
)
from novapulse.deliveries.store import ATTEMPTS
from novapulse.subscriptions.store import SubscriptionStore
from tests.support.dispatching import COMPANY, OTHER, House, Plan, Sink, open_house, until
from tests.support.stores import RunningStores


async def replay(house: House, delivery_id: str) -> Delivery:
    """As the API does: a conflict is tried again."""
    while True:
        try:
            return await service.replay(house.context(), delivery_id)
        except TransientConflict:
            await asyncio.sleep(0.01)


async def one_failed(house: House, there: Sink, *, retries: int = 3) -> Document:
    """A delivery whose first attempt was answered 500; the receiver is well by now."""
    await house.subscribe(f"{there.url}/a", retries=retries)
    there.plans["/a"] = Plan(500)
    await house.emit()
    async with house.dispatching():
        await house.until_states({"retry" if retries else "exhausted": 1})
    there.plans.clear()
    (row,) = await house.deliveries()
    return row


async def test_what_waits_for_a_paused_webhook_is_held_and_then_sent_once(
    house: House, there: Sink
) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    events = await house.emit(700)
    await house.set_state(webhook, is_active=False)
    async with house.dispatching():
        await house.until_states({"held": 700})
        events += await house.emit(3)
        await house.until_states({"held": 703})
        assert [row for row in await house.rows(JOBS) if row["state"] == "available"] == []
        await house.set_state(webhook, is_active=True)
        await house.until_states({"delivered": 703})
    assert there.ids("/a") == dict.fromkeys(events, 1)


async def test_pausing_and_resuming_in_a_row_neither_loses_nor_doubles(
    house: House, there: Sink
) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    events: list[str] = []
    async with house.dispatching():
        for _ in range(6):
            events += await house.emit(20)
            await house.set_state(webhook, is_active=False)
            events += await house.emit(20)
            await house.set_state(webhook, is_active=True)
        await house.until_states({"delivered": 240})
    assert there.ids("/a") == dict.fromkeys(events, 1)


async def test_a_scheduled_retry_of_a_paused_webhook_goes_on_where_it_was(
    house: House, there: Sink
) -> None:
    row = await one_failed(house, there)
    await house.set_state(row["webhookId"], is_active=False)
    async with house.dispatching():
        await house.until_states({"held": 1})
        await house.set_state(row["webhookId"], is_active=True)
        await house.until_states({"delivered": 1})
    assert [one.headers["x-novapulse-attempt"] for one in there.told] == ["1", "2"]
    (job,) = await house.rows(JOBS, kind="webhook.deliver")
    assert job["maxAttempts"] == 3  # of four, one was spent before


async def test_an_attempt_under_way_when_its_webhook_is_paused_ends_and_is_held(
    house: House, there: Sink
) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    there.plans["/a"] = Plan(500, seconds=1.5)
    await house.emit()
    async with house.dispatching():
        await until(lambda: there.under_way["/a"] == 1, what="the attempt under way")
        sending = await store.sending_ids(house.db, house.db.tenant(COMPANY))
        assert sending == {(await house.deliveries())[0]["_id"]}
        await house.set_state(webhook, is_active=False)
        await house.emit()  # makes the dispatcher look at the webhook again
        await house.until_states({"held": 2})
    assert len(there.told) == 1
    assert len(await house.rows(ATTEMPTS)) == 1


async def test_what_a_deleted_webhook_still_had_is_discarded(house: House, there: Sink) -> None:
    row = await one_failed(house, there)
    there.plans["/a"] = Plan(500, seconds=0.3)
    async with house.dispatching():
        await house.emit(20)
        await until(lambda: there.under_way["/a"] > 0, what="attempts under way")
        await house.delete(row["webhookId"])
        await until(lambda: not there.under_way["/a"], what="their end")
        await house.hurry()

        async def all_gone() -> bool:
            await house.hurry()
            return await house.states() == {"discarded": 21}

        await until(all_gone, what="all discarded")
        seen = len(there.told)
        await asyncio.sleep(0.2)
        assert len(there.told) == seen
    assert await house.rows(JOBS, state="retryable") == []


async def test_a_replay_is_a_new_delivery_of_the_same_event_and_bytes(
    house: House, there: Sink
) -> None:
    await house.subscribe(f"{there.url}/a")
    await house.emit()
    async with house.dispatching():
        await house.until_states({"delivered": 1})
        (row,) = await house.deliveries()
        made = await replay(house, row["_id"])
        assert (made.event_id, made.replay, made.trigger) == (row["eventId"], 1, Trigger.REPLAY)
        assert made.id != row["_id"]
        await house.until_states({"delivered": 2})
    first, second = there.told
    assert first.body == second.body
    assert first.event_id == second.event_id
    assert first.headers["x-novapulse-delivery"] != second.headers["x-novapulse-delivery"]


async def test_parallel_replays_are_one_delivery_each(house: House, there: Sink) -> None:
    row = await one_failed(house, there, retries=0)
    made = await asyncio.gather(*(replay(house, row["_id"]) for _ in range(5)))
    assert sorted(one.replay for one in made) == [1, 2, 3, 4, 5]
    async with house.dispatching():
        await house.until_states({"exhausted": 1, "delivered": 5})
    assert len(there.told) == 6


async def test_a_replay_does_not_disturb_a_scheduled_retry(house: House, there: Sink) -> None:
    row = await one_failed(house, there)
    (before,) = await house.rows(JOBS)
    await replay(house, row["_id"])
    async with house.dispatching():
        await house.until_states({"retry": 1, "delivered": 1})
        (after,) = await house.rows(JOBS, _id=before["_id"])
        assert after["dueAt"] == before["dueAt"]
        await house.hurry()
        await house.until_states({"delivered": 2})
    assert len(there.told) == 3


async def test_a_replay_to_a_paused_webhook_is_held(house: House, there: Sink) -> None:
    row = await one_failed(house, there, retries=0)
    await house.set_state(row["webhookId"], is_active=False)
    assert (await replay(house, row["_id"])).state is DeliveryState.HELD


async def test_what_can_not_be_replayed_is_said_so(house: House, there: Sink) -> None:
    row = await one_failed(house, there, retries=0)
    with pytest.raises(NotFound):
        await service.replay(house.context(), "dlv_" + "0" * 26)
    with pytest.raises(NotFound):
        await service.replay(house.context(OTHER), row["_id"])
    await house.db.platform(EVENTS).delete_many({})
    with pytest.raises(NotReplayable):
        await service.replay(house.context(), row["_id"])


async def test_recovering_replays_what_failed_and_nothing_twice(house: House, there: Sink) -> None:
    webhook = await house.subscribe(f"{there.url}/a", retries=0)
    there.plans["/a"] = Plan(500)
    failed = await house.emit(8)
    async with house.dispatching():
        await house.until_states({"exhausted": 8})
        there.plans.clear()
        since = house.runtime.clock() - timedelta(hours=1)
        (row, *_) = await house.deliveries()
        await replay(house, row["_id"])
        await house.until_states({"exhausted": 8, "delivered": 1})
        for _ in range(2):
            job_id = await service.recover(house.context(), webhook, since=since)

            async def is_over(job_id: str = job_id) -> bool:
                (job,) = await house.rows(JOBS, _id=job_id)
                return bool(job["state"] == "completed" and job["progress"]["done"] == 8)

            await until(is_over, what="the recovery")
        await house.until_states({"exhausted": 8, "delivered": 8})
    assert there.ids("/a") == dict.fromkeys(failed, 2)
    recovered = await house.deliveries(trigger="recover")
    assert len(recovered) == 7


async def test_recovered_deliveries_have_a_quarter_of_the_webhooks_slots(
    house: House, there: Sink
) -> None:
    webhook = await house.subscribe(f"{there.url}/a", retries=0)
    there.plans["/a"] = Plan(400)
    await house.emit(9)
    async with house.dispatching():
        await house.until_states({"exhausted": 9})
        there.plans["/a"] = Plan(seconds=0.1)
        there.most_at_once.clear()
        since = house.runtime.clock() - timedelta(hours=1)
        await service.recover(house.context(), webhook, since=since)
        await house.until_states({"exhausted": 9, "delivered": 9})
    assert there.most_at_once["/a"] <= 2


async def test_a_recovery_that_makes_no_sense_is_refused(house: House, there: Sink) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    now = house.runtime.clock()
    for since, until_then in (
        (now - timedelta(days=15), None),
        (now + timedelta(hours=1), None),
        (now - timedelta(hours=1), now - timedelta(hours=2)),
    ):
        with pytest.raises(Invalid):
            await service.recover(house.context(), webhook, since=since, until=until_then)
    await house.set_state(webhook, is_active=False)
    with pytest.raises(WebhookInactive):
        await service.recover(house.context(), webhook, since=now - timedelta(hours=1))


async def test_a_test_is_sent_at_once_and_logged_as_one(house: House, there: Sink) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    await house.set_state(webhook, is_active=False)
    attempt = await service.send_test(house.context(), webhook)
    assert (attempt.status, attempt.trigger) == (200, Trigger.TEST)
    (request,) = there.told
    assert request.headers["x-novapulse-event"] == "webhook.test"
    (row,) = await house.rows(ATTEMPTS)
    assert (row["_id"], row["trigger"]) == (attempt.id, "test")
    there.plans["/a"] = Plan(500)
    failed = await service.send_test(house.context(), webhook)
    assert (failed.status, failed.result) == (500, "transient")
    with pytest.raises(NotReplayable):
        await service.replay(house.context(), failed.delivery_id)


async def test_what_was_held_is_sent_oldest_first_over_batches(
    stores: RunningStores, there: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "BATCH", 5)
    async with open_house(stores, max_in_flight_per_webhook=1) as house:
        webhook = await house.subscribe(f"{there.url}/a")
        await house.set_state(webhook, is_active=False)
        made = house.events(12, "task.created", company_id=COMPANY)
        made = [
            msgspec.structs.replace(event, created_at=event.created_at - timedelta(minutes=age))
            for age, event in enumerate(made)
        ]
        await house.plan(made)
        assert await house.states() == {"held": 12}
        await house.set_state(webhook, is_active=True)
        async with house.dispatching():
            await house.until_states({"delivered": 12})
    assert [one.event_id for one in there.told] == [event.id for event in reversed(made)]


async def resume_and_settle(house: House, webhook_id: str) -> None:
    await house.set_state(webhook_id, is_active=True)
    await settling.settle(house.context(), webhook_id)


async def test_holding_and_resuming_at_the_same_moment_leaves_nothing_held(
    house: House, there: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    await house.emit(3)
    await house.set_state(webhook, is_active=False)
    take_jobs = settling._take_jobs

    async def resumed_meanwhile(tx: Transaction, rows: Sequence[Document]) -> list[str]:
        monkeypatch.undo()
        await resume_and_settle(house, webhook)
        return await take_jobs(tx, rows)

    monkeypatch.setattr(settling, "_take_jobs", resumed_meanwhile)
    await settling.settle(house.context(), webhook)
    assert settling._take_jobs is take_jobs, "they met"
    assert await house.states() == {"pending": 3}
    assert len(await house.rows(JOBS, kind="webhook.deliver")) == 3


async def replay_beside(
    house: House, delivery: Document, meanwhile: Callable[[], Awaitable[None]]
) -> Delivery:
    """A replay that saw the paused webhook as it was before `meanwhile`."""
    ctx = house.context()
    async with ctx.transaction() as tx:
        seen = await SubscriptionStore(tx).get(delivery["webhookId"])
        assert not seen.webhook.is_active
        await meanwhile()
        return await service.replay(ctx, delivery["_id"])


async def test_a_replay_and_resuming_at_the_same_moment_leave_nothing_held(
    house: House, there: Sink
) -> None:
    row = await one_failed(house, there, retries=0)
    await house.set_state(row["webhookId"], is_active=False)
    with pytest.raises(TransientConflict):
        await replay_beside(house, row, lambda: resume_and_settle(house, row["webhookId"]))
    assert await house.states() == {"exhausted": 1}
    assert (await replay(house, row["_id"])).state is DeliveryState.PENDING


async def test_a_replay_and_deleting_at_the_same_moment_leave_nothing_held(
    house: House, there: Sink
) -> None:
    row = await one_failed(house, there, retries=0)
    await house.set_state(row["webhookId"], is_active=False)

    async def delete() -> None:
        await house.delete(row["webhookId"])
        await settling.settle(house.context(), row["webhookId"])

    with pytest.raises(TransientConflict):
        await replay_beside(house, row, delete)
    assert await house.states() == {"exhausted": 1}
    with pytest.raises(NotFound):
        await replay(house, row["_id"])
