"""Projects over the API."""

from typing import Any

import pytest

from novapulse.core.access import Role
from tests.support.api import Api, Person

MISSING = "0" * 24


@pytest.fixture(scope="module")
async def ada(api: Api) -> Person:
    return await api.found_company()


async def make(person: Person, **fields: Any) -> dict[str, Any]:
    answer = await person.post("/projects", {"name": "Garden", **fields})
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json()
    return made


async def told(api: Api, made: dict[str, Any]) -> list[tuple[str, Any]]:
    rows = await api.rows("events", resourceId=made["id"])
    return sorted(((row["type"], row["data"].get("changed")) for row in rows), key=repr)


async def test_a_new_project_is_answered_as_it_is_kept(api: Api, ada: Person) -> None:
    bob = await api.add_member(str(ada.company_id))
    given = {
        "name": "Gärten 2027",
        "description": "all\nof them",
        "status": "on_hold",
        "startsAt": "2027-01-01T00:00:00.000Z",
        "endsAt": "2027-06-30T00:00:00.000Z",
        "memberIds": [bob.id, ada.id],
    }
    answer = await ada.post("/projects", given)
    made = answer.json()
    assert made == {
        **given,
        "id": made["id"],
        "createdBy": ada.id,
        "createdAt": made["createdAt"],
        "updatedAt": made["createdAt"],
        "version": 1,
    }
    read = await bob.get(f"/projects/{made['id']}")
    assert (read.body, read.headers["etag"]) == (answer.body, '"1"')
    (row,) = await api.rows("events", resourceId=made["id"])
    assert (row["type"], row["data"]) == ("project.created", {"project": made})


async def test_a_change_is_a_new_version_and_an_event(api: Api, ada: Person) -> None:
    made = await make(ada)
    path = f"/projects/{made['id']}"
    answer = await ada.patch(path, {"name": "Park", "memberIds": [ada.id]})
    assert (answer.status, answer.headers["etag"]) == (200, '"2"')
    assert (await ada.get(path)).json() == answer.json()
    assert (await ada.patch(path, {"name": "Park"})).json() == answer.json()
    assert await told(api, made) == [
        ("project.created", None),
        ("project.updated", ["name", "memberIds"]),
    ]
    stale = await ada.patch(path, {"name": "x"}, headers={"if-match": '"1"'})
    assert (stale.status, stale.code) == (412, "version_conflict")


@pytest.mark.parametrize("verb", ["DELETE", "PATCH"])
async def test_archiving_is_an_event_once_and_can_be_taken_back(
    api: Api, ada: Person, verb: str
) -> None:
    made = await make(ada)
    path = f"/projects/{made['id']}"

    async def archive(**headers: str) -> int:
        if verb == "DELETE":
            return (await ada.delete(path, headers=headers)).status
        return (await ada.patch(path, {"status": "archived"}, headers=headers)).status

    assert await archive(**{"if-match": '"7"'}) == 412
    assert [await archive() for _ in range(2)] == [204 if verb == "DELETE" else 200] * 2
    archived = (await ada.get(path)).json()
    assert (archived["status"], archived["version"]) == ("archived", 2)
    assert (await ada.patch(path, {"status": "active"})).json()["status"] == "active"
    assert await told(api, made) == [
        ("project.archived", ["status"]),
        ("project.created", None),
        ("project.updated", ["status"]),
        ("project.updated", ["status"]),
    ]


async def test_one_that_begins_archived_says_so(api: Api, ada: Person) -> None:
    made = await make(ada, status="archived")
    assert await told(api, made) == [("project.archived", ["status"]), ("project.created", None)]


async def test_members_are_people_of_the_company(api: Api, ada: Person) -> None:
    eve = await api.found_company()
    made = await make(ada, memberIds=[ada.id])
    path = f"/projects/{made['id']}"
    for stranger in (eve.id, MISSING):
        members = [ada.id, stranger]
        for answer in (
            await ada.post("/projects", {"name": "x", "memberIds": members}),
            await ada.patch(path, {"memberIds": members}),
        ):
            assert (answer.status, answer.paths) == (422, ["memberIds[1]"])
            assert stranger.encode() not in answer.body
    assert (await ada.get(path)).json() == made


async def test_a_list_is_filtered_and_paged(api: Api) -> None:
    ada = await api.found_company()
    bob = await api.add_member(str(ada.company_id))
    made = [
        await make(
            ada,
            name=f"{number}",
            status="active" if number % 2 else "on_hold",
            memberIds=[bob.id] if number < 3 else [ada.id],
        )
        for number in range(5)
    ]

    async def names(query: str) -> str:
        found, cursor = "", ""
        while cursor is not None:
            suffix = f"&cursor={cursor}" if cursor else ""
            page = (await bob.get(f"/projects?limit=2{query}{suffix}")).json()
            found += "".join(project["name"] for project in page["data"])
            cursor = page["page"]["nextCursor"]
        return found

    assert await names("") == "43210"
    assert await names("&status=on_hold") == "420"
    assert await names(f"&memberId={bob.id}") == "210"
    assert await names(f"&memberId={bob.id}&status=active") == "1"
    assert await names("&status=archived") == ""
    assert (await bob.get(f"/projects/{made[0]['id']}")).json() == made[0]


@pytest.mark.parametrize(
    ("query", "path"),
    [
        *(("status=closed", "status"), ("memberId=me", "memberId"), ("q=x", "q")),
        *(("limit=0", "limit"), ("cursor=x", "cursor"), ("status[$ne]=x", "status[$ne]")),
    ],
)
async def test_a_query_that_says_something_else_is_unacceptable(
    ada: Person, query: str, path: str
) -> None:
    answer = await ada.get(f"/projects?{query}")
    assert (answer.status, answer.paths) == (422, [path])


async def test_one_idempotency_key_makes_one_project(api: Api, ada: Person) -> None:
    key = {"idempotency-key": "one project"}
    first, again = [await ada.post("/projects", {"name": "x"}, headers=key) for _ in range(2)]
    assert first.body == again.body
    assert len(await told(api, first.json())) == 1


async def test_a_user_reads_and_a_manager_writes(api: Api, ada: Person) -> None:
    bob = await api.add_member(str(ada.company_id))
    manager = await api.add_member(str(ada.company_id), Role.MANAGER)
    made = await make(manager)
    path = f"/projects/{made['id']}"
    assert (await bob.get(path)).status == (await bob.get("/projects")).status == 200
    assert (await bob.post("/projects", {"name": "x"})).status == 403
    assert (await bob.patch(path, {"name": "x"})).status == 403
    assert (await bob.delete(path)).status == 403
