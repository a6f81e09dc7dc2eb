"""Every trigger with every operator starts what holds, leaves the rest, and does every action."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from novapulse.core.actions import ACTIONS
from novapulse.core.events import CATALOGUE
from novapulse.core.jobs.rows import JOBS
from novapulse.core.pump import Pump
from novapulse.processes.features import PLANNERS
from novapulse.rules.conditions import Operator
from novapulse.runs.planner import pull_back, start_scheduled
from novapulse.workflows.model import DELAY
from novapulse.workflows.store import WORKFLOWS
from tests.integration.runs.conftest import Company, log, pump, settle, working
from tests.support.api import Api
from tests.support.receiver import WebhookReceiver

TRIGGERS: dict[str, Any] = {
    "event": {"type": "event", "event": "project.created"},
    "schedule": {"type": "schedule", "cron": "*/5 * * * *", "timeZone": "Europe/Berlin"},
    "manual": {"type": "manual"},
}
# Of each operator: a field, a value for which it holds, and one for which it does not.
OPERATORS: dict[str, tuple[str, Any, Any]] = {
    "equals": ("workflow.name", "a workflow", "another"),
    "not_equals": ("workflow.name", "another", "a workflow"),
    "contains": ("workflow.name", "work", "play"),
    "not_contains": ("workflow.name", "play", "work"),
    "starts_with": ("workflow.name", "a w", "w"),
    "ends_with": ("workflow.name", "flow", "flaw"),
    "greater_than": ("run.depth", 0, 1),
    "less_than": ("run.depth", 2, 1),
    "in": ("run.depth", [1, 2], [2]),
    "exists": ("workflow.id", True, False),
}


async def every_action(company: Company, url: str) -> list[dict[str, Any]]:
    """One step of each, so that the combination of all is a run."""
    other = await company.workflow()
    made = "{{ steps.made.output.id }}"
    group = [
        {"type": "update_task", "input": {"taskId": made, "status": "review"}},
        {"type": "send_notification", "input": {"userIds": [company.admin.id], "title": "x"}},
        {"type": "call_webhook", "input": {"url": url, "body": {"task": made}}},
    ]
    return [
        {"type": "create_task", "name": "made", "input": {"title": "by {{ workflow.name }}"}},
        {"type": "parallel", "actions": group},
        {"type": "delay", "input": {"minutes": 5}},
        {"type": "assign_task", "input": {"taskId": made, "assigneeId": company.admin.id}},
        {"type": "send_email", "input": {"to": "a@example.com", "subject": "s", "text": made}},
        {"type": "run_workflow", "input": {"workflowId": other["id"]}},
        log("done with {{ steps.made.output.title }}"),
    ]


async def make_project(company: Company, name: str = "x") -> None:
    answer = await company.admin.post("/projects", {"name": name})
    assert answer.status == 201, answer.body


async def trigger(company: Company, workflows: list[dict[str, Any]], kind: str) -> None:
    if kind == "event":
        await make_project(company)
        await pump(company.api)
    elif kind == "schedule":
        rows = await company.rows(WORKFLOWS, nextAt={"$exists": True})
        await start_scheduled(company.api.runtime, now=max(row["nextAt"] for row in rows))
    else:
        for workflow in workflows:
            await company.run(workflow)


def test_the_tables_are_complete() -> None:
    assert set(OPERATORS) == set(Operator)
    assert {"create_task", "log", "call_webhook"} <= set(ACTIONS)


@pytest.mark.parametrize("kind", TRIGGERS)
async def test_a_trigger_with_every_operator_and_all_actions(
    company: Company, sink: WebhookReceiver, kind: str
) -> None:
    actions = await every_action(company, sink.url)
    used = {one["type"] for spec in actions for one in spec.get("actions", [spec])}
    assert used == {*ACTIONS, DELAY}
    good: dict[str, dict[str, Any]] = {}
    bad: dict[str, dict[str, Any]] = {}
    for operator, (field, *values) in OPERATORS.items():
        for made, value in zip((good, bad), values, strict=True):
            condition = {"field": field, "operator": operator, "value": value}
            fields = {"trigger": TRIGGERS[kind], "conditions": {"all": [condition]}}
            made[operator] = await company.workflow(*actions, **fields)
    before = len(sink.requests)
    await trigger(company, [*good.values(), *bad.values()], kind)
    async with working(company.api):
        await settle(company.api)
    for operator in OPERATORS:
        (run,) = await company.runs(good[operator])
        await check_effects(company, await company.get(f"/workflow-runs/{run['id']}"), kind)
        assert {one["state"] for one in await company.runs(bad[operator])} <= {"skipped"}
    assert len(sink.requests) == before + len(OPERATORS)
    assert len(await company.mails()) == len(OPERATORS)
    assert len(await company.rows("tasks")) == len(OPERATORS)


async def check_effects(company: Company, run: dict[str, Any], kind: str) -> None:
    assert run["state"] == "completed", run
    assert run["origin"]["type"] == kind
    assert {step["state"] for step in run["steps"]} == {"completed"}
    (task,) = await company.rows("tasks", _id=run["steps"][0]["output"]["id"])
    assert (task["status"], task["assigneeId"]) == ("review", company.admin.id)


async def test_an_event_starts_one_run_however_often_it_is_planned(
    api: Api, company: Company
) -> None:
    workflow = await company.workflow(trigger=TRIGGERS["event"])
    await make_project(company)
    await pump(api)
    for _ in range(2):
        await api.runtime.db.platform("events").update_many(
            {"companyId": company.id, "type": "project.created"}, {"$set": {"isPlanned": False}}
        )
        planner = Pump(api.runtime, PLANNERS)
        await asyncio.gather(planner.run_once(), return_exceptions=True)
    assert len(await company.runs(workflow)) == 1
    jobs = await company.rows(JOBS, kind="workflow.run")
    assert len(jobs) == 1


@pytest.mark.parametrize(
    ("pattern", "starts"), [("project.*", True), ("*", True), ("project.updated", False)]
)
async def test_a_pattern_starts_what_it_covers(
    api: Api, company: Company, pattern: str, starts: bool
) -> None:
    workflow = await company.workflow(trigger={"type": "event", "event": pattern})
    await make_project(company)
    await pump(api)
    types = [run["origin"]["eventType"] for run in await company.runs(workflow)]
    assert ("project.created" in types) is starts


async def test_templates_see_the_event_and_its_resource(api: Api, company: Company) -> None:
    workflow = await company.workflow(
        log("{{ event.type }} {{ event.data.name }} {{ event.data.project.name }}"),
        trigger=TRIGGERS["event"],
        conditions={"field": "event.data.name", "operator": "equals", "value": "Ünï"},
    )
    for name in ("Ünï", "other"):
        await make_project(company, name)
    async with working(api):
        await settle(api)
    (run,) = await company.runs(workflow)
    detail = await company.get(f"/workflow-runs/{run['id']}")
    assert detail["steps"][0]["output"]["message"] == "project.created Ünï Ünï"


async def test_an_inactive_workflow_waits_for_nothing(api: Api, company: Company) -> None:
    made = [
        await company.workflow(trigger=TRIGGERS[kind], isActive=False)
        for kind in ("event", "schedule")
    ]
    await make_project(company)
    await pump(api)
    await start_scheduled(api.runtime, now=api.runtime.clock() + timedelta(days=1))
    for workflow in made:
        assert await company.runs(workflow) == []
    activated = await company.admin.post(f"/workflows/{made[0]['id']}/activate")
    assert activated.json()["isActive"] is True
    await make_project(company)
    await pump(api)
    assert len(await company.runs(made[0])) == 1


async def test_what_was_deactivated_meanwhile_is_skipped(api: Api, company: Company) -> None:
    workflow = await company.workflow(trigger=TRIGGERS["event"])
    await make_project(company)
    await pump(api)
    await company.admin.post(f"/workflows/{workflow['id']}/deactivate")
    async with working(api):
        await settle(api)
    (run,) = await company.runs(workflow)
    assert (run["state"], run["error"]) == ("skipped", "the workflow was deactivated")


async def test_a_time_that_passed_is_made_up_for_once(api: Api, company: Company) -> None:
    workflow = await company.workflow(trigger=TRIGGERS["schedule"])
    (row,) = await company.rows(WORKFLOWS, _id=workflow["id"])
    late = row["nextAt"] + timedelta(minutes=32)
    for now in (row["nextAt"] - timedelta(seconds=1), late, late):
        await start_scheduled(api.runtime, now=now)
    (run,) = await company.runs(workflow)
    assert run["origin"]["scheduledAt"] == row["nextAt"].strftime("%Y-%m-%dT%H:%M:00.000Z")
    (after,) = await company.rows(WORKFLOWS, _id=workflow["id"])
    assert late < after["nextAt"] <= late + timedelta(minutes=5)


async def test_a_clock_that_was_hours_ahead_silences_no_schedule(
    api: Api, company: Company
) -> None:
    workflow = await company.workflow(trigger=TRIGGERS["schedule"])
    (row,) = await company.rows(WORKFLOWS, _id=workflow["id"])
    await start_scheduled(api.runtime, now=row["nextAt"] + timedelta(hours=9))
    now = row["nextAt"] + timedelta(minutes=2)
    await pull_back(api.runtime, now=now)
    (after,) = await company.rows(WORKFLOWS, _id=workflow["id"])
    assert after["nextAt"] == row["nextAt"] + timedelta(minutes=5)
    await start_scheduled(api.runtime, now=after["nextAt"])
    assert len(await company.runs(workflow)) == 2


@pytest.mark.parametrize("behind", [timedelta(minutes=5), timedelta(days=2_000)])
async def test_a_leader_whose_clock_is_behind_pulls_nothing_back(
    api: Api, company: Company, behind: timedelta
) -> None:
    workflow = await company.workflow(trigger={**TRIGGERS["schedule"], "cron": "0 */6 * * *"})
    (row,) = await company.rows(WORKFLOWS, _id=workflow["id"])
    await start_scheduled(api.runtime, now=row["nextAt"])
    (before,) = await company.rows(WORKFLOWS, _id=workflow["id"])
    await pull_back(api.runtime, now=row["nextAt"] - behind)
    assert await company.rows(WORKFLOWS, _id=workflow["id"]) == [before]


async def test_a_schedule_that_two_leaders_see_runs_once(api: Api, company: Company) -> None:
    workflow = await company.workflow(trigger=TRIGGERS["schedule"])
    (row,) = await company.rows(WORKFLOWS, _id=workflow["id"])
    await asyncio.gather(*(start_scheduled(api.runtime, now=row["nextAt"]) for _ in range(4)))
    assert len(await company.runs(workflow)) == 1
    assert len(await company.rows(JOBS, kind="workflow.run")) == 1


async def test_the_next_time_follows_the_trigger(company: Company) -> None:
    workflow = await company.workflow(trigger=TRIGGERS["schedule"])
    path = f"/workflows/{workflow['id']}"
    await company.admin.post(f"{path}/deactivate")
    assert "nextAt" not in (await company.rows(WORKFLOWS, _id=workflow["id"]))[0]
    await company.admin.post(f"{path}/activate")
    assert "nextAt" in (await company.rows(WORKFLOWS, _id=workflow["id"]))[0]
    await company.admin.patch(path, {"trigger": {"type": "manual"}})
    assert "nextAt" not in (await company.rows(WORKFLOWS, _id=workflow["id"]))[0]


async def test_a_suspended_company_runs_nothing(api: Api, company: Company) -> None:
    workflow = await company.workflow(trigger=TRIGGERS["event"])
    await make_project(company)
    await pump(api)
    companies = api.runtime.db.platform("companies")
    await companies.update_one({"_id": company.id}, {"$set": {"status": "suspended"}})
    async with working(api):
        await settle(api)
    (row,) = await company.rows("workflow_runs", workflowId=workflow["id"])
    assert (row["state"], row["error"]) == ("skipped", "the company is suspended")


def test_the_ends_of_runs_are_events() -> None:
    assert {"workflow.executed", "workflow.failed"} <= set(CATALOGUE)
