"""Workflows over the API: made, read, changed, copied, tried without effect; and who may."""

from typing import Any

import pytest

from novapulse.core.access import Role
from novapulse.workflows.model import MAX_WORKFLOWS
from tests.integration.runs.conftest import Company, log, pump, working
from tests.support.api import Api

EVENT = {"type": "event", "event": "task.created"}


@pytest.fixture(scope="module")
async def anybody(api: Api) -> Company:
    """For what changes nothing."""
    return Company(api, await api.found_company())


async def test_a_workflow_is_shown_as_it_was_given(company: Company) -> None:
    given = {
        "name": "Greet",
        "description": "says hello",
        "trigger": {"type": "schedule", "cron": "0 9 * * 1-5", "timeZone": "Europe/Berlin"},
        "conditions": {"not": {"field": "event.data.odd", "operator": "in", "value": [1, "$x.y"]}},
        "actions": [
            {
                "type": "call_webhook",
                "input": {"url": "https://x.example/", "body": {"$a.b": {"": 1.5}}},
            },
            {"type": "parallel", "actions": [{**log("a"), "name": "one"}, log("b")]},
        ],
        "isActive": False,
    }
    answer = await company.admin.post("/workflows", given)
    assert answer.status == 201, answer.body
    made = answer.json()
    assert answer.headers["etag"] == '"1"'
    assert {name: made[name] for name in ("name", "description", "trigger", "isActive")} == {
        name: given[name] for name in ("name", "description", "trigger", "isActive")
    }
    assert made["conditions"] == given["conditions"]
    assert made["actions"][0] == {**given["actions"][0], "actions": []}
    assert made["actions"][1]["actions"][0]["name"] == "one"
    assert made["createdBy"] == company.admin.id
    assert await company.get(f"/workflows/{made['id']}") == made
    assert (await company.get("/workflows?isActive=false"))["data"] == [made]
    assert (await company.get("/workflows?isActive=true"))["data"] == []


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"trigger": {"type": "event", "event": "task.crated"}}, "trigger.event"),
        ({"trigger": {"type": "event"}}, "trigger.event"),
        ({"trigger": {"type": "schedule", "cron": "* * *"}}, "trigger.cron"),
        ({"trigger": {"type": "schedule", "cron": "0 0 30 2 *"}}, "trigger.cron"),
        (
            {"trigger": {"type": "schedule", "cron": "* * * * *", "timeZone": "Mars/Base"}},
            "trigger.timeZone",
        ),
        ({"trigger": {"type": "often"}}, "trigger.type"),
        ({"trigger": {"type": "manual", "cron": "x"}}, "trigger.cron"),
        ({"conditions": {"field": "a", "operator": "like", "value": 1}}, "conditions.operator"),
        (
            {"conditions": {"all": [{"field": "a", "operator": "in", "value": 1}]}},
            "conditions.all[0].value",
        ),
        ({"actions": []}, "actions"),
        ({"actions": [{"type": "creat_task"}]}, "actions[0].type"),
        ({"actions": [{"type": "create_task", "input": {}}]}, "actions[0].input.title"),
        (
            {"actions": [{"type": "create_task", "input": {"title": "x", "tilte": "x"}}]},
            "actions[0].input.tilte",
        ),
        (
            {"actions": [{"type": "create_task", "input": {"title": "{{ event.x }}", "prio": 1}}]},
            "actions[0].input.prio",
        ),
        (
            {
                "actions": [
                    {
                        "type": "create_task",
                        "input": {"title": "{{ event.x }}", "priority": "enormous"},
                    }
                ]
            },
            "actions[0].input.priority",
        ),
        ({"actions": [log("{{ event.x")]}, "actions[0].input.message"),
        ({"actions": [log("x"), log("{{ a | b }}")]}, "actions[1].input.message"),
        ({"actions": [{"type": "delay", "input": {}}]}, "actions[0].input"),
        ({"actions": [{"type": "delay", "input": {"days": 31}}]}, "actions[0].input"),
        (
            {"actions": [{"type": "log", "input": {"message": "x"}, "actions": [log("x")]}]},
            "actions",
        ),
        ({"actions": [{"type": "parallel", "actions": []}]}, "actions[0]"),
        (
            {
                "actions": [
                    {"type": "parallel", "actions": [{"type": "parallel", "actions": [log("x")]}]}
                ]
            },
            "actions[0].actions[0]",
        ),
        (
            {"actions": [{"type": "parallel", "actions": [{"type": "lag"}]}]},
            "actions[0].actions[0].type",
        ),
        ({"actions": [{"type": "parallel", "actions": [log("x")] * 51}] * 2}, "actions"),
        ({"actions": [{**log("x"), "name": "a"}, {**log("y"), "name": "a"}]}, "actions"),
        ({"actions": [{**log("x"), "name": "a b"}]}, "actions[0].name"),
        ({"name": ""}, "name"),
        ({"isActve": True}, "isActve"),
    ],
)
async def test_what_can_not_be_is_refused_with_its_place(
    anybody: Company, fields: dict[str, Any], path: str
) -> None:
    command = {"name": "x", "trigger": {"type": "manual"}, "actions": [log("x")], **fields}
    answer = await anybody.admin.post("/workflows", command)
    assert answer.status == 422, answer.body
    assert answer.paths[0].startswith(path)


async def test_actions_are_at_most_64_kib(company: Company) -> None:
    command = {"name": "x", "trigger": {"type": "manual"}, "actions": [log("x" * 9_000)] * 8}
    assert (await company.admin.post("/workflows", command)).status == 413


async def test_a_change_is_guarded_by_its_version(company: Company) -> None:
    made = await company.workflow()
    path = f"/workflows/{made['id']}"
    changed = await company.admin.patch(path, {"name": "new"}, headers={"if-match": '"1"'})
    assert (changed.status, changed.json()["version"]) == (200, 2)
    again = await company.admin.patch(path, {"name": "x"}, headers={"if-match": '"1"'})
    assert again.status == 412
    assert (await company.admin.patch(path, {"name": "new"})).json()["version"] == 2
    assert (await company.admin.patch(path, {"actions": [{"type": "x"}]})).status == 422
    assert (await company.admin.delete(path, headers={"if-match": '"1"'})).status == 412
    assert (await company.admin.delete(path, headers={"if-match": '"2"'})).status == 204
    assert (await company.admin.get(path)).status == 404


async def test_a_copy_is_not_active(company: Company) -> None:
    made = await company.workflow(trigger=EVENT)
    answer = await company.admin.post(f"/workflows/{made['id']}/duplicate")
    copy = answer.json()
    assert (answer.status, copy["name"], copy["isActive"]) == (201, "Copy of a workflow", False)
    assert (copy["trigger"], copy["actions"]) == (made["trigger"], made["actions"])
    assert copy["id"] != made["id"]


async def test_a_company_has_so_many_workflows_only(api: Api, company: Company) -> None:
    rows = [{"_id": f"{number:024x}", "companyId": company.id} for number in range(MAX_WORKFLOWS)]
    await api.runtime.db.platform("workflows").insert_many(rows)
    command = {"name": "x", "trigger": {"type": "manual"}, "actions": [log("x")]}
    answer = await company.admin.post("/workflows", command)
    assert (answer.status, answer.code) == (409, "too_many_workflows")
    await api.runtime.db.platform("workflows").delete_many({"companyId": company.id})


async def test_changes_are_lines_of_the_audit_log(company: Company) -> None:
    made = await company.workflow(
        {
            "type": "call_webhook",
            "input": {"url": "https://x.example/", "headers": {"X-Key": "s3cret"}},
        }
    )
    await company.admin.post(f"/workflows/{made['id']}/deactivate")
    await company.admin.delete(f"/workflows/{made['id']}")
    rows = await company.rows("events", resourceId=made["id"])
    assert [row["type"] for row in rows] == [
        *("workflow.created", "workflow.updated", "workflow.deleted")
    ]
    assert rows[1]["data"]["changed"] == ["isActive"]
    assert "s3cret" not in repr(rows)


async def test_a_dry_run_shows_what_would_happen_and_changes_nothing(company: Company) -> None:
    made = await company.workflow(
        {"type": "create_task", "name": "t", "input": {"title": "For {{ event.data.title }}"}},
        {"type": "delay", "input": {"days": 1}},
        log("made {{ steps.t.output.id }}"),
        {"type": "create_task", "input": {"title": "{{ input.nothing }}"}},
        trigger=EVENT,
        conditions={"field": "event.data.priority", "operator": "equals", "value": "urgent"},
    )
    for priority in ("urgent", "low"):
        await company.admin.post("/tasks", {"title": priority, "priority": priority})
    urgent, low = (row["_id"] for row in await company.rows("events", type="task.created"))
    before = await everything(company)
    path = f"/workflows/{made['id']}/run"
    answer = await company.admin.post(path, {"dryRun": True, "eventId": urgent})
    assert answer.status == 200
    run = answer.json()
    assert (run["state"], run["error"]) == ("dry_run", None)
    shown = [(step["action"], step["input"], step["error"] is None) for step in run["steps"]]
    assert shown == [
        ("create_task", {"title": "For urgent"}, True),
        ("delay", {"days": 1}, True),
        ("log", {"message": "made {{ steps.t.output.id }}"}, True),
        ("create_task", {"title": None}, False),
    ]
    answer = await company.admin.post(path, {"dryRun": True, "eventId": low})
    assert answer.json()["error"] == "the conditions do not hold"
    assert answer.json()["steps"] == []
    async with working(company.api):
        assert await everything(company) == before


async def everything(company: Company) -> dict[str, list[Any]]:
    """Every row of the company but for those of its people and sessions."""
    names = set(await company.api.collections()) - {"sessions", "users", "companies", "jobs"}
    found = {name: await company.rows(name) for name in sorted(names)}
    found["jobs"] = [row["_id"] for row in await company.rows("jobs", queue="workflow")]
    return found


async def test_an_event_of_another_company_can_not_be_run_with(api: Api, company: Company) -> None:
    stranger = Company(api, await api.found_company())
    await stranger.admin.post("/tasks", {"title": "secret"})
    (event,) = await stranger.rows("events", type="task.created")
    made = await company.workflow()
    for event_id in (event["_id"], "evt_" + "0" * 26):
        command = {"dryRun": True, "eventId": event_id}
        assert (await company.admin.post(f"/workflows/{made['id']}/run", command)).status == 404


async def test_workflows_and_runs_of_another_company_do_not_exist(
    api: Api, company: Company
) -> None:
    stranger = Company(api, await api.found_company())
    run = await stranger.done(log("x"))
    workflow = f"/workflows/{run['workflowId']}"
    mine = await company.workflow()
    for method, path, body in (
        ("GET", workflow, None),
        ("PATCH", workflow, {"name": "x"}),
        ("DELETE", workflow, None),
        ("POST", f"{workflow}/run", {}),
        ("POST", f"{workflow}/activate", None),
        ("POST", f"{workflow}/duplicate", None),
        ("GET", f"{workflow}/runs", None),
        ("GET", f"/workflow-runs/{run['id']}", None),
        ("POST", f"/workflow-runs/{run['id']}/retry", None),
    ):
        options = {} if body is None else {"data": body}
        assert (await company.admin.request(method, path, **options)).status == 404, path
    assert [one["id"] for one in (await company.get("/workflows"))["data"]] == [mine["id"]]
    theirs = await company.done(
        {"type": "run_workflow", "input": {"workflowId": run["workflowId"]}}
    )
    assert "no such workflow" in theirs["error"]


async def test_an_event_starts_no_workflow_of_another_company(api: Api, company: Company) -> None:
    stranger = Company(api, await api.found_company())
    mine = await company.workflow(trigger={"type": "event", "event": "*"})
    await pump(api)
    before = len(await company.runs(mine))
    await stranger.admin.post("/tasks", {"title": "x"})
    await pump(api)
    assert len(await company.runs(mine)) == before


async def test_who_may_not_run_workflows_does_not_see_what_goes_through_them(
    api: Api, company: Company
) -> None:
    user = await api.add_member(company.id, Role.USER)
    run = await company.done(
        {
            "type": "call_webhook",
            "input": {"url": "http://10.1.2.3/", "headers": {"Authorization": "Bearer s3cret"}},
        },
        log("private"),
    )
    assert run["steps"][0]["input"] is not None
    shown = (await user.get(f"/workflow-runs/{run['id']}")).json()
    assert [(step["input"], step["output"]) for step in shown["steps"]] == [(None, None)] * 2
    for path in ("/workflows", f"/workflows/{run['workflowId']}"):
        answer = await user.get(path)
        assert answer.status == 200
        assert b"s3cret" not in answer.body
        assert b"s3cret" in (await company.admin.get(path)).body
    assert (await user.post(f"/workflows/{run['workflowId']}/run", {})).status == 403


async def test_runs_are_listed_newest_first_in_pages(company: Company) -> None:
    made = await company.workflow()
    ids = [await company.run(made) for _ in range(5)]
    path = f"/workflows/{made['id']}/runs"
    first = await company.get(f"{path}?limit=3")
    rest = await company.get(f"{path}?limit=3&cursor={first['page']['nextCursor']}")
    found = [one["id"] for one in (*first["data"], *rest["data"])]
    assert sorted(found) == sorted(ids)
    created = [one["createdAt"] for one in (*first["data"], *rest["data"])]
    assert created == sorted(created, reverse=True)
    assert (await company.get(f"{path}?state=failed"))["data"] == []
    assert (await company.admin.get(f"{path}?state=x")).status == 422


async def test_the_same_idempotency_key_is_one_run(company: Company) -> None:
    made = await company.workflow()
    path, key = f"/workflows/{made['id']}/run", {"idempotency-key": "k1"}
    answers = [await company.admin.post(path, {}, headers=key) for _ in range(3)]
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body for answer in answers}) == 1
    assert len(await company.runs(made)) == 1
