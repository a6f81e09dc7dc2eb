"""The pump: every event once, in the company's order, whoever was killed meanwhile."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from novapulse.core import pump as pump_module
from novapulse.core.context import Runtime
from novapulse.core.errors import TransientConflict, Unavailable
from novapulse.core.events import CATALOGUE, EventRow
from novapulse.core.mongo import Document
from novapulse.core.pump import BATCH, Plan, Planner, Pump
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
    await asyncio.gather(*(make_task(person, f"Task {number}") for number in range(count)))


async def make_task(person: Person, title: str) -> None:
    """Again where so many at once have to wait for a connection for too long."""
    for _ in range(100):
        answer = await person.post("/tasks", {"title": title})
        if answer.status != 503:
            break
        await asyncio.sleep(0.05)
    assert answer.status == 201, answer


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


class KilledBell:
    """Rung when everything is written."""

    def ring(self, name: str) -> None:
        raise Killed


async def killed_in_planning(runtime: Runtime, events: Sequence[EventRow], plan: Plan) -> None:
    raise Killed


async def killed_in_writing(runtime: Runtime, events: Sequence[EventRow], plan: Plan) -> None:
    """A plan whose last rows can not be written."""
    for planner in PLANNERS:
        await planner(runtime, events, plan)
    rows: list[Any] = [{"_id": 1}, object()]
    plan.insert("webhook_health", rows)


@pytest.mark.parametrize("killed_at", ["planning", "writing", "bell"])
async def test_killed_anywhere_a_batch_is_planned_wholly_or_not_at_all(
    api: Api, ada: Person, killed_at: str
) -> None:
    await make_tasks(ada, 9)
    runtime, planners = api.runtime, PLANNERS
    match killed_at:
        case "planning":
            planners = (*PLANNERS, killed_in_planning)
        case "writing":
            planners = (killed_in_writing,)
        case "bell":
            bell: Any = KilledBell()
            runtime = dataclasses.replace(runtime, bell=bell)
    with pytest.raises((Killed, TypeError)):
        await Pump(runtime, planners).run_once()
    events = [row for row in await events_of(api, ada) if row["type"].startswith("task.")]
    deliveries = await deliveries_of(api, ada)
    was_written = killed_at == "bell"
    assert {("sequence" in row, row["isPlanned"], "body" in row) for row in events} == {
        (was_written,) * 3
    }
    assert len(deliveries) == (9 if was_written else 0)
    assert await drain(api) == (0 if was_written else 9)
    await assert_planned_once(api, ada, tasks=9)


@pytest.mark.parametrize("left", ["sequence", "body", "delivery", "jobs"])
async def test_what_a_former_program_planned_in_part_is_planned_to_the_end(
    api: Api, ada: Person, left: str
) -> None:
    """It wrote one after the other; those up to `left` are there, the events are not marked."""
    await make_tasks(ada, 3)
    await drain(api)
    before = await deliveries_of(api, ada)
    db, where = api.runtime.db, {"companyId": ada.company_id, "type": "task.created"}
    parts = ("sequence", "body", "delivery", "jobs")
    absent = parts[parts.index(left) + 1 :]
    gone = {name: "" for name in absent if name == "body"}
    change = {"$set": {"isPlanned": False}, **({"$unset": gone} if gone else {})}
    await db.platform("events").update_many(where, change)
    if "delivery" in absent:
        await db.platform("webhook_deliveries").delete_many({"companyId": ada.company_id})
    if "jobs" in absent:
        await db.platform("jobs").delete_many({"companyId": ada.company_id, "queue": "webhook"})
    await make_tasks(ada, 2)
    assert await drain(api) == 5
    await assert_planned_once(api, ada, tasks=5)
    after = await deliveries_of(api, ada)
    assert all(one in after for one in before)


async def test_rows_that_nobody_expected_hold_nothing_up(api: Api, ada: Person) -> None:
    await make_tasks(ada, 3)
    await drain(api)
    again = {"$set": {"isPlanned": False}, "$unset": {"sequence": "", "body": ""}}
    await api.runtime.db.platform("events").update_many(
        {"companyId": ada.company_id, "type": "task.created"}, again
    )
    pump = Pump(api.runtime, PLANNERS)
    with pytest.raises(TransientConflict):
        await pump.run_once()
    assert await pump.run_once() == 3
    await assert_planned_once(api, ada, tasks=3)


async def test_what_is_too_much_for_one_transaction_is_planned_in_parts(
    api: Api, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump_module, "_MOST_ROWS", 8)
    await make_tasks(ada, 9)
    pump, parts = Pump(api.runtime, PLANNERS), []
    while number := await pump.run_once():
        parts.append(number)
    assert parts == [4, 2, 3]
    await assert_planned_once(api, ada, tasks=9)


async def test_a_store_that_is_too_slow_for_a_batch_gets_less_at_once(
    api: Api, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that is given up leaves nothing behind: the same again would never end."""
    write = Pump._write

    async def slow(pump: Pump, events: Sequence[EventRow], plan: Plan) -> None:
        if len(events) > 3:
            raise Unavailable
        await write(pump, events, plan)

    monkeypatch.setattr(Pump, "_write", slow)
    await make_tasks(ada, 20)
    pump = Pump(api.runtime, PLANNERS)
    assert not await pump_until_empty(pump)
    await assert_planned_once(api, ada, tasks=20)


async def test_a_webhook_that_is_resumed_while_its_events_are_planned_misses_nothing(
    api: Api, ada: Person
) -> None:
    paused = await subscribe(ada, "task.created", isActive=False)

    async def resumed_meanwhile(runtime: Runtime, events: Sequence[EventRow], plan: Plan) -> None:
        for planner in PLANNERS:
            await planner(runtime, events, plan)
        answer = await ada.patch(f"/webhooks/{paused}", {"isActive": True})
        assert answer.status == 200, answer

    await make_tasks(ada, 1)
    with pytest.raises(TransientConflict):
        await Pump(api.runtime, (resumed_meanwhile,)).run_once()
    await drain(api)
    (delivery,) = [one for one in await deliveries_of(api, ada) if one["webhookId"] == paused]
    assert delivery["state"] == "pending"


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
