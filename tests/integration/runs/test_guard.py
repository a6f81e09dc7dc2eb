"""The guard against loops: how deep, how often; and that others run on."""

from typing import Any

import pytest

from novapulse.core.settings.workflows import Workflows
from novapulse.runs.model import MAX_DEPTH
from tests.integration.runs.conftest import Company, log, pump, settle, working
from tests.support.api import Api

MAKES_A_TASK = {"type": "create_task", "input": {"title": "again"}}
ON_TASK = {"type": "event", "event": "task.created"}


async def test_two_workflows_that_start_each_other_are_cut(api: Api, company: Company) -> None:
    ping = await company.workflow(MAKES_A_TASK, trigger={"type": "event", "event": "task.updated"})
    pong = await company.workflow(
        {"type": "update_task", "input": {"taskId": "{{ event.data.id }}", "status": "review"}},
        trigger=ON_TASK,
    )
    await company.admin.post("/tasks", {"title": "x"})
    async with working(api):
        await settle(api)
    runs = [*await company.runs(ping), *await company.runs(pong)]
    depths = sorted((run["depth"], run["state"]) for run in runs)
    expected = [(depth, "completed") for depth in range(1, MAX_DEPTH + 1)]
    assert depths == [*expected, (MAX_DEPTH + 1, "skipped")]
    skipped = [run for run in await company.runs(ping) if run["state"] == "skipped"]
    assert "came one from the other" in skipped[0]["error"]


async def test_a_workflow_that_starts_itself_by_its_events_is_cut(
    api: Api, company: Company
) -> None:
    workflow = await company.workflow(MAKES_A_TASK, trigger=ON_TASK)
    await company.admin.post("/tasks", {"title": "x"})
    async with working(api):
        await settle(api)
    assert len(await company.rows("tasks")) == 1 + MAX_DEPTH
    assert [run["state"] for run in await company.runs(workflow)].count("skipped") == 1


async def test_workflows_that_run_each_other_are_cut(api: Api, company: Company) -> None:
    first = await company.workflow()
    second = await company.workflow({"type": "run_workflow", "input": {"workflowId": first["id"]}})
    back = {"actions": [{"type": "run_workflow", "input": {"workflowId": second["id"]}}]}
    assert (await company.admin.patch(f"/workflows/{first['id']}", back)).status == 200
    await company.run(first)
    async with working(api):
        await settle(api)
    runs = [*await company.runs(first), *await company.runs(second)]
    assert sorted((run["depth"], run["state"]) for run in runs) == [
        *((depth, "completed") for depth in range(1, MAX_DEPTH)),
        (MAX_DEPTH, "failed"),
    ]
    (deepest,) = (run for run in runs if run["state"] == "failed")
    assert "came one from the other" in deepest["error"]


async def test_the_end_of_its_own_run_starts_no_workflow(api: Api, company: Company) -> None:
    workflow = await company.workflow(trigger={"type": "event", "event": "workflow.*"})
    other = await company.workflow()
    await company.run(other)
    async with working(api):
        await settle(api)
    assert [run["depth"] for run in await company.runs(workflow)] == [2]


@pytest.fixture
def at_most_three(api: Api) -> Any:
    before = api.runtime.settings
    changed = {name: getattr(before, name) for name in before.__struct_fields__}
    changed["workflows"] = Workflows(max_runs_per_minute=3)
    api.runtime.adopt(type(before)(**changed))
    yield
    api.runtime.adopt(before)


@pytest.mark.usefixtures("at_most_three")
async def test_more_runs_than_a_minute_may_have_are_skipped(api: Api, company: Company) -> None:
    often = await company.workflow(trigger=ON_TASK)
    for number in range(7):
        await company.admin.post("/tasks", {"title": f"t{number}"})
    events = api.runtime.db.platform("events")
    (first,) = await events.find(
        {"companyId": company.id, "type": "task.created"}, sort=(("createdAt", 1),), limit=1
    )
    # All in one minute, also when the clock just went over to the next.
    await events.update_many(
        {"companyId": company.id, "type": "task.created"},
        {"$set": {"createdAt": first["createdAt"]}},
    )
    await pump(api)
    states = [run["state"] for run in await company.runs(often)]
    assert sorted(states) == ["pending"] * 3 + ["skipped"]
    (skipped,) = (run for run in await company.runs(often) if run["state"] == "skipped")
    assert skipped["error"] == "more than 3 runs within a minute"


@pytest.mark.usefixtures("at_most_three")
async def test_too_many_runs_by_hand_are_refused(company: Company) -> None:
    workflow = await company.workflow(log("x"))
    answers = [await company.admin.post(f"/workflows/{workflow['id']}/run", {}) for _ in range(8)]
    refused = [answer for answer in answers if answer.status != 202]
    assert 2 <= len(refused) <= 5  # the clock may go over to the next minute
    assert (refused[0].status, refused[0].code) == (429, "too_many_runs")
    assert refused[0].headers["retry-after"] == "60"
