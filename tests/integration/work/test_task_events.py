"""What a change of a task leaves behind, and many changes at once."""

import asyncio
from typing import Any

import pytest

from novapulse.core import wire
from novapulse.core.events import EventRow
from tests.support.api import Answer, Api, Person


@pytest.fixture(scope="module")
async def ada(api: Api) -> Person:
    return await api.found_company()


async def make(person: Person, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = (await person.post("/tasks", {"title": "Paint", **fields})).json()
    return made


async def patched(person: Person, path: str, change: Any, **options: Any) -> Answer:
    """Of many at once, some may be told to try again on a busy machine."""
    for _ in range(10):
        answer = await person.patch(path, change, **options)
        if answer.status != 503:
            return answer
        assert answer.json()["code"] == "busy"
    return answer


async def test_a_new_task_is_an_event_with_the_task_as_it_was(api: Api, ada: Person) -> None:
    headers = {"x-request-id": "order-7"}
    made = (await ada.post("/tasks", {"title": "Paint"}, headers=headers)).json()
    (row,) = await api.rows("events", resourceId=made["id"])
    assert row["type"] == "task.created"
    assert row["requestId"] == "order-7"
    actor = {"userId": ada.id, "role": "company_admin", "via": "api", "address": "192.0.2.1"}
    assert row["actor"] == actor
    assert row["data"] == {"task": made}
    assert "changed" not in row["data"]
    assert row["_id"].startswith("evt_")


async def test_a_change_is_an_event_that_names_what_changed(api: Api, ada: Person) -> None:
    made = await make(ada)
    after = (
        await ada.patch(
            f"/tasks/{made['id']}", {"status": "done", "labels": ["x"], "title": "Paint"}
        )
    ).json()
    (row,) = await api.rows("events", resourceId=made["id"], type="task.updated")
    assert sorted(row["data"]["changed"]) == ["completedAt", "labels", "status"]
    assert row["data"]["task"] == after


async def test_an_event_waits_for_the_pump_without_a_number(api: Api, ada: Person) -> None:
    made = await make(ada)
    (row,) = await api.rows("events", resourceId=made["id"])
    assert row["isPlanned"] is False
    assert "sequence" not in row
    assert wire.convert(row, EventRow).sequence == 0


async def test_a_refused_change_leaves_nothing(api: Api, ada: Person) -> None:
    made = await make(ada)
    path = f"/tasks/{made['id']}"
    await ada.patch(path, {"title": "x"}, headers={"if-match": '"9"'})
    await ada.patch(path, {"title": "x", "assigneeId": "0" * 24})
    assert len(await api.rows("events", resourceId=made["id"])) == 1
    assert (await ada.get(path)).json() == made


async def test_changes_at_once_of_other_fields_are_all_kept(api: Api, ada: Person) -> None:
    made = await make(ada)
    changes: dict[str, Any] = {
        "title": "Paint the house",
        "description": "all of it",
        "priority": "high",
        "status": "review",
        "assigneeId": ada.id,
        "dueAt": "2027-01-01T00:00:00.000Z",
        "labels": ["x"],
    }
    path = f"/tasks/{made['id']}"
    answers = await asyncio.gather(*(patched(ada, path, {k: v}) for k, v in changes.items()))
    assert [answer.status for answer in answers] == [200] * len(changes)
    after = (await ada.get(path)).json()
    assert {name: after[name] for name in changes} == changes
    assert after["version"] == 1 + len(changes)
    rows = await api.rows("events", resourceId=made["id"], type="task.updated")
    assert sorted(name for row in rows for name in row["data"]["changed"]) == sorted(changes)
    assert sorted(row["data"]["task"]["version"] for row in rows) == list(range(2, 9))


async def test_of_many_changes_of_one_version_exactly_one_wins(api: Api, ada: Person) -> None:
    made = await make(ada)
    guarded = {"if-match": '"1"'}
    patches = [
        patched(ada, f"/tasks/{made['id']}", {"title": f"by {number}"}, headers=guarded)
        for number in range(12)
    ]
    answers = await asyncio.gather(*patches)
    assert sorted(answer.status for answer in answers) == [200] + [412] * 11
    (winner,) = [answer.json() for answer in answers if answer.status == 200]
    assert (await ada.get(f"/tasks/{made['id']}")).json() == winner
    assert len(await api.rows("events", resourceId=made["id"], type="task.updated")) == 1


async def test_many_changes_of_one_field_are_one_after_the_other(api: Api, ada: Person) -> None:
    made = await make(ada)
    titles = {f"by {number}" for number in range(12)}
    path = f"/tasks/{made['id']}"
    answers = await asyncio.gather(*(patched(ada, path, {"title": title}) for title in titles))
    assert [answer.status for answer in answers] == [200] * 12
    assert {answer.json()["version"] for answer in answers} == set(range(2, 14))
    rows = await api.rows("events", resourceId=made["id"], type="task.updated")
    assert {row["data"]["task"]["title"] for row in rows} == titles
