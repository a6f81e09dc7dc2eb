"""Nobody is held up by somebody else's receiver, backlog or rate."""

import asyncio
from collections import Counter

from tests.support.dispatching import OTHER, House, Plan, Sink, open_house, until
from tests.support.stores import RunningStores


async def test_a_hanging_receiver_holds_its_own_slots_and_nothing_else(
    house: House, there: Sink
) -> None:
    """A thousand of its deliveries are due; a neighbour goes on as if it were alone."""
    await house.subscribe(f"{there.url}/hangs", "kind.hangs")
    await house.subscribe(f"{there.url}/well", "kind.well", company_id=OTHER)
    there.plans["/hangs"] = Plan(never=True)
    await house.emit(1_000, event="kind.hangs")
    loop = asyncio.get_running_loop()
    sent: dict[str, float] = {}
    async with house.dispatching(drain_seconds=0.5):
        await until(lambda: len(there.at("/hangs")) >= 10, what="its slots to be full")
        for _ in range(40):
            (event_id,) = await house.emit(event="kind.well", company_id=OTHER)
            sent[event_id] = loop.time()
            await asyncio.sleep(0.02)
        await until(lambda: len(there.at("/well")) == 40, what="the healthy one's events")
        # The first of them comes before any circuit could have opened: nothing has ended.
        assert len(there.at("/hangs")) == 10
        assert there.most_at_once["/hangs"] == 10
    waits = sorted(one.at - sent[one.event_id] for one in there.at("/well"))
    assert waits[-1] < 5.0, waits  # far from the 15 s after which the hanging ones time out


async def test_the_hanging_receivers_of_a_company_leave_half_of_the_slots(
    stores: RunningStores, there: Sink
) -> None:
    async with open_house(stores, max_in_flight=20, max_in_flight_per_webhook=5) as house:
        for number in range(6):
            await house.subscribe(f"{there.url}/hangs", f"kind.n{number}")
            await house.emit(10, event=f"kind.n{number}")
        there.plans["/hangs"] = Plan(never=True)
        await house.subscribe(f"{there.url}/well", "kind.well", company_id=OTHER)
        async with house.dispatching(drain_seconds=0.5):
            await until(lambda: len(there.at("/hangs")) == 10, what="half of the slots taken")
            await house.emit(30, event="kind.well", company_id=OTHER)
            await until(lambda: len(there.at("/well")) == 30, what="the other company served")
            assert there.under_way["/hangs"] == 10


async def test_with_few_slots_hanging_receivers_still_leave_some(house: House, there: Sink) -> None:
    for number in range(6):
        await house.subscribe(f"{there.url}/hangs{number}", f"kind.n{number}")
        there.plans[f"/hangs{number}"] = Plan(never=True)
    await house.subscribe(f"{there.url}/well", "kind.well", company_id=OTHER)
    hanging = [f"/hangs{number}" for number in range(6)]
    async with house.dispatching(concurrency=5, drain_seconds=0.5):
        await house.emit(10, event="kind.n0")
        await until(lambda: len(there.at("/hangs0")) == 1, what="its share taken")
        for number in range(1, 6):
            await house.emit(10, event=f"kind.n{number}")
        await until(lambda: sum(len(there.at(one)) for one in hanging) == 2, what="half taken")
        await house.emit(30, event="kind.well", company_id=OTHER)
        await until(lambda: len(there.at("/well")) == 30, what="the other company served")
        assert [there.under_way[one] for one in hanging if there.under_way[one]] == [1, 1]


async def test_repeated_attempts_leave_slots_for_first_ones(
    stores: RunningStores, there: Sink
) -> None:
    async with open_house(stores, max_in_flight=20, max_in_flight_per_webhook=20) as house:
        for number, company in enumerate(("6b0463ff2132ffe8cf120772", OTHER)):
            await house.subscribe(f"{there.url}/{number}", f"kind.n{number}", company_id=company)
            there.plans[f"/{number}"] = Plan(500)
            await house.emit(9, event=f"kind.n{number}", company_id=company)
        async with house.dispatching():
            await house.until_states({"retry": 18})
        for number in range(2):
            there.plans[f"/{number}"] = Plan(never=True)
        await house.hurry()
        async with house.dispatching(drain_seconds=0.5):
            await until(
                lambda: sum(there.under_way.values()) == 14, what="seven in ten slots taken"
            )
            await house.emit(1, event="kind.n0")
            await until(lambda: sum(there.under_way.values()) == 15, what="a first attempt")


async def test_webhooks_with_backlogs_take_turns(house: House, there: Sink) -> None:
    for number in range(4):
        await house.subscribe(f"{there.url}/{number}", f"kind.n{number}")
        there.plans[f"/{number}"] = Plan(seconds=0.005)
    await house.emit(200, event="kind.n0")
    for number in range(1, 4):
        await house.emit(40, event=f"kind.n{number}")
    async with house.dispatching():
        await house.until_states({"delivered": 320})
    early = Counter(one.path for one in there.told[:160])
    assert min(early[f"/{number}"] for number in range(4)) >= 25, early


async def test_a_rate_is_kept(house: House, there: Sink) -> None:
    await house.subscribe(f"{there.url}/a", rate=20)
    await house.emit(30)
    async with house.dispatching():
        await house.until_states({"delivered": 30})
    times = [one.at for one in there.told]
    assert times[-1] - times[0] >= 29 / 20 - 0.1
    for start in times:
        assert sum(start <= at < start + 0.95 for at in times) <= 20


async def test_a_throttled_webhook_gets_half_of_its_share_of_few_slots(
    house: House, there: Sink
) -> None:
    await house.subscribe(f"{there.url}/a")
    there.plans["/a"] = Plan(429)
    await house.emit(1)
    async with house.dispatching(concurrency=80) as dispatcher:
        await house.until_states({"retry": 1})
        (seat,) = dispatcher.board.seats.values()
        assert seat.cap.of(4) == 2


async def test_a_throttled_webhook_gets_less_at_once(house: House, there: Sink) -> None:
    await house.subscribe(f"{there.url}/a")
    there.plans["/a"] = Plan(429, seconds=0.02)
    await house.emit(6)
    async with house.dispatching() as dispatcher:
        await house.until_states({"retry": 6})
        (seat,) = dispatcher.board.seats.values()
        assert seat.cap.of(10) == 5
        there.plans["/a"] = Plan(200, seconds=0.02)
        there.most_at_once.clear()
        await house.emit(40)
        await house.until_states({"delivered": 40, "retry": 6})
        assert 1 <= there.most_at_once["/a"] <= 9
        await house.emit(60)
        await house.until_states({"delivered": 100, "retry": 6})
        assert seat.cap.of(10) == 10
