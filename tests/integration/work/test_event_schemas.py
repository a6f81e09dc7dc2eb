"""Whatever tasks and projects emit is what the catalogue of events promises."""

import json

from novapulse.core import wire
from novapulse.core.events import CATALOGUE, EventRow
from novapulse.subscriptions import catalogue
from tests.support.api import Api, Person
from tests.support.jsonschema import violations


async def live(ada: Person, bob: Person) -> None:
    """Everything that can happen to a project and its tasks, with and without what is optional."""
    project = (await ada.post("/projects", {"name": "Garten", "memberIds": [bob.id]})).json()
    times = {"startsAt": "2027-01-01T00:00:00Z", "endsAt": "2027-01-02T00:00:00Z"}
    await ada.patch(f"/projects/{project['id']}", {"description": "\u2028 “ä”", **times})
    await ada.post("/tasks", {"title": "x"})
    task = {
        "title": "Ä – “x” \u2028",
        "description": "\n\t😀",
        "projectId": project["id"],
        "assigneeId": bob.id,
        "status": "done",
        "priority": "urgent",
        "dueAt": "0001-01-01T00:00:00Z",
        "labels": ["a", "a"],
    }
    path = f"/tasks/{(await ada.post('/tasks', task)).json()['id']}"
    await ada.patch(path, {"assigneeId": None, "dueAt": None, "projectId": None, "labels": []})
    await ada.patch(path, {"status": "todo", "assigneeId": ada.id})
    await ada.patch(path, {"status": "done"})
    await ada.post(f"{path}/comments", {"body": "nobody"})
    await ada.post(f"{path}/comments", {"body": f"@{ada.email} @{bob.id} \u2028"})
    await ada.delete(path)
    await ada.delete(f"/projects/{project['id']}")


async def test_every_event_fits_its_schema(api: Api) -> None:
    ada = await api.found_company()
    bob = await api.add_member(str(ada.company_id))
    await live(ada, bob)
    schemas = {one.name: one.schema for one in catalogue.event_types()}
    ours = {name for name in CATALOGUE if name.partition(".")[0] in ("task", "project")}
    rows = await api.rows("events", companyId=ada.company_id)
    met = set()
    for row in rows:
        if row["type"] in ours:
            body = wire.convert({**row, "sequence": 1}, EventRow).body()
            assert violations(json.loads(body), schemas[row["type"]]) == [], row["type"]
            compact = json.dumps(json.loads(body), ensure_ascii=False, separators=(",", ":"))
            assert compact.encode() == body
            met.add(row["type"])
    assert met == ours
    assert {
        *("project.created", "project.updated", "project.archived"),
        *("task.created", "task.updated", "task.assigned", "task.completed"),
        *("task.commented", "task.deleted"),
    } == ours


async def test_the_greatest_event_is_within_what_a_webhook_may_carry(api: Api) -> None:
    ada = await api.found_company()
    task = {
        "title": "\u2028" * 200,
        "description": "\x01" * 10_000,
        "labels": ["\u2028" * 50] * 50,
    }
    path = f"/tasks/{(await ada.post('/tasks', task)).json()['id']}"
    said = await ada.post(f"{path}/comments", {"body": "\x01" * 10_000})
    assert said.status == 201
    (row,) = await api.rows("events", companyId=ada.company_id, type="task.commented")
    assert len(wire.convert({**row, "sequence": 1}, EventRow).body()) < 256 * 1024
