"""The log as it is read: who sees which lines, by which filters, page by page."""

from typing import Any

import pytest

from novapulse.core.access import Role
from tests.support.api import Api, Person, as_principal
from tests.support.audit import make_tasks, seal
from tests.support.routes import acting_on


@pytest.fixture
async def ada(api: Api) -> Person:
    return await api.found_company()


async def lines(person: Person, query: str = "", *, limit: int = 200) -> list[dict[str, Any]]:
    answer = await person.get(f"/audit?limit={limit}{query}")
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def actions(person: Person, query: str = "") -> list[str]:
    return [line["action"] for line in await lines(person, query)]


async def test_a_line_says_who_what_on_what_when_and_from_where(api: Api, ada: Person) -> None:
    await ada.post("/tasks", {"title": "x"}, headers={"x-request-id": "asked-by-ada"})
    (line,) = await lines(ada, "&action=task.created")
    (row,) = await api.rows("events", _id=line["id"])
    assert line["actor"] == {
        "userId": ada.id,
        "role": "company_admin",
        "via": "api",
        "address": "192.0.2.1",
    }
    assert line["resource"] == {"type": "task", "id": row["resourceId"]}
    assert (line["companyId"], line["requestId"]) == (ada.company_id, "asked-by-ada")
    assert (line["changed"], line["data"]["task"]["title"]) == (None, "x")


async def test_what_changed_is_named(ada: Person) -> None:
    made = (await ada.post("/tasks", {"title": "x"})).json()
    await ada.patch(f"/tasks/{made['id']}", {"title": "y"})
    (line,) = await lines(ada, "&action=task.updated")
    assert line["changed"] == ["title"]
    assert line["data"]["task"]["title"] == "y"
    assert "changed" not in line["data"]


async def test_a_line_shows_whether_it_is_sealed(api: Api, ada: Person) -> None:
    await make_tasks(ada, 1)
    (line,) = await lines(ada, "&action=task.created")
    assert (line["sealed"], line["chain"]) == (False, None)
    await seal(api)
    (line,) = await lines(ada, "&action=task.created")
    (row,) = await api.rows("events", _id=line["id"])
    assert (line["sealed"], line["chain"]) == (True, row["audit"])


async def test_lines_are_found_by_what_they_are_about(api: Api, ada: Person) -> None:
    bob = await api.add_member(str(ada.company_id))
    made = (await bob.post("/tasks", {"title": "x"})).json()
    await ada.patch(f"/tasks/{made['id']}", {"title": "y"})
    await ada.post("/tasks", {"title": "z"})
    assert await actions(ada, f"&actor={bob.id}") == ["task.created", "session.started"]
    assert await actions(ada, f"&resource={made['id']}") == ["task.updated", "task.created"]
    assert await actions(ada, "&action=task.updated") == ["task.updated"]
    assert await actions(ada, "&action=task.*") == ["task.created", "task.updated", "task.created"]
    assert await actions(ada, f"&action=task.*&actor={bob.id}") == ["task.created"]
    assert await actions(ada, "&actor=system") == []
    assert await actions(ada, "&action=tas.*") == []


async def test_lines_are_found_by_their_time(ada: Person) -> None:
    for number in range(4):
        await ada.post("/tasks", {"title": f"{number}"})
    times = [line["createdAt"] for line in await lines(ada, "&action=task.created")]
    newest, *_, oldest = times
    assert len(await lines(ada, f"&action=task.created&from={oldest}")) == 4
    assert len(await lines(ada, f"&action=task.created&from={newest}")) == times.count(newest)
    before = await lines(ada, f"&action=task.created&to={newest}")
    assert len(before) == 4 - times.count(newest)
    assert await lines(ada, "&from=2999-01-01T00:00:00Z") == []


async def test_pages_have_every_line_once(ada: Person) -> None:
    await make_tasks(ada, 12)
    wanted = [line["id"] for line in await lines(ada)]
    seen: list[str] = []
    cursor = ""
    while True:
        answer = (await ada.get(f"/audit?limit=4{cursor}")).json()
        seen += [line["id"] for line in answer["data"]]
        if answer["page"]["nextCursor"] is None:
            break
        cursor = f"&cursor={answer['page']['nextCursor']}"
    assert seen == wanted
    assert len(seen) == 15


@pytest.mark.parametrize(
    "query",
    [
        *("actor=me", "actor=", "actor[$ne]=x", "action=task", "action=*", "action=task.created.x"),
        *("action=.*", "resource=a%20b", "resource=%00", "resource=", "from=yesterday"),
        *("from=2026-11-23T12:00:00", "to=2026-02-30T00:00:00Z", "to=9999-12-31T23:59:59-14:00"),
        *("cursor=x", "limit=0", "limit=201", "company=x", "actor=system&actor=system"),
    ],
)
async def test_a_filter_that_is_none_is_refused(ada: Person, query: str) -> None:
    answer = await ada.get(f"/audit?{query}")
    assert (answer.status, answer.code) == (422, "invalid")


async def test_a_company_sees_its_own_lines_only(api: Api, ada: Person) -> None:
    eve = await api.found_company()
    made = (await eve.post("/tasks", {"title": "x"})).json()
    assert {line["companyId"] for line in await lines(ada)} == {ada.company_id}
    assert await lines(ada, f"&actor={eve.id}") == []
    assert await lines(ada, f"&resource={made['id']}") == []
    cursor = (await eve.get("/audit?limit=1")).json()["page"]["nextCursor"]
    assert {line["companyId"] for line in await lines(ada, f"&cursor={cursor}")} == {ada.company_id}


@pytest.mark.parametrize("role", [Role.MANAGER, Role.USER])
async def test_who_is_no_administrator_sees_nothing(api: Api, ada: Person, role: Role) -> None:
    member = await api.add_member(str(ada.company_id), role)
    assert (await member.get("/audit")).status == 403


async def test_the_operator_sees_all_and_with_the_header_one_company(api: Api, ada: Person) -> None:
    eve, operator = await api.found_company(), await api.add_operator()
    companies = {line["companyId"] for line in await lines(operator)}
    assert {ada.company_id, eve.company_id, "platform"} <= companies
    acting = acting_on(operator, str(ada.company_id))
    found = await lines(acting)
    assert {line["companyId"] for line in found} == {ada.company_id}
    assert found[0]["action"] == "company.entered"
    assert found[0]["actor"]["userId"] == operator.id
    across = await lines(operator, f"&actor={operator.id}")
    assert {line["companyId"] for line in across} == {ada.company_id, "platform"}


async def test_every_filter_is_answered_by_an_index(api: Api, ada: Person) -> None:
    await make_tasks(ada, 1)
    (line,) = await lines(ada, "&action=task.created")
    company = {"companyId": as_principal(ada).company_id}
    newest = {"createdAt": -1, "_id": -1}
    plans = {
        "newest": {},
        "company": company,
        "actor": {**company, "actor.userId": ada.id},
        "resource": {**company, "resourceId": line["resource"]["id"]},
        "action": {**company, "type": "task.created"},
    }
    for index, where in plans.items():
        events = api.runtime.db.raw["events"]
        plan = await events.find(where).sort(newest).limit(50).explain()
        winner = str(plan["queryPlanner"]["winningPlan"])
        assert "COLLSCAN" not in winner, index
        assert "'stage': 'SORT'" not in winner, index
