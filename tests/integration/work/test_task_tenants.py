"""Nothing of one company is seen, changed or hinted at by another."""

from typing import Any

import pytest

from novapulse.core.access import Role
from tests.support.api import Answer, Api, Person

MISSING = "0" * 24


def alike(one: Answer, other: Answer) -> bool:
    """The same in everything but the request's id."""
    headers = [{**answer.headers, "x-request-id": ""} for answer in (one, other)]
    return (one.status, one.anonymous_body()) == (other.status, other.anonymous_body()) and (
        headers[0] == headers[1]
    )


@pytest.fixture(scope="module")
async def ada(api: Api) -> Person:
    return await api.found_company()


@pytest.fixture(scope="module", params=[Role.COMPANY_ADMIN, Role.MANAGER, Role.USER])
async def eve(api: Api, request: pytest.FixtureRequest) -> Person:
    """Somebody of another company, in each role."""
    founder = await api.found_company()
    return await api.add_member(str(founder.company_id), request.param)


async def test_another_companys_task_is_as_missing_as_no_task(ada: Person, eve: Person) -> None:
    theirs = (await ada.post("/tasks", {"title": "Secret"})).json()
    for task_id in (theirs["id"],):
        there, nowhere = await eve.get(f"/tasks/{task_id}"), await eve.get(f"/tasks/{MISSING}")
        assert there.status == 404
        assert alike(there, nowhere)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"status": "done"}, {}),
        ({}, {}),
        ({"title": "x"}, {"if-match": '"1"'}),
        ({"title": "x"}, {"if-match": '"7"'}),
    ],
)
async def test_another_companys_task_can_not_be_changed(
    ada: Person, eve: Person, body: Any, headers: dict[str, str]
) -> None:
    made = (await ada.post("/tasks", {"title": "Secret"})).json()
    there = await eve.patch(f"/tasks/{made['id']}", body, headers=headers)
    nowhere = await eve.patch(f"/tasks/{MISSING}", body, headers=headers)
    assert there.status == 404
    assert alike(there, nowhere)
    assert (await ada.get(f"/tasks/{made['id']}")).json() == made


async def test_another_companys_tasks_are_not_listed(ada: Person, eve: Person) -> None:
    made = (await ada.post("/tasks", {"title": "Secret", "assigneeId": ada.id})).json()
    listed = (await eve.get("/tasks?limit=200")).json()["data"]
    assert made["id"] not in {task["id"] for task in listed}
    assert (await eve.get(f"/tasks?assigneeId={ada.id}")).json()["data"] == []


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_another_companys_user_is_as_missing_as_nobody(
    api: Api, ada: Person, method: str
) -> None:
    stranger = await api.found_company()
    made = (await ada.post("/tasks", {"title": "x"})).json()
    path = "/tasks" if method == "POST" else f"/tasks/{made['id']}"
    answers = [
        await ada.request(method, path, data={"title": "x", "assigneeId": user_id})
        for user_id in (stranger.id, MISSING)
    ]
    assert answers[0].status == 422
    assert answers[0].paths == ["assigneeId"]
    assert alike(*answers)
    assert (await ada.get(f"/tasks/{made['id']}")).json()["assigneeId"] is None


async def test_the_operator_is_nobody_that_a_companys_task_is_assigned_to(
    api: Api, ada: Person
) -> None:
    operator = await api.add_operator()
    named = {"x-novapulse-company": str(ada.company_id)}
    answer = await operator.post("/tasks", {"title": "x", "assigneeId": operator.id}, headers=named)
    assert (answer.status, answer.paths) == (422, ["assigneeId"])


async def test_events_carry_the_company_of_the_task(api: Api, ada: Person) -> None:
    made = (await ada.post("/tasks", {"title": "x"})).json()
    (row,) = await api.rows("events", resourceId=made["id"])
    assert row["companyId"] == ada.company_id
