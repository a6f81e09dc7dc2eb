"""Tasks over the API: create, read, change, and what is not acceptable."""

from typing import Any

import pytest

from novapulse.core.access import Role
from tests.support.api import Api, Person


@pytest.fixture(scope="module")
async def ada(api: Api) -> Person:
    return await api.found_company()


async def make(person: Person, **fields: Any) -> dict[str, Any]:
    answer = await person.post("/tasks", {"title": "Paint", **fields})
    assert answer.status == 201, answer
    made: dict[str, Any] = answer.json()
    return made


async def test_a_new_task_is_answered_as_it_is_kept(api: Api, ada: Person) -> None:
    bob = await api.add_member(str(ada.company_id))
    given = {
        "title": "Pläne für 2027 😀",
        "description": "line\nline",
        "assigneeId": bob.id,
        "status": "in_progress",
        "priority": "urgent",
        "dueAt": "2027-01-01T12:00:00+02:00",
        "labels": ["b", "a", "b"],
    }
    answer = await ada.post("/tasks", given)
    assert answer.status == 201
    made = answer.json()
    assert made == {
        **given,
        "id": made["id"],
        "projectId": None,
        "dueAt": "2027-01-01T10:00:00.000Z",
        "createdBy": ada.id,
        "createdAt": made["createdAt"],
        "updatedAt": made["createdAt"],
        "completedAt": None,
        "version": 1,
    }
    read = await ada.get(f"/tasks/{made['id']}")
    assert (read.body, read.headers["etag"]) == (answer.body, '"1"')
    assert answer.headers["content-type"] == "application/json; charset=utf-8"


async def test_what_is_left_out_has_a_default(ada: Person) -> None:
    made = await make(ada)
    assert (made["status"], made["priority"], made["labels"]) == ("todo", "medium", [])
    assert made["assigneeId"] is made["dueAt"] is made["description"] is None


async def test_a_change_is_a_new_version(ada: Person) -> None:
    made = await make(ada, labels=["x"])
    answer = await ada.patch(f"/tasks/{made['id']}", {"title": "Paint again", "labels": []})
    assert answer.status == 200
    after = answer.json()
    assert (after["title"], after["labels"], after["version"]) == ("Paint again", [], 2)
    assert answer.headers["etag"] == '"2"'
    assert after["createdAt"] == made["createdAt"]
    assert (await ada.get(f"/tasks/{made['id']}")).json() == after


async def test_done_is_dated_and_undone_is_not(ada: Person) -> None:
    made = await make(ada)
    done = (await ada.patch(f"/tasks/{made['id']}", {"status": "done"})).json()
    assert done["completedAt"] == done["updatedAt"]
    undone = (await ada.patch(f"/tasks/{made['id']}", {"status": "todo"})).json()
    assert undone["completedAt"] is None


@pytest.mark.parametrize("body", [{}, {"title": "Paint"}, {"labels": [], "dueAt": None}])
async def test_changing_nothing_writes_nothing(api: Api, ada: Person, body: Any) -> None:
    made = await make(ada)
    events = len(await api.rows("events", resourceId=made["id"]))
    answer = await ada.patch(f"/tasks/{made['id']}", body)
    assert (answer.status, answer.json()) == (200, made)
    assert len(await api.rows("events", resourceId=made["id"])) == events


async def test_if_match_guards_against_what_happened_in_between(ada: Person) -> None:
    made = await make(ada)
    path = f"/tasks/{made['id']}"
    guarded = {"if-match": '"1"'}
    assert (await ada.patch(path, {"title": "first"}, headers=guarded)).status == 200
    answer = await ada.patch(path, {"title": "second"}, headers=guarded)
    assert (answer.status, answer.code) == (412, "version_conflict")
    assert (await ada.get(path)).json()["title"] == "first"
    assert (await ada.patch(path, {"title": "third"}, headers={"if-match": "*"})).status == 200


@pytest.mark.parametrize("tag", ["1", '"2"', 'W/"1"', '"x"', "", '"1', '"-1"', '"1", "2"', '"١"'])
async def test_another_tag_never_matches(ada: Person, tag: str) -> None:
    made = await make(ada)
    latin = tag.encode().decode("latin-1")
    answer = await ada.patch(f"/tasks/{made['id']}", {"title": "x"}, headers={"if-match": latin})
    assert answer.status == 412


async def test_a_stale_tag_of_a_task_that_is_not_there_is_not_there(ada: Person) -> None:
    answer = await ada.patch(f"/tasks/{'0' * 24}", {"title": "x"}, headers={"if-match": '"9"'})
    assert answer.status == 404


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "title"),
        ({"title": "x", "colour": "red"}, "colour"),
        ({"title": "x", "companyId": "0" * 24}, "companyId"),
        ({"title": "x", "_id": "0" * 24}, "_id"),
        ({"title": "x", "id": "0" * 24}, "id"),
        ({"title": "x", "createdBy": "0" * 24}, "createdBy"),
        ({"title": "x", "version": 7}, "version"),
        ({"title": "x", "$set": {"companyId": "1"}}, "$set"),
        ({"title": {"$ne": None}}, "title"),
        ({"title": ""}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"title": "x", "status": "finished"}, "status"),
        ({"title": "x", "labels": ["ok", ""]}, "labels[1]"),
        ({"title": "x", "dueAt": "2026-02-30T00:00:00Z"}, "dueAt"),
        ({"title": "x", "dueAt": "2026-01-01T00:00:00"}, "dueAt"),
        ({"title": "x", "assigneeId": "me"}, "assigneeId"),
        ([], ""),
        ("x", ""),
        (None, ""),
    ],
)
async def test_unacceptable_values_are_named_and_nothing_is_written(
    api: Api, ada: Person, body: Any, path: str
) -> None:
    before = len(await api.rows("tasks"))
    answer = await ada.post("/tasks", body)
    assert (answer.status, answer.code) == (422, "invalid")
    assert answer.paths == [path]
    assert len(await api.rows("tasks")) == before


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
async def test_a_date_beyond_all_calendars_is_no_bug(ada: Person, moment: str) -> None:
    made = await make(ada)
    assert (await ada.post("/tasks", {"title": "x", "dueAt": moment})).status == 422
    assert (await ada.patch(f"/tasks/{made['id']}", {"dueAt": moment})).status == 422


async def test_the_ends_of_the_calendar_are_kept(ada: Person) -> None:
    for moment in ("0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"):
        made = await make(ada, dueAt=moment)
        assert (await ada.get(f"/tasks/{made['id']}")).json()["dueAt"] == moment


@pytest.mark.parametrize(
    "task_id", ["x", "0" * 23, "0" * 25, "G" * 24, "$ne", "..", "%00", "%0A", "0" * 24 + "%0A", "é"]
)
async def test_an_id_of_no_possible_shape_is_not_there(ada: Person, task_id: str) -> None:
    answer = await ada.get(f"/tasks/{task_id}")
    assert (answer.status, answer.code) == (404, "not_found")


async def test_a_user_sees_and_moves_own_tasks_only(api: Api, ada: Person) -> None:
    bob = await api.add_member(str(ada.company_id))
    theirs, assigned = await make(ada), await make(ada, assigneeId=bob.id)
    own = await make(bob)
    assert (await bob.get(f"/tasks/{theirs['id']}")).status == 404
    assert (await bob.patch(f"/tasks/{theirs['id']}", {"status": "done"})).status == 404
    seen = {task["id"] for task in (await bob.get("/tasks")).json()["data"]}
    assert seen == {assigned["id"], own["id"]}
    for task in (assigned, own):
        moved = await bob.patch(f"/tasks/{task['id']}", {"status": "done"})
        assert moved.json()["status"] == "done"
        renamed = await bob.patch(f"/tasks/{task['id']}", {"title": "mine"})
        assert (renamed.status, renamed.code) == (403, "forbidden")


async def test_a_user_assigns_to_nobody_else(api: Api, ada: Person) -> None:
    bob = await api.add_member(str(ada.company_id))
    assert (await bob.post("/tasks", {"title": "x", "assigneeId": bob.id})).status == 201
    for other in (ada.id, "0" * 24):
        answer = await bob.post("/tasks", {"title": "x", "assigneeId": other})
        assert answer.status in (403, 422)


@pytest.mark.parametrize("role", [Role.COMPANY_ADMIN, Role.MANAGER])
async def test_who_leads_sees_everything(api: Api, ada: Person, role: Role) -> None:
    bob = await api.add_member(str(ada.company_id))
    boss = await api.add_member(str(ada.company_id), role)
    made = await make(bob)
    assert (await boss.get(f"/tasks/{made['id']}")).status == 200
    assert (await boss.patch(f"/tasks/{made['id']}", {"assigneeId": boss.id})).status == 200
