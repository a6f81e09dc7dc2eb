"""Departments over the API."""

import asyncio
from typing import Any

import pytest

from novapulse.core.access import Role
from tests.support.api import Api, Person

MISSING = "0" * 24


@pytest.fixture
async def ada(api: Api) -> Person:
    return await api.found_company()


async def make(person: Person, name: str, **fields: Any) -> dict[str, Any]:
    answer = await person.post("/departments", {"name": name, **fields})
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json()
    return made


async def test_a_department_is_made_changed_and_deleted(api: Api, ada: Person) -> None:
    bob = await api.add_member(str(ada.company_id), Role.MANAGER)
    made = await make(ada, "Support", managerId=bob.id, memberIds=[ada.id])
    path = f"/departments/{made['id']}"
    assert made == {
        "id": made["id"],
        "name": "Support",
        "managerId": bob.id,
        "memberIds": [ada.id],
        "createdBy": ada.id,
        "createdAt": made["createdAt"],
        "updatedAt": made["createdAt"],
        "version": 1,
    }
    read = await bob.get(path)
    assert (read.json(), read.headers["etag"]) == (made, '"1"')
    after = (await ada.patch(path, {"managerId": None})).json()
    assert (after["managerId"], after["memberIds"], after["version"]) == (None, [ada.id], 2)
    assert (await ada.patch(path, {})).json() == after
    stale = {"if-match": '"1"'}
    assert (await ada.patch(path, {"name": "x"}, headers=stale)).status == 412
    assert (await ada.delete(path, headers=stale)).status == 412
    assert (await ada.delete(path, headers={"if-match": '"2"'})).status == 204
    assert (await ada.get(path)).status == (await ada.delete(path)).status == 404
    rows = await api.rows("events", resourceId=made["id"])
    told = [(row["type"], row["data"].get("changed"), row["isPlanned"]) for row in rows]
    assert told == [
        ("department.created", None, True),
        ("department.updated", ["managerId"], True),
        ("department.deleted", None, True),
    ]


async def test_its_changes_are_lines_of_the_audit_log(ada: Person) -> None:
    made = await make(ada, "Support")
    lines = (await ada.get(f"/audit?resource={made['id']}")).json()["data"]
    assert [(line["action"], line["data"]) for line in lines] == [
        ("department.created", {"department": made})
    ]


async def test_a_company_has_one_department_of_a_name(api: Api, ada: Person) -> None:
    made, other = await make(ada, "Support"), await make(ada, "Sales")
    for answer in (
        await ada.post("/departments", {"name": " SUPPORT"}),
        await ada.patch(f"/departments/{other['id']}", {"name": "support"}),
    ):
        assert (answer.status, answer.code) == (409, "department_exists")
    renamed = await ada.patch(f"/departments/{made['id']}", {"name": "SUPPORT"})
    assert renamed.json()["name"] == "SUPPORT"
    await make(await api.found_company(), "Support")
    await ada.delete(f"/departments/{made['id']}")
    await make(ada, "Support")


async def test_of_many_of_one_name_at_once_one_is_made(ada: Person) -> None:
    tries = [ada.post("/departments", {"name": "Support"}) for _ in range(8)]
    answers = await asyncio.gather(*tries)
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7


async def test_everybody_in_it_is_of_the_company(api: Api, ada: Person) -> None:
    eve = await api.found_company()
    made = await make(ada, "Support")
    path = f"/departments/{made['id']}"
    for stranger in (eve.id, MISSING):
        body = {"name": "x", "managerId": stranger, "memberIds": [ada.id, stranger]}
        for answer in (await ada.post("/departments", body), await ada.patch(path, body)):
            assert (answer.status, answer.paths) == (422, ["managerId", "memberIds[1]"])
    assert (await ada.get(path)).json() == made


async def test_a_list_is_filtered_and_paged(api: Api, ada: Person) -> None:
    bob = await api.add_member(str(ada.company_id))
    for number in range(3):
        await make(ada, f"{number}", managerId=ada.id, memberIds=[bob.id] if number else [])
    first = (await bob.get("/departments?limit=2")).json()
    cursor = first["page"]["nextCursor"]
    rest = (await bob.get(f"/departments?limit=2&cursor={cursor}")).json()
    assert [one["name"] for one in first["data"] + rest["data"]] == ["2", "1", "0"]
    found = (await bob.get(f"/departments?memberId={bob.id}")).json()["data"]
    assert [one["name"] for one in found] == ["2", "1"]
    assert (await bob.get(f"/departments?memberId={ada.id}")).json()["data"] == []
    for query, path in (("memberId=me", "memberId"), ("name=x", "name"), ("cursor=x", "cursor")):
        answer = await bob.get(f"/departments?{query}")
        assert (answer.status, answer.paths) == (422, [path])


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x", "managerId": "me"}, "managerId"),
        ({"name": "x", "memberIds": [None]}, "memberIds[0]"),
        ({"name": "x", "memberIds": [MISSING] * 501}, "memberIds"),
        ({"name": "x", "colour": "red"}, "colour"),
    ],
)
async def test_unacceptable_values_are_named(ada: Person, body: Any, path: str) -> None:
    answer = await ada.post("/departments", body)
    assert (answer.status, answer.paths) == (422, [path])


async def test_only_administrators_write(api: Api, ada: Person) -> None:
    made = await make(ada, "Support")
    path = f"/departments/{made['id']}"
    for role in (Role.MANAGER, Role.USER):
        person = await api.add_member(str(ada.company_id), role)
        assert (await person.get(path)).status == 200
        assert (await person.post("/departments", {"name": "x"})).status == 403
        assert (await person.patch(path, {"name": "x"})).status == 403
        assert (await person.delete(path)).status == 403
