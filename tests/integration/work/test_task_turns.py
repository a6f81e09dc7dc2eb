"""Tasks that get a project or an assignee, are done, or are deleted: rules and events."""

import asyncio
from typing import Any

import pytest

from novapulse.core.access import Role
from tests.support.api import Api, Person

MISSING = "0" * 24


@pytest.fixture(scope="module")
async def ada(api: Api) -> Person:
    return await api.found_company()


@pytest.fixture(scope="module")
async def bob(api: Api, ada: Person) -> Person:
    return await api.add_member(str(ada.company_id))


async def make(person: Person, path: str = "/tasks", **fields: Any) -> dict[str, Any]:
    name = {"title": "Paint"} if path == "/tasks" else {"name": "Garden"}
    answer = await person.post(path, {**name, **fields})
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json()
    return made


async def told(api: Api, thing: dict[str, Any]) -> list[tuple[str, Any]]:
    """The types of a thing's events and what they say changed, oldest first."""
    rows = await api.rows("events", resourceId=thing["id"])
    return [(row["type"], row["data"].get("changed")) for row in rows]


async def test_a_task_belongs_to_a_project_of_the_company(api: Api, ada: Person) -> None:
    eve = await api.found_company()
    project, foreign = await make(ada, "/projects"), await make(eve, "/projects")
    made = await make(ada, projectId=project["id"])
    path = f"/tasks/{made['id']}"
    assert made["projectId"] == project["id"]
    for wrong in (foreign["id"], MISSING):
        for answer in (
            await ada.post("/tasks", {"title": "x", "projectId": wrong}),
            await ada.patch(path, {"projectId": wrong}),
        ):
            assert (answer.status, answer.paths) == (422, ["projectId"])
    assert (await ada.get(path)).json() == made
    assert (await ada.patch(path, {"projectId": None})).json()["projectId"] is None


async def test_an_archived_project_takes_no_further_tasks(ada: Person) -> None:
    project = await make(ada, "/projects")
    there, elsewhere = await make(ada, projectId=project["id"]), await make(ada)
    assert (await ada.delete(f"/projects/{project['id']}")).status == 204
    for answer in (
        await ada.post("/tasks", {"title": "x", "projectId": project["id"]}),
        await ada.patch(f"/tasks/{elsewhere['id']}", {"projectId": project["id"]}),
    ):
        assert (answer.status, answer.code) == (409, "project_archived")
    moved = await ada.patch(f"/tasks/{there['id']}", {"status": "done"})
    assert (moved.status, moved.json()["projectId"]) == (200, project["id"])


async def test_being_assigned_is_an_event_of_its_own(api: Api, ada: Person, bob: Person) -> None:
    made = await make(ada, assigneeId=bob.id)
    assert sorted(await told(api, made)) == [
        ("task.assigned", ["assigneeId"]),
        ("task.created", None),
    ]
    made = await make(ada)
    path = f"/tasks/{made['id']}"
    await ada.patch(path, {"title": "Paint again", "assigneeId": bob.id})
    await ada.patch(path, {"title": "Paint more"})
    await ada.patch(path, {"assigneeId": None})
    assert sorted(await told(api, made), key=repr) == [
        ("task.assigned", ["assigneeId"]),
        ("task.created", None),
        ("task.updated", ["assigneeId"]),
        ("task.updated", ["title", "assigneeId"]),
        ("task.updated", ["title"]),
    ]
    (row,) = await api.rows("events", resourceId=made["id"], type="task.assigned")
    task = row["data"]["task"]
    assert (task["assigneeId"], task["createdBy"], task["title"]) == (bob.id, ada.id, "Paint again")


async def test_being_done_is_an_event_of_its_own(api: Api, ada: Person) -> None:
    made = await make(ada)
    path = f"/tasks/{made['id']}"
    for status in ("review", "done", "todo", "done", "cancelled"):
        assert (await ada.patch(path, {"status": status})).status == 200
    assert [name for name, _ in await told(api, made)].count("task.completed") == 2
    made = await make(ada, status="done")
    assert made["completedAt"] == made["createdAt"]
    assert sorted(await told(api, made)) == [
        ("task.completed", ["status"]),
        ("task.created", None),
    ]


async def test_a_deleted_task_is_gone_with_its_comments(api: Api, ada: Person) -> None:
    made = await make(ada)
    path = f"/tasks/{made['id']}"
    await ada.post(f"{path}/comments", {"body": "Why?"})
    deleted = await ada.delete(path)
    assert (deleted.status, deleted.body) == (204, b"")
    for what in ("", "/comments", "/activity"):
        assert (await ada.get(path + what)).status == 404
    assert (await ada.delete(path)).status == 404
    assert await api.rows("comments", taskId=made["id"]) == []
    (row,) = await api.rows("events", resourceId=made["id"], type="task.deleted")
    assert row["data"]["task"] == made


async def test_deleting_is_guarded_by_the_version(ada: Person) -> None:
    made = await make(ada)
    path = f"/tasks/{made['id']}"
    await ada.patch(path, {"title": "x"})
    stale = await ada.delete(path, headers={"if-match": '"1"'})
    assert (stale.status, stale.code) == (412, "version_conflict")
    assert (await ada.delete(path, headers={"if-match": '"2"'})).status == 204


async def test_of_many_who_delete_at_once_one_does(api: Api, ada: Person) -> None:
    made = await make(ada)
    answers = await asyncio.gather(*(ada.delete(f"/tasks/{made['id']}") for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [204] + [404] * 7
    assert len(await api.rows("events", resourceId=made["id"], type="task.deleted")) == 1


async def test_a_comment_never_outlives_its_task(api: Api, ada: Person) -> None:
    for _ in range(5):
        made = await make(ada)
        path = f"/tasks/{made['id']}"
        said, *_ = await asyncio.gather(
            ada.post(f"{path}/comments", {"body": "Late"}), ada.delete(path)
        )
        assert said.status in (201, 404)
        assert await api.rows("comments", taskId=made["id"]) == []


async def test_a_user_deletes_nothing(ada: Person, bob: Person) -> None:
    own = await make(bob)
    assert (await bob.delete(f"/tasks/{own['id']}")).status == 403
    assert (await ada.delete(f"/tasks/{own['id']}")).status == 204


async def test_whose_task_it_was_sees_it_no_more(api: Api, ada: Person, bob: Person) -> None:
    manager = await api.add_member(str(ada.company_id), Role.MANAGER)
    made = await make(ada, assigneeId=bob.id)
    path = f"/tasks/{made['id']}"
    assert (await bob.get(path)).status == 200
    assert (await manager.patch(path, {"assigneeId": manager.id})).status == 200
    assert (await bob.get(path)).status == 404
    assert made["id"] not in {one["id"] for one in (await bob.get("/tasks")).json()["data"]}


async def test_one_idempotency_key_makes_one_task_and_its_events(api: Api, ada: Person) -> None:
    body = {"title": "Once", "assigneeId": ada.id}
    key = {"idempotency-key": "one task"}
    first, again = [await ada.post("/tasks", body, headers=key) for _ in range(2)]
    assert (first.body, first.status, again.status) == (again.body, 201, 201)
    assert len(await told(api, first.json())) == 2
