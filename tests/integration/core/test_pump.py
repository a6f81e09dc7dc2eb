"""The pump: every event once, in the company's order, whoever was killed meanwhile."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from novapulse.core.context import Runtime
from novapulse.core.errors import Unavailable
from novapulse.core.events import CATALOGUE, EventRow
from novapulse.core.mongo import Document
from novapulse.core.pump import BATCH, Planner, Pump
from novapulse.processes.features import PLANNERS
from tests.support.api import RECEIVER_URL, Api, Person


@pytest.fixture
async def ada(api: Api) -> Person:
    """A company whose one webhook wants everything; nothing waits to be pumped."""
    await drain(api)
    person = await api.found_company()
    await drain(api)
    await subscribe(person, "*")
    return person


async def subscribe(person: Person, *events: str, **fields: Any) -> str:
    hook = {"url": RECEIVER_URL, "events": list(events), **fields}
    answer = await person.post("/webhooks", hook)
    assert answer.status == 201, answer
    return str(answer.json()["id"])


async def make_tasks(person: Person, count: int) -> None:
    answers = await asyncio.gather(
        *(person.post("/tasks", {"title": f"Task {number}"}) for number in range(count))
    )
    assert {answer.status for answer in answers} == {201}


async def drain(api: Api, *planners: Planner) -> int:
    """Pump until nothing is left; how many events there were."""
    pump, total = Pump(api.runtime, planners or PLANNERS), 0
    while planned := await pump.run_once():
        total += planned
    return total


async def events_of(api: Api, person: Person) -> list[Document]:
    """Those that webhooks may see; only they get numbers."""
    rows = await api.rows("events", companyId=person.company_id)
    return [row for row in rows if row["type"] in CATALOGUE]


async def deliveries_of(api: Api, person: Person) -> list[Document]:
    return await api.rows("webhook_deliveries", companyId=person.company_id)


async def assert_planned_once(api: Api, person: Person, *, tasks: int) -> None:
    """Numbers without gaps, and a delivery and a job for each event of a task."""
    events = await events_of(api, person)
    assert all(event["isPlanned"] for event in events)
    numbers = sorted(event["sequence"] for event in events)
    assert numbers == list(range(1, len(events) + 1))
    wanted = [event["_id"] for event in events if event["type"].startswith("task.")]
    deliveries = await deliveries_of(api, person)
    assert len(wanted) == tasks
    assert sorted(one["eventId"] for one in deliveries) == sorted(wanted)
    jobs = await api.rows("jobs", companyId=person.company_id, queue="webhook")
    assert Counter(job["payload"]["delivery_id"] for job in jobs) == Counter(
        one["_id"] for one in deliveries
    )


async def test_every_event_is_planned_once_with_a_number_of_its_own(api: Api, ada: Person) -> None:
    await make_tasks(ada, 25)
    assert await drain(api) == 25
    assert await drain(api) == 0
    await assert_planned_once(api, ada, tasks=25)


async def test_numbers_follow_the_order_of_what_happened(api: Api, ada: Person) -> None:
    for number in range(5):
        await ada.post("/tasks", {"title": f"{number}"})
    await drain(api)
    made = await api.rows("events", companyId=ada.company_id, type="task.created")
    in_order = sorted(made, key=lambda row: row["sequence"])
    assert [row["data"]["task"]["title"] for row in in_order] == ["0", "1", "2", "3", "4"]


async def test_each_company_counts_for_itself(api: Api, ada: Person) -> None:
    eve = await api.found_company()
    await subscribe(eve, "task.*")
    await asyncio.gather(make_tasks(ada, 12), make_tasks(eve, 7))
    await drain(api)
    await assert_planned_once(api, ada, tasks=12)
    await assert_planned_once(api, eve, tasks=7)


async def test_numbers_have_no_gaps_while_events_keep_coming(api: Api, ada: Person) -> None:
    eve, bob = await api.found_company(), await api.found_company()
    pump = Pump(api.runtime, PLANNERS)
    making = asyncio.gather(*(make_tasks(person, 30) for person in (ada, eve, bob)))
    while not making.done():
        await pump.run_once()
    await making
    await drain(api)
    for person in (ada, eve, bob):
        numbers = sorted(row["sequence"] for row in await events_of(api, person))
        assert len(numbers) > 30
        assert numbers == list(range(1, len(numbers) + 1))


async def test_more_events_than_a_batch_are_all_planned(api: Api, ada: Person) -> None:
    rows = api.runtime.db.tenant(str(ada.company_id)).rows("events")
    await ada.post("/tasks", {"title": "x"})
    (first,) = await api.rows("events", companyId=ada.company_id, isPlanned=False)
    copies = [{**first, "_id": f"evt_{n:026d}"} for n in range(BATCH + 20)]
    await rows.insert_many(copies)
    assert await drain(api) == BATCH + 21
    await assert_planned_once(api, ada, tasks=BATCH + 21)


class Killed(Exception):
    """Stands for the end of the process at this point."""


async def killed_before_planning(runtime: Runtime, events: Sequence[EventRow]) -> list[Document]:
    raise Killed


class KilledBell:
    """Rung when the jobs are written and the events are not yet marked."""

    def ring(self, name: str) -> None:
        raise Killed


async def planned_and_killed(runtime: Runtime, events: Sequence[EventRow]) -> list[Document]:
    for planner in PLANNERS:
        await planner(runtime, events)
    raise Killed


@pytest.mark.parametrize("killed_at", ["numbers", "deliveries", "jobs"])
async def test_killed_anywhere_the_next_pump_does_the_rest(
    api: Api, ada: Person, killed_at: str
) -> None:
    await make_tasks(ada, 9)
    runtime, planners = api.runtime, PLANNERS
    match killed_at:
        case "numbers":
            planners = (killed_before_planning,)
        case "deliveries":
            planners = (planned_and_killed,)
        case "jobs":
            bell: Any = KilledBell()
            runtime = dataclasses.replace(runtime, bell=bell)
    with pytest.raises(Killed):
        await Pump(runtime, planners).run_once()
    before = await deliveries_of(api, ada)
    numbers = {row["_id"]: row["sequence"] for row in await events_of(api, ada)}
    assert await drain(api) == 9
    assert {row["_id"]: row["sequence"] for row in await events_of(api, ada)} == numbers
    after = await deliveries_of(api, ada)
    assert all(one in after for one in before)
    await assert_planned_once(api, ada, tasks=9)


async def test_a_pump_that_is_killed_again_and_again_comes_to_an_end(api: Api, ada: Person) -> None:
    await make_tasks(ada, 5)
    for planner in (killed_before_planning, planned_and_killed, planned_and_killed):
        with pytest.raises(Killed):
            await Pump(api.runtime, (planner,)).run_once()
    await drain(api)
    await assert_planned_once(api, ada, tasks=5)


async def pump_until_empty(pump: Pump) -> list[BaseException]:
    """Like a scheduler: what is not available is tried again, anything else is kept."""
    surprises: list[BaseException] = []
    for _ in range(200):
        try:
            if not await pump.run_once():
                return surprises
        except Unavailable:
            await asyncio.sleep(0.001)
        except Exception as error:  # whatever else it is would end the scheduler
            surprises.append(error)
    return [*surprises, AssertionError("came to no end")]


async def test_two_pumps_at_once_plan_nothing_twice(api: Api, ada: Person) -> None:
    eve = await api.found_company()
    pumps = [Pump(api.runtime, PLANNERS) for _ in range(2)]
    surprises: list[BaseException] = []
    for _ in range(5):
        pumping = asyncio.gather(*(pump_until_empty(pump) for pump in pumps))
        await asyncio.gather(make_tasks(ada, 8), make_tasks(eve, 8))
        for found in [*await pumping, *await asyncio.gather(*map(pump_until_empty, pumps))]:
            surprises += found
    await drain(api)
    await assert_planned_once(api, ada, tasks=40)
    assert not surprises, f"a scheduler would have ended: {surprises[0]!r}"


async def test_a_replaced_leader_that_remembers_old_numbers_disturbs_nothing(
    api: Api, ada: Person
) -> None:
    stale, leader = Pump(api.runtime, PLANNERS), Pump(api.runtime, PLANNERS)
    await make_tasks(ada, 2)
    await stale.run_once()  # it remembers the last number
    await make_tasks(ada, 3)
    await leader.run_once()
    await make_tasks(ada, 2)
    surprises = await pump_until_empty(stale)
    await drain(api)
    await assert_planned_once(api, ada, tasks=7)
    assert not surprises, f"a scheduler would have ended: {surprises[0]!r}"


async def test_only_who_asked_gets_a_delivery(api: Api, ada: Person) -> None:
    exact = await subscribe(ada, "task.created")
    users = await subscribe(ada, "user.*")
    twice = await subscribe(ada, "task.*", "*", "task.created")
    inactive = await subscribe(ada, "*", isActive=False)
    await make_tasks(ada, 1)
    await drain(api)
    deliveries = await deliveries_of(api, ada)
    counted = Counter(one["webhookId"] for one in deliveries)
    assert (counted[exact], counted[users], counted[twice]) == (1, 0, 1)
    # What a paused webhook asked for waits until it is resumed.
    assert [one["state"] for one in deliveries if one["webhookId"] == inactive] == ["held"]


async def test_another_companys_webhook_gets_nothing(api: Api, ada: Person) -> None:
    eve = await api.found_company()
    await subscribe(eve, "*")
    await drain(api)
    before = len(await deliveries_of(api, eve))
    await make_tasks(ada, 3)
    await drain(api)
    assert len(await deliveries_of(api, eve)) == before


async def test_the_body_is_kept_once_and_names_the_number(api: Api, ada: Person) -> None:
    await make_tasks(ada, 1)
    await drain(api)
    (row,) = await api.rows("events", companyId=ada.company_id, type="task.created")
    assert f'"sequence":{row["sequence"]},'.encode() in row["body"]
    where = {"_id": row["_id"]}
    await api.runtime.db.platform("events").update_one(where, {"$set": {"isPlanned": False}})
    await drain(api)
    (again,) = await api.rows("events", _id=row["_id"])
    assert again["body"] == row["body"]
