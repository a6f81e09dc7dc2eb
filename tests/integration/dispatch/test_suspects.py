"""Deliveries that lost two consumers: alone once, and within the limits of their webhook."""

from datetime import timedelta

from novapulse.core.jobs.rows import JOBS
from novapulse.deliveries.planner import DELIVER
from novapulse.deliveries.store import DELIVERIES, HEALTH
from tests.support.dispatching import COMPANY, House, Plan, Sink, until


async def suspect(house: House, webhook: str) -> None:
    """As if all that waits for it had lost two consumers."""
    where = {"lane": webhook, "kind": DELIVER}
    await house.db.platform(JOBS).update_many(where, {"$set": {"attempt": 2, "lapses": 2}})


async def hurry(house: House) -> None:
    """A job that lost a consumer goes by what its delivery says, too."""
    retry = {"state": "retry"}
    await house.db.platform(DELIVERIES).update_many(retry, [{"$set": {"dueAt": "$$NOW"}}])
    await house.hurry()


async def test_a_suspect_runs_alone_until_an_attempt_has_ended_and_then_as_all_others(
    house: House, there: Sink
) -> None:
    webhook = await house.subscribe(f"{there.url}/a")
    await house.emit(3)
    await suspect(house, webhook)
    there.plans["/a"] = Plan(500, seconds=0.2)
    async with house.dispatching():
        await house.until_states({"retry": 3})
        assert there.most_at_once["/a"] == 1
        await hurry(house)
        await until(lambda: there.under_way["/a"] == 3, what="all of them at the same time")
        there.plans.clear()
        await house.until_states({"retry": 3}, attempts=4)
        await hurry(house)
        await house.until_states({"delivered": 3})
    for event in there.ids("/a"):
        attempts = [one for one in there.told if one.event_id == event]
        assert [one.headers["x-novapulse-attempt"] for one in attempts] == ["3", "4", "5"]


async def test_suspects_of_a_webhook_whose_circuit_is_open_wait_and_hold_nobody_up(
    house: House, there: Sink
) -> None:
    ill = await house.subscribe(f"{there.url}/ill", "kind.ill")
    await house.subscribe(f"{there.url}/well", "kind.well")
    now = house.runtime.clock()
    health = {
        "_id": ill,
        "companyId": COMPANY,
        "failingSince": now,
        "lastFailureAt": now,
        "circuitOpenedAt": now,
        "circuitOpenUntil": now + timedelta(hours=1),
    }
    await house.db.platform(HEALTH).insert(health)
    await house.emit(3, event="kind.ill")
    await suspect(house, ill)
    await house.emit(3, event="kind.well")
    async with house.dispatching() as dispatcher:
        await house.until_states({"pending": 3, "delivered": 3})
        await house.emit(3, event="kind.well")
        await house.until_states({"pending": 3, "delivered": 6})
        assert there.at("/ill") == []
        dispatcher.targets.vitals[ill].reset()
        dispatcher.board.seats[ill].breaker.close()
        house.ring()
        await house.until_states({"delivered": 9})


async def test_suspects_and_others_of_a_webhook_with_a_rate_all_get_their_turn(
    house: House, there: Sink
) -> None:
    webhook = await house.subscribe(f"{there.url}/a", rate=5)
    await house.emit(3)
    await suspect(house, webhook)
    await house.emit(3)
    async with house.dispatching():
        await house.until_states({"delivered": 6})
    times = [one.at for one in there.told]
    assert times[-1] - times[0] > 0.8
