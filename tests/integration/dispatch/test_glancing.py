"""Little that is due is read at a glance: no look at all lanes, and nothing is missed by it."""

import asyncio
from datetime import timedelta

import pytest

from novapulse.core.jobs.intake import GLANCE
from novapulse.core.jobs.rows import JOBS
from novapulse.dispatch.queue import LaneLedger, Look
from tests.support.dispatching import House, Plan, Sink, until


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[LaneLedger]:
    """Who looked at all lanes, once for each look."""
    made: list[LaneLedger] = []
    look = LaneLedger.look_at_lanes

    async def noted(ledger: LaneLedger) -> Look:
        made.append(ledger)
        return await look(ledger)

    monkeypatch.setattr(LaneLedger, "look_at_lanes", noted)
    return made


async def test_events_that_come_one_by_one_need_no_look_at_all_lanes(
    house: House, there: Sink, looks: list[LaneLedger]
) -> None:
    for number in range(3):
        await house.subscribe(f"{there.url}/{number}", f"kind.n{number}")
    async with house.dispatching():
        await house.emit(event="kind.n0")
        await house.until_states({"delivered": 1})
        before = len(looks)
        for number in range(30):
            await house.emit(event=f"kind.n{number % 3}")
            await until(lambda count=number + 2: len(there.told) == count, what="it to arrive")
        # A second without anything due may have passed on a machine that is busy.
        assert len(looks) - before <= 3
    assert {len(there.at(f"/{number}")) for number in range(3)} == {10, 11}


async def test_what_is_due_soon_begins_then_while_others_keep_coming(
    house: House, there: Sink
) -> None:
    await house.subscribe(f"{there.url}/again", "kind.again")
    await house.subscribe(f"{there.url}/well", "kind.well")
    there.plans["/again"] = Plan(500)
    async with house.dispatching():
        await house.emit(event="kind.again")
        await house.until_states({"retry": 1})
        there.plans.clear()
        await house.emit(event="kind.well")
        await until(lambda: len(there.at("/well")) == 1, what="the healthy one")
        loop = asyncio.get_running_loop()
        moved = loop.time()
        soon = {"$set": {"dueAt": {"$add": ["$$NOW", 1_500]}}}
        assert await house.db.platform(JOBS).update_many({"state": "retryable"}, [soon])
        while len(there.at("/again")) < 2:
            assert loop.time() - moved < 30
            await house.emit(event="kind.well")
            await asyncio.sleep(0.05)
        waited = there.at("/again")[1].at - moved
        others = [one for one in there.at("/well") if one.at < there.at("/again")[1].at]
    assert waited >= 1.5
    # It went among those that came at that moment, not after a look much later.
    assert len(others) <= 1 + (waited + 0.5) / 0.05


async def test_more_than_a_glance_shows_is_served_lane_by_lane(
    house: House, there: Sink, looks: list[LaneLedger]
) -> None:
    for number in range(2):
        await house.subscribe(f"{there.url}/{number}", f"kind.n{number}")
    async with house.dispatching():
        await house.emit(event="kind.n0")
        await house.until_states({"delivered": 1})
        before = len(looks)
        await house.emit(2 * GLANCE, event="kind.n0")
        await house.emit(5, event="kind.n1")
        await house.until_states({"delivered": 2 * GLANCE + 6})
        assert len(looks) > before
    assert len(there.told) == 2 * GLANCE + 6


async def test_a_clock_that_fell_behind_hides_nothing_for_long(
    house: House, there: Sink, looks: list[LaneLedger]
) -> None:
    """The database's was put forward by ten seconds, and there is always something to read."""
    await house.subscribe(f"{there.url}/busy", "kind.busy")
    await house.subscribe(f"{there.url}/hidden", "kind.hidden")
    long_ago = [{"$set": {"dueAt": {"$subtract": ["$$NOW", 20_000]}}}]
    async with house.dispatching():
        await house.emit(event="kind.busy")
        await house.until_states({"delivered": 1})
        now, then = looks[0]._looked or pytest.fail("it has not looked")
        looks[0]._looked = (now - timedelta(seconds=10), then)
        await house.emit(event="kind.hidden")
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not there.at("/hidden"):
            assert loop.time() - began < 9, "until the clock that is behind is there too"
            await house.emit(event="kind.busy")
            jobs = house.db.platform(JOBS)
            busy = {"payload.event_type": "kind.busy", "state": "available"}
            await jobs.update_many(busy, long_ago)
            house.ring()
            await asyncio.sleep(0.05)
        assert len(there.at("/busy")) > 1
