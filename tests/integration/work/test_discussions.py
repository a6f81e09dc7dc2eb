"""Comments, mentions and what happened to a task."""

from typing import Any

import pytest

from novapulse.core.access import Role
from tests.support.api import Api, Person


@pytest.fixture(scope="module")
async def ada(api: Api) -> Person:
    return await api.found_company()


@pytest.fixture(scope="module")
async def bob(api: Api, ada: Person) -> Person:
    return await api.add_member(str(ada.company_id))


async def make(person: Person, **fields: Any) -> str:
    answer = await person.post("/tasks", {"title": "Paint", **fields})
    assert answer.status == 201, answer.body
    return f"/tasks/{answer.json()['id']}"


async def say(person: Person, path: str, body: str) -> dict[str, Any]:
    answer = await person.post(f"{path}/comments", {"body": body})
    assert answer.status == 201, answer.body
    said: dict[str, Any] = answer.json()
    return said


async def test_a_comment_is_answered_as_it_is_kept(api: Api, ada: Person, bob: Person) -> None:
    path = await make(ada, assigneeId=bob.id)
    said = await say(bob, path, "Which colour?\nBlue? 😀")
    assert said == {
        "id": said["id"],
        "taskId": path.rpartition("/")[2],
        "authorId": bob.id,
        "body": "Which colour?\nBlue? 😀",
        "mentions": [],
        "createdAt": said["createdAt"],
    }
    assert (await ada.get(f"{path}/comments")).json()["data"] == [said]
    (row,) = await api.rows("events", resourceId=said["taskId"], type="task.commented")
    assert row["data"]["comment"] == said
    assert row["data"]["task"] == (await ada.get(path)).json()


async def test_a_comment_leaves_the_tasks_version_alone(ada: Person) -> None:
    path = await make(ada)
    before = await ada.get(path)
    await say(ada, path, "x")
    assert (await ada.get(path)).body == before.body
    guarded = {"if-match": before.headers["etag"]}
    assert (await ada.patch(path, {"title": "y"}, headers=guarded)).status == 200


async def test_people_of_the_company_are_mentioned_by_address_or_id(
    api: Api, ada: Person, bob: Person
) -> None:
    eve = await api.found_company()
    path = await make(ada)
    body = (
        f"@{bob.email.upper()} and @{ada.id}, again @{bob.id}; @{eve.email} @{eve.id} @{'0' * 24}"
    )
    assert (await say(ada, path, body))["mentions"] == [bob.id, ada.id]
    assert (await say(ada, path, f"{bob.email} {bob.id}"))["mentions"] == []


async def test_comments_come_in_pages_newest_first(ada: Person) -> None:
    path = await make(ada)
    said = [await say(ada, path, str(number)) for number in range(5)]
    await say(ada, await make(ada), "elsewhere")
    first = (await ada.get(f"{path}/comments?limit=3")).json()
    rest = (await ada.get(f"{path}/comments?limit=3&cursor={first['page']['nextCursor']}")).json()
    assert first["data"] + rest["data"] == said[::-1]
    assert rest["page"]["nextCursor"] is None


async def test_one_idempotency_key_makes_one_comment(ada: Person) -> None:
    path = await make(ada)
    for _ in range(2):
        key = {"idempotency-key": "say it once"}
        assert (await ada.post(f"{path}/comments", {"body": "x"}, headers=key)).status == 201
    assert len((await ada.get(f"{path}/comments")).json()["data"]) == 1


async def test_the_activity_tells_who_did_what(api: Api, ada: Person, bob: Person) -> None:
    path = await make(ada, assigneeId=bob.id)
    await bob.patch(path, {"status": "done"})
    said = await say(bob, path, "Done!")
    found = (await ada.get(f"{path}/activity")).json()["data"]
    task = (await ada.get(path)).json()
    told = [(one["type"], one["actorId"], one["changes"], one["comment"]) for one in found]
    assert told[0] == ("task.commented", bob.id, {}, said)
    changes = {"status": "done", "completedAt": task["completedAt"]}
    turns = [
        ("task.completed", bob.id, {"status": "done"}, None),
        ("task.updated", bob.id, changes, None),
    ]
    assert sorted(told[1:3], key=repr) == turns
    assert {one[0] for one in told[3:]} == {"task.created", "task.assigned"}
    assert all(one[1] == ada.id for one in told[3:])
    assert all(one["via"] == "api" and one["id"].startswith("evt_") for one in found)
    assert b"192.0.2.1" not in (await ada.get(f"{path}/activity")).body


async def test_the_activity_comes_in_pages_and_meets_every_event_once(
    api: Api, ada: Person
) -> None:
    path = await make(ada)
    for number in range(5):
        await ada.patch(path, {"title": f"Paint {number}", "status": "done"})
        await ada.patch(path, {"status": "todo"})
    met: list[str] = []
    cursor = ""
    while cursor is not None:
        suffix = f"&cursor={cursor}" if cursor else ""
        page = (await ada.get(f"{path}/activity?limit=4{suffix}")).json()
        met += [one["id"] for one in page["data"]]
        cursor = page["page"]["nextCursor"]
    rows = await api.rows("events", resourceId=path.rpartition("/")[2])
    assert met == [row["_id"] for row in rows][::-1]


@pytest.mark.parametrize("what", ["comments", "activity"])
@pytest.mark.parametrize(
    ("query", "path"),
    [("limit=0", "limit"), ("cursor=x", "cursor"), ("q=x", "q"), ("limit=5&limit=5", "limit")],
)
async def test_a_query_that_says_something_else_is_unacceptable(
    ada: Person, what: str, query: str, path: str
) -> None:
    answer = await ada.get(f"{await make(ada)}/{what}?{query}")
    assert (answer.status, answer.paths) == (422, [path])


async def test_a_colleague_without_the_task_neither_reads_nor_comments(
    api: Api, ada: Person, bob: Person
) -> None:
    path = await make(ada)
    manager = await api.add_member(str(ada.company_id), Role.MANAGER)
    assert (await manager.post(f"{path}/comments", {"body": f"@{bob.email}"})).status == 201
    for answer in (
        await bob.get(f"{path}/comments"),
        await bob.get(f"{path}/activity"),
        await bob.post(f"{path}/comments", {"body": "x"}),
    ):
        assert (answer.status, answer.code) == (404, "not_found")
