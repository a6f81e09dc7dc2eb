"""Lists of tasks: filters, pages, and queries that are refused."""

import base64
from typing import Any

import pytest

from novapulse.core.clock import system_clock
from novapulse.core.documents import new_object_id, to_document
from novapulse.work.model import Priority, Status, Task
from novapulse.work.store import TASKS
from tests.support.api import Api, Person

MANY = 230


@pytest.fixture(scope="module")
async def crowded(api: Api) -> Person:
    """A company with many tasks, of which a third were made in the same millisecond."""
    ada = await api.found_company()
    bob = await api.add_member(str(ada.company_id))
    now = system_clock()
    statuses, priorities = list(Status), list(Priority)
    tasks = [
        Task(
            id=new_object_id(),
            title=f"Task {number}",
            status=statuses[number % 5],
            priority=priorities[number % 4],
            assignee_id=bob.id if number % 3 == 0 else None,
            created_by=ada.id,
            created_at=now if number % 3 else now.replace(microsecond=number * 1000),
            updated_at=now,
        )
        for number in range(MANY)
    ]
    rows = api.runtime.db.tenant(str(ada.company_id)).rows(TASKS)
    await rows.insert_many([to_document(task) for task in tasks])
    return ada


async def walk(person: Person, query: str = "", *, limit: int = 50) -> list[dict[str, Any]]:
    """All rows of a list, page by page."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        suffix = f"&cursor={cursor}" if cursor else ""
        answer = await person.get(f"/tasks?limit={limit}{query}{suffix}")
        assert answer.status == 200, answer
        page = answer.json()
        assert page["page"]["limit"] == limit
        assert len(page["data"]) <= limit
        found += page["data"]
        cursor = page["page"]["nextCursor"]
        if cursor is None:
            return found
        assert len(page["data"]) == limit


@pytest.mark.parametrize("limit", [1, 7, 50, 115, 200])
async def test_walking_the_pages_meets_every_row_once(crowded: Person, limit: int) -> None:
    found = await walk(crowded, limit=limit)
    ids = [task["id"] for task in found]
    assert len(ids) == len(set(ids)) == MANY
    order = [(task["createdAt"], task["id"]) for task in found]
    assert order == sorted(order, reverse=True)


async def test_without_a_limit_a_page_has_fifty_rows(crowded: Person) -> None:
    page = (await crowded.get("/tasks")).json()
    assert (len(page["data"]), page["page"]["limit"]) == (50, 50)


async def test_a_row_that_comes_meanwhile_disturbs_no_walk(api: Api) -> None:
    ada = await api.found_company()
    made = [(await ada.post("/tasks", {"title": f"{n}"})).json()["id"] for n in range(6)]
    first = (await ada.get("/tasks?limit=3")).json()
    await ada.post("/tasks", {"title": "new"})
    rest = (await ada.get(f"/tasks?limit=3&cursor={first['page']['nextCursor']}")).json()
    met = [task["id"] for task in first["data"] + rest["data"]]
    assert met == made[::-1]
    assert rest["page"]["nextCursor"] is None


@pytest.mark.parametrize("limit", [7, 200])
async def test_filters_hold_on_every_page(crowded: Person, limit: int) -> None:
    everything = await walk(crowded)
    assignee = next(task["assigneeId"] for task in everything if task["assigneeId"])
    for query, fits in [
        ("&status=review", lambda task: task["status"] == "review"),
        ("&priority=low", lambda task: task["priority"] == "low"),
        (f"&assigneeId={assignee}", lambda task: task["assigneeId"] == assignee),
        (
            f"&status=todo&priority=urgent&assigneeId={assignee}",
            lambda task: (
                (task["status"], task["priority"], task["assigneeId"])
                == ("todo", "urgent", assignee)
            ),
        ),
    ]:
        expected = [task for task in everything if fits(task)]
        assert expected
        assert await walk(crowded, query, limit=limit) == expected


async def test_a_filter_that_fits_nothing_is_an_empty_page(crowded: Person) -> None:
    page = (await crowded.get(f"/tasks?assigneeId={'0' * 24}")).json()
    assert page == {"data": [], "page": {"nextCursor": None, "limit": 50}}


async def test_a_user_walks_own_tasks_with_a_cursor_too(api: Api) -> None:
    ada = await api.found_company()
    bob = await api.add_member(str(ada.company_id))
    for number in range(5):
        await ada.post("/tasks", {"title": f"ada {number}"})
        await bob.post("/tasks", {"title": f"bob {number}"})
    titles = [task["title"] for task in await walk(bob, limit=2)]
    assert titles == [f"bob {number}" for number in (4, 3, 2, 1, 0)]


async def test_a_cursor_of_another_company_shows_nothing_of_it(api: Api, crowded: Person) -> None:
    eve = await api.found_company()
    cursor = (await crowded.get("/tasks?limit=10")).json()["page"]["nextCursor"]
    assert (await eve.get(f"/tasks?cursor={cursor}")).json()["data"] == []


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=", "limit"),
        ("limit=ten", "limit"),
        ("limit=10.0", "limit"),
        ("limit=1e1", "limit"),
        ("limit=%2B5", "limit"),
        ("limit=5%20", "limit"),
        ("limit=%EF%BC%95", "limit"),
        ("limit=0x5", "limit"),
        ("limit=null", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=5&limit=6", "limit"),
        ("status=todo&status=done", "status"),
        ("status=finished", "status"),
        ("status=", "status"),
        ("status=null", "status"),
        ("priority=NULL", "priority"),
        ("assigneeId=null", "assigneeId"),
        ("assigneeId=x", "assigneeId"),
        ("assigneeId[$ne]=x", "assigneeId[$ne]"),
        ("status[$in][]=todo", "status[$in][]"),
        ("$where=1", "$where"),
        ("colour=red", "colour"),
        ("companyId=" + "0" * 24, "companyId"),
        ("Limit=5", "Limit"),
        ("cursor=", "cursor"),
        ("cursor=x", "cursor"),
        ("cursor=null", "cursor"),
        ("cursor=" + encoded("soon:x"), "cursor"),
        ("cursor=" + "A" * 129, "cursor"),
        ("sort=title", "sort"),
    ],
)
async def test_a_query_that_says_something_else_is_unacceptable(
    crowded: Person, query: str, path: str
) -> None:
    answer = await crowded.get(f"/tasks?{query}")
    assert (answer.status, answer.code) == (422, "invalid")
    assert answer.paths == [path]


async def test_one_task_takes_no_parameters(crowded: Person) -> None:
    made = (await crowded.get("/tasks?limit=1")).json()["data"][0]
    answer = await crowded.get(f"/tasks/{made['id']}?fields=title")
    assert (answer.status, answer.paths) == (422, ["fields"])
