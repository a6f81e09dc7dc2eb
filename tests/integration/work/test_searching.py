"""Lists of tasks by words, labels, projects and when they are due."""

from typing import Any

import pytest

from tests.support.api import Api, Person

TITLES = [
    "Water the plants",
    "Wasser für die Pflanzen: Pläne",
    "Plan the planting of plantations",
    "Review invoice 2026-117",
    "review INVOICE 2026-118",
    "a b c",
]


@pytest.fixture(scope="module")
async def ada(api: Api) -> Person:
    ada = await api.found_company()
    for title in TITLES:
        assert (await ada.post("/tasks", {"title": title})).status == 201
    return ada


async def titles(person: Person, query: str) -> list[str]:
    answer = await person.get(f"/tasks?{query}")
    assert answer.status == 200, answer.body
    return [task["title"] for task in answer.json()["data"]]


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("water", [0]),
        ("wa", [1, 0]),
        ("WASSER", [1]),
        ("plane", [1]),
        ("pl%C3%A4n", [2, 1, 0]),
        ("plan", [2, 1, 0]),
        ("planta", [2]),
        ("plantat", [2]),
        ("plantations", [2]),
        ("plantationsx", []),
        ("plantx", []),
        ("plants+water", [0]),
        ("the+pl", [2, 0]),
        ("invoice+118", [4]),
        ("2026-117", [3]),
        ("b", [5]),
        ("w", []),
        ("ater", []),
        (".*", None),
        ("plan.*tations", []),
        ("plan.*planta", [2]),
        ("(a%2B)%2B$", [5]),
    ],
)
async def test_every_word_of_the_search_begins_a_word_of_the_title(
    ada: Person, q: str, found: list[int] | None
) -> None:
    if found is None:
        assert (await ada.get(f"/tasks?q={q}")).paths == ["q"]
    else:
        assert await titles(ada, f"q={q}") == [TITLES[number] for number in found]


async def test_a_new_title_is_found_and_the_old_one_is_not(ada: Person) -> None:
    made = (await ada.post("/tasks", {"title": "Zebra"})).json()
    await ada.patch(f"/tasks/{made['id']}", {"title": "Quagga"})
    assert await titles(ada, "q=quagga") == ["Quagga"]
    assert await titles(ada, "q=zebra") == []


async def test_a_search_walks_its_pages_newest_first(api: Api) -> None:
    ada = await api.found_company()
    for number in range(7):
        await ada.post("/tasks", {"title": f"{'Odd' if number % 2 else 'Even'} {number}"})
    first = (await ada.get("/tasks?q=even&limit=3")).json()
    rest = (await ada.get(f"/tasks?q=even&limit=3&cursor={first['page']['nextCursor']}")).json()
    found = [task["title"] for task in first["data"] + rest["data"]]
    assert found == ["Even 6", "Even 4", "Even 2", "Even 0"]


@pytest.fixture(scope="module")
async def due(api: Api) -> Person:
    """A company with tasks that are due in other orders than they were made in."""
    ada = await api.found_company()
    project = (await ada.post("/projects", {"name": "Garden"})).json()["id"]
    for number, (day, label) in enumerate(
        [(3, "red"), (1, "blue"), (None, "red"), (2, "red"), (2, "blue"), (9, "red")]
    ):
        fields: dict[str, Any] = {"title": f"{number}", "labels": [label, "all"]}
        if day is not None:
            fields["dueAt"] = f"2027-01-0{day}T00:00:00Z"
        if number % 2:
            fields |= {"projectId": project, "assigneeId": ada.id}
        assert (await ada.post("/tasks", fields)).status == 201
    return ada


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("dueBefore=2027-01-03T00:00:00Z", "134"),
        ("dueAfter=2027-01-03T00:00:00Z", "05"),
        ("dueAfter=2027-01-02T00:00:00Z&dueBefore=2027-01-03T00:00:00.001Z", "340"),
        ("dueAfter=2027-01-02T01:00:00%2B01:00&dueBefore=2027-01-03T00:00:00Z", "34"),
        ("dueAfter=2027-01-03T00:00:00Z&dueBefore=2027-01-01T00:00:00Z", ""),
        ("dueAfter=0001-01-01T00:00:00Z", "13405"),
        ("dueAfter=2027-01-01T00:00:00Z&label=red", "305"),
        ("dueAfter=2027-01-01T00:00:00Z&status=todo&label=blue", "14"),
        ("dueAfter=2027-01-01T00:00:00Z&status=done", ""),
        ("label=red", "5320"),
        ("label=all&priority=medium", "543210"),
        ("label=RED", ""),
    ],
)
async def test_a_list_of_due_tasks_begins_with_the_soonest(
    due: Person, query: str, found: str
) -> None:
    assert "".join(await titles(due, query)) == found


async def test_projects_and_people_narrow_both_orders(due: Person) -> None:
    task = (await due.get("/tasks?label=blue&limit=1&status=todo")).json()["data"][0]
    assert task["title"] == "4"
    project = (await due.get("/projects")).json()["data"][0]["id"]
    assert "".join(await titles(due, f"projectId={project}")) == "531"
    assert "".join(await titles(due, f"assigneeId={due.id}")) == "531"
    since = "dueAfter=2027-01-01T00:00:00Z"
    assert "".join(await titles(due, f"{since}&projectId={project}")) == "135"
    assert "".join(await titles(due, f"{since}&assigneeId={due.id}&label=red")) == "35"


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_walking_due_tasks_meets_each_once(due: Person, limit: int) -> None:
    since, cursor = "dueAfter=2027-01-01T00:00:00Z", ""
    met = ""
    while cursor is not None:
        page = (
            await due.get(f"/tasks?{since}&limit={limit}{cursor and '&cursor='}{cursor}")
        ).json()
        met += "".join(task["title"] for task in page["data"])
        cursor = page["page"]["nextCursor"]
    assert met in ("13405", "14305")


async def test_a_cursor_belongs_to_its_order(due: Person) -> None:
    since = "dueAfter=2027-01-01T00:00:00Z"
    newest = (await due.get("/tasks?limit=1")).json()["page"]["nextCursor"]
    soonest = (await due.get(f"/tasks?limit=1&{since}")).json()["page"]["nextCursor"]
    for query in (f"cursor={soonest}", f"{since}&cursor={newest}"):
        answer = await due.get(f"/tasks?{query}")
        assert (answer.status, answer.paths) == (422, ["cursor"])


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("dueBefore=soon", "dueBefore"),
        ("dueBefore=2027-01-01", "dueBefore"),
        ("dueAfter=2027-01-01T00:00:00", "dueAfter"),
        ("dueAfter=2027-01-01T00:00:00+02:00", "dueAfter"),
        ("dueAfter=1767225600", "dueAfter"),
        ("dueBefore=0001-01-01T00:00:00%2B01:00", "dueBefore"),
        ("dueBefore[$gt]=1", "dueBefore[$gt]"),
        ("projectId=garden", "projectId"),
        ("label=", "label"),
        ("label=" + "x" * 51, "label"),
        ("label=a&label=b", "label"),
        ("labels=a", "labels"),
        ("q=", "q"),
        ("q=" + "x" * 65, "q"),
        ("q=%0A", "q"),
        ("q=!", "q"),
        ("q[$regex]=.*", "q[$regex]"),
        ("title=x", "title"),
    ],
)
async def test_a_filter_that_says_something_else_is_unacceptable(
    due: Person, query: str, path: str
) -> None:
    answer = await due.get(f"/tasks?{query}")
    assert (answer.status, answer.paths) == (422, [path])
