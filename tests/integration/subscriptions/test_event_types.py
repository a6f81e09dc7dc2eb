"""The catalogue: every public type with a schema that its example and real events fit."""

import json
from typing import Any

import pytest

from novapulse.core import wire
from novapulse.core.access import Role
from novapulse.core.events import CATALOGUE, INTERNAL, EventRow
from novapulse.subscriptions import catalogue
from tests.support.api import Api, Person
from tests.support.jsonschema import violations


@pytest.fixture(scope="module")
async def ada(api: Api) -> Person:
    return await api.found_company()


async def test_the_catalogue_has_every_public_type_and_no_other(ada: Person) -> None:
    answer = await ada.get("/webhook-event-types")
    assert answer.status == 200
    listed = answer.json()
    assert [one["name"] for one in listed["data"]] == sorted(CATALOGUE)
    assert listed["page"] == {"nextCursor": None, "limit": len(CATALOGUE)}
    assert not {one["name"] for one in listed["data"]} & set(INTERNAL)
    for one in listed["data"]:
        assert set(one) == {"name", "schema", "example"}


async def test_who_may_read_webhooks_may_read_it(api: Api, ada: Person) -> None:
    company = str(ada.company_id)
    for role, status in ((Role.MANAGER, 200), (Role.USER, 403)):
        person = await api.add_member(company, role)
        assert (await person.get("/webhook-event-types")).status == status


@pytest.mark.parametrize("one", catalogue.event_types(), ids=lambda one: one.name)
def test_an_example_fits_its_schema_and_is_what_a_receiver_writes_again(
    one: catalogue.EventType,
) -> None:
    assert violations(one.example, one.schema) == []
    assert one.example["event"] == one.name
    compact = json.dumps(one.example, ensure_ascii=False, separators=(",", ":"))
    assert compact.encode() == wire.encode(one.example)


@pytest.mark.parametrize(
    "broken",
    [
        {"event": "task.nothing"},
        {"sequence": "1"},
        {"id": "evt_"},
        {"createdAt": "now"},
        {"data": {}},
        {"data": {"task": {"id": "x"}}},
    ],
)
def test_what_does_not_fit_is_noticed(broken: dict[str, Any]) -> None:
    (task,) = [one for one in catalogue.event_types() if one.name == "task.created"]
    assert violations({**task.example, **broken}, task.schema) != []


async def test_every_event_that_the_program_recorded_fits_its_schema(api: Api, ada: Person) -> None:
    """A life of things that happen, told as receivers are told."""
    task = (await ada.post("/tasks", {"title": "Ä – “x” \u2028", "labels": ["a"]})).json()
    await ada.patch(f"/tasks/{task['id']}", {"status": "done", "priority": "low"})
    await ada.post("/invites", {"email": "eve@example.com", "role": "user"})
    await ada.patch("/company", {"name": "Another name"})
    schemas = {one.name: one.schema for one in catalogue.event_types()}
    rows = await api.rows("events", companyId=ada.company_id)
    public = [row for row in rows if row["type"] in CATALOGUE]
    assert {"task.created", "task.updated", "invite.created"} <= {row["type"] for row in public}
    for row in public:
        body = wire.convert({**row, "sequence": 1}, EventRow).body()
        assert violations(json.loads(body), schemas[row["type"]]) == [], row["type"]
