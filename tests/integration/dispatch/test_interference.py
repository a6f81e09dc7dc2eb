"""What people do beside a delivery: its secret is rotated, or its job is taken away."""

from datetime import timedelta

from novapulse.core.jobs.admin import JobAdmin
from novapulse.core.jobs.presence import QUEUES
from novapulse.core.jobs.rows import JOBS
from novapulse.deliveries import service
from novapulse.deliveries.store import ATTEMPTS
from novapulse.deliveries.sweeping import sweep
from novapulse.subscriptions.model import RotateSecret
from novapulse.subscriptions.service import rotate_secret
from tests.support.dispatching import House, Plan, Sink, until


async def test_an_attempt_under_way_when_the_secret_is_rotated_ends_and_the_next_has_the_new_one(
    house: House, there: Sink
) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    there.plans["/a"] = Plan(500, seconds=1.0)
    (event,) = await house.emit()
    async with house.dispatching():
        await until(lambda: there.under_way["/a"] == 1, what="the attempt under way")
        await rotate_secret(house.context(), webhook, RotateSecret(overlap_seconds=0))
        there.plans.clear()
        await house.until_states({"retry": 1})
        await house.hurry()
        await house.until_states({"delivered": 1})
    first, second = there.at("/a")
    assert (first.event_id, first.body) == (second.event_id, second.body) == (event, first.body)
    plain = "x-novapulse-signature"
    assert first.headers[plain] != second.headers[plain]
    keys = [
        row["keyId"] for row in sorted(await house.rows(ATTEMPTS), key=lambda row: row["attempt"])
    ]
    assert keys[0] != keys[1] == (await house.webhook(webhook))["secrets"][0]["id"]
    assert len(await house.rows(JOBS, kind="webhook.deliver")) == 1


async def test_a_delivery_whose_job_is_taken_away_has_failed_and_can_be_recovered(
    house: House, there: Sink
) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    events = await house.emit(4)
    first, second, third, _ = await house.rows(JOBS, kind="webhook.deliver")
    admin = JobAdmin(house.db.platform(JOBS), house.db.platform(QUEUES))
    await admin.cancel(first["_id"], by="ada")
    dead = {"state": "dead", "finishedAt": house.runtime.clock()}
    change = {"$set": dead, "$unset": {"dueAt": ""}}
    await house.db.platform(JOBS).update_one({"_id": second["_id"]}, change)
    await house.db.platform(JOBS).delete_one({"_id": third["_id"]})
    assert await sweep(house.runtime) == 3
    assert await sweep(house.runtime) == 0
    failed = await house.deliveries(state="exhausted")
    reasons = {f"its job was {how}" for how in ("cancelled", "dead", "cleared")}
    assert {row["reason"] for row in failed} == reasons
    async with house.dispatching():
        since = house.runtime.clock() - timedelta(hours=1)
        await service.recover(house.context(), webhook, since=since)
        house.ring()
        await until(lambda: len(there.told) == 4, what="what was recovered, and the one with a job")
    assert {one.event_id for one in there.told} == set(events)


async def test_what_waits_with_its_job_is_left_alone(house: House, there: Sink) -> None:
    await house.subscribe(f"{there.url}/a")
    there.plans["/a"] = Plan(500)
    await house.emit()
    async with house.dispatching():
        await house.until_states({"retry": 1})
    await house.emit(3)
    paused = await house.subscribe(f"{there.url}/b")
    await house.set_state(paused, is_active=False)
    await house.emit(3)
    before = await house.states()
    assert await sweep(house.runtime) == 0
    assert await house.states() == before
    assert before == {"retry": 1, "pending": 6, "held": 3}
