"""`/queue/stats`: all queues, of everybody or of one's own company."""

from novapulse.core.access import Role
from novapulse.core.jobs.kinds import Queue
from novapulse.core.pump import Pump
from novapulse.processes.features import PLANNERS
from tests.support.api import RECEIVER_URL, Api, Person

STATES = {"available", "scheduled", "running", "retryable", "completed", "dead"}


async def with_jobs(api: Api, count: int) -> Person:
    """A company that waits for so many deliveries."""
    person = await api.found_company()
    pump = Pump(api.runtime, PLANNERS)
    while await pump.run_once():
        pass
    await person.post("/webhooks", {"url": RECEIVER_URL, "events": ["task.*"]})
    for number in range(count):
        await person.post("/tasks", {"title": f"{number}"})
    while await pump.run_once():
        pass
    return person


async def waiting_deliveries(person: Person) -> int:
    table = (await person.get("/queue/stats")).json()["data"]
    (row,) = [row for row in table if row["queue"] == "nova:webhook"]
    return int(row["available"])


async def test_every_queue_is_there_with_every_state(api: Api) -> None:
    operator = await api.add_operator()
    table = (await operator.get("/queue/stats")).json()["data"]
    assert [row["queue"] for row in table] == [queue.public_name for queue in Queue]
    for row in table:
        assert set(row) >= STATES
        assert {"oldestSeconds", "ratePerMinute", "paused", "consumers"} <= set(row)


async def test_a_company_sees_its_own_jobs_and_the_operator_all(api: Api) -> None:
    ada, eve = await with_jobs(api, 3), await with_jobs(api, 2)
    operator = await api.add_operator()
    assert (await waiting_deliveries(ada), await waiting_deliveries(eve)) == (3, 2)
    assert await waiting_deliveries(operator) >= 5


async def test_managers_and_users_see_none(api: Api) -> None:
    ada = await api.found_company()
    for role in (Role.MANAGER, Role.USER):
        member = await api.add_member(str(ada.company_id), role)
        assert (await member.get("/queue/stats")).status == 403
