"""What one company's conditions and templates may take of the processes that all share."""

import asyncio
from typing import Any

import msgspec
import pytest

from novapulse.rules import conditions
from novapulse.workflows.checking import MAX_CONDITIONS_BYTES
from novapulse.workflows.store import WORKFLOWS, AllWorkflows
from tests.integration.runs.conftest import Company, log, pump, settle, working
from tests.support.api import Api

ON_TASK = {"type": "event", "event": "task.created"}
COSTLY = {"field": "workflow.id", "operator": "equals", "value": "{{ event | time }}" * 500}


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many characters each encoding of a template's value made."""
    made: list[int] = []
    encode = msgspec.json.encode

    def counting(value: Any) -> bytes:
        made.append(len(text := encode(value)))
        return text

    monkeypatch.setattr(msgspec.json, "encode", counting)
    return made


async def stored(company: Company, conditions: dict[str, Any]) -> dict[str, Any]:
    """A workflow that was saved before its conditions had a limit."""
    made = await company.workflow(trigger=ON_TASK)
    rows = company.api.runtime.db.platform(WORKFLOWS)
    await rows.update_one({"_id": made["id"]}, {"$set": {"conditions": conditions}})
    return made


async def test_conditions_are_at_most_16_kib(company: Company) -> None:
    def command(size: int) -> dict[str, Any]:
        leaf = {"field": "input.q", "operator": "equals", "value": ""}
        frame = len(msgspec.json.encode(leaf))
        leaf["value"] = "x" * (size - frame)
        trigger = {"type": "manual"}
        return {"name": "x", "trigger": trigger, "conditions": leaf, "actions": [log("x")]}

    fits = await company.admin.post("/workflows", command(MAX_CONDITIONS_BYTES))
    assert fits.status == 201
    over = command(MAX_CONDITIONS_BYTES + 1)
    assert (await company.admin.post("/workflows", over)).status == 413
    path = f"/workflows/{fits.json()['id']}"
    assert (await company.admin.patch(path, {"conditions": over["conditions"]})).status == 413


async def test_a_dry_run_looks_at_no_input_that_a_run_may_not_have(
    company: Company, encoded: list[int]
) -> None:
    greedy = {"field": "input.q", "operator": "equals", "value": "{{ input | time }}" * 90}
    made = await company.workflow(log("{{ input | time }}" * 500), conditions={"not": greedy})
    for is_dry in (True, False):
        encoded.clear()
        command = {"dryRun": is_dry, "input": {"a": "x" * 900_000}}
        answer = await company.admin.post(f"/workflows/{made['id']}/run", command)
        assert answer.status == 413, answer.body
        assert sum(one > 800_000 for one in encoded) <= 1
    encoded.clear()
    command = {"dryRun": True, "input": {"a": "x" * 200_000}}
    answer = await company.admin.post(f"/workflows/{made['id']}/run", command)
    assert answer.json()["error"] == "the conditions do not hold"
    assert sum(one >= 200_000 for one in encoded) <= 2


async def test_conditions_that_are_stored_already_cost_no_more_than_others(
    company: Company, encoded: list[int]
) -> None:
    old = [await stored(company, {"any": [COSTLY] * 100}) for _ in range(3)]
    plain = await company.workflow(trigger=ON_TASK)
    await company.admin.post("/tasks", {"title": "x", "description": "y" * 10_000})
    encoded.clear()
    await pump(company.api)
    for_each = 65_536 + 25_000  # what is over the bound was made once
    assert sum(one for one in encoded if one > 10_000) < len(old) * for_each + 100_000
    async with working(company.api):
        await settle(company.api)
    assert [run["state"] for run in await company.runs(plain)] == ["completed"]
    for workflow in old:
        assert await company.runs(workflow) == []
        path = f"/workflows/{workflow['id']}"
        assert (await company.get(path))["conditions"]["any"][0] == COSTLY
        assert (await company.admin.patch(path, {"name": "other"})).status == 413
        assert (await company.admin.post(f"{path}/deactivate")).status == 200
        assert (await company.admin.post(f"{path}/activate")).status == 413
        assert (await company.admin.delete(path)).status == 204


async def test_a_workflow_that_breaks_the_planner_breaks_only_itself(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = await stored(company, {"field": "event.id", "operator": "exists"})
    plain = await company.workflow(trigger=ON_TASK)
    monkeypatch.setattr(conditions, "resolve", lambda scope, path: 1 / 0)
    await company.admin.post("/tasks", {"title": "x"})
    await pump(company.api)
    assert len(await company.runs(plain)) == 1
    assert await company.runs(broken) == []


async def test_others_have_their_turn_between_two_conditions(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        await company.workflow(
            trigger=ON_TASK, conditions={"field": "event.id", "operator": "exists"}
        )
    turn, looked_at = 0, []
    holds = conditions.holds

    def noting(condition: conditions.Condition, scope: Any) -> bool:
        looked_at.append(turn)
        return holds(condition, scope)

    async def beat() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(conditions, "holds", noting)
    await company.admin.post("/tasks", {"title": "x"})
    beating = asyncio.create_task(beat())
    await pump(company.api)
    beating.cancel()
    assert len(looked_at) == 5
    assert len(set(looked_at)) == 5


async def test_what_waits_for_events_is_looked_at_without_its_actions(
    api: Api, company: Company
) -> None:
    await company.workflow(log("x" * 9_000), trigger=ON_TASK)
    ((_, found),) = await AllWorkflows(api.runtime.db).triggered([company.id])
    assert (found.name, found.actions) == ("a workflow", ())
