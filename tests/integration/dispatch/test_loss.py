"""A dispatcher that is lost: what it was doing is done again, what it had recorded is not."""

import asyncio
from typing import Any

import pytest

from novapulse.core.jobs import upkeep
from novapulse.core.jobs.rows import JOBS
from novapulse.core.jobs.worker import Worker
from novapulse.deliveries.store import ATTEMPTS
from tests.support.dispatching import House, Plan, Sink, until
from tests.support.engine import abandon

IN_FLIGHT = 200


async def lose(house: House, worker: Worker, running: asyncio.Task[None]) -> None:
    """As the scheduler does when it hears that a consumer died."""
    await abandon(worker, running)
    house.runtime.bell.ring("webhook")
    owners = {"$in": [worker._owner]}
    await upkeep.release_held(house.db, owners, reason="its consumer ended")


async def test_a_lost_dispatcher_loses_nothing(house: House, there: Sink) -> None:
    for number in range(4):
        await house.subscribe(f"{there.url}/{number}", f"kind.n{number}")
        there.plans[f"/{number}"] = Plan(seconds=0.01)
    events = [one for n in range(4) for one in await house.emit(150, event=f"kind.n{n}")]
    for kill in (1, 2):
        dispatcher, worker = house.start()
        running = asyncio.create_task(worker.run(drain_seconds=0))
        await until(lambda kill=kill: len(there.told) > 100 * kill, what="it to get so far")
        await lose(house, worker, running)
        await dispatcher.aclose()
    async with house.dispatching():
        await house.until_states({"delivered": 600})
    came = [one.event_id for one in there.told]
    assert set(came) == set(events)
    assert len(came) - len(set(came)) <= 2 * IN_FLIGHT


async def test_what_was_recorded_is_not_sent_again(
    house: House, there: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It died after it had written the attempt and before its job was finished."""
    await house.subscribe(f"{there.url}/a")
    there.plans["/b"] = Plan(500)
    await house.subscribe(f"{there.url}/b")
    await house.emit()
    dispatcher, worker = house.start()
    never = asyncio.Event()
    record = dispatcher.log.record

    async def record_and_hang(_: Any) -> None:
        # Both, whether they ended together or one after the other.
        await until(lambda: len(dispatcher.endings) == 2, what="both attempts to end")
        await record(list(dispatcher.endings.values()))
        await never.wait()

    monkeypatch.setattr(dispatcher.log, "record", record_and_hang)
    running = asyncio.create_task(worker.run(drain_seconds=0))
    await house.until_states({"delivered": 1, "retry": 1})
    await lose(house, worker, running)
    await dispatcher.aclose()
    async with house.dispatching():

        async def are_settled() -> bool:
            states = sorted(row["state"] for row in await house.rows(JOBS))
            return states == ["completed", "retryable"]

        await until(are_settled, what="both jobs settled")
    assert len(there.told) == 2
    assert len(await house.rows(ATTEMPTS)) == 2
    assert await house.states() == {"delivered": 1, "retry": 1}


async def test_a_late_writer_changes_nothing(
    house: House, there: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else has made the next attempt already: what the first one has to say is old."""
    await house.subscribe(f"{there.url}/a")
    await house.emit()
    async with house.dispatching() as dispatcher:
        late = []
        record = dispatcher.log.record

        async def remember(endings: Any) -> None:
            late.extend(endings)
            await record(endings)

        monkeypatch.setattr(dispatcher.log, "record", remember)
        there.plans["/a"] = Plan(500)
        await house.until_states({"retry": 1})
        there.plans.clear()
        await house.hurry()
        await house.until_states({"delivered": 1})
        await record(late[:1])
        assert await house.states() == {"delivered": 1}
    assert len(await house.rows(ATTEMPTS)) == 2
