"""Lists of a company with 100,000 tasks: the database walks an index and sorts nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from novapulse.work.store import TASKS
from tests.support.api import Api, Person
from tests.support.work import Crowd, insert_tasks, make_crowd

MANY = 100_000
LIMIT = 50
# Index entries that may be looked at for one page.
FEW = 5_000
# What an index alone answers, with some rows left out because they are of the wrong page.
NARROW = LIMIT + 40


@dataclass(frozen=True)
class Place:
    api: Api
    boss: Person
    worker: Person
    crowd: Crowd

    def filled(self, query: str) -> str:
        return query.format(
            busy=self.crowd.people[0],
            idle=self.crowd.people[-1],
            worker=self.worker.id,
            big=self.crowd.projects[0],
            small=self.crowd.projects[-1],
        )

    async def explained(self, person: Person, query: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The page, and what the database says of the very query that it was read by."""
        database = self.api.runtime.db.raw
        await database.command("profile", 2, filter={"ns": f"{database.name}.{TASKS}"})
        try:
            answer = await person.get(f"/tasks?{self.filled(query)}")
        finally:
            await database.command("profile", 0)
        assert answer.status == 200, answer.body
        (profiled,) = await database["system.profile"].find({"command.find": TASKS}).to_list()
        await database.drop_collection("system.profile")
        names = ("find", "filter", "sort", "limit", "hint", "projection")
        asked = {name: profiled["command"][name] for name in names if name in profiled["command"]}
        return answer.json(), await database.command("explain", asked, verbosity="executionStats")


@pytest.fixture(scope="module")
async def place(api: Api) -> Place:
    boss = await api.found_company()
    worker = await api.add_member(str(boss.company_id))
    crowd = make_crowd()
    crowd.people[20] = worker.id
    await insert_tasks(api.runtime.db, str(boss.company_id), crowd=crowd, count=MANY)
    return Place(api, boss, worker, crowd)


def stages(plan: Any) -> Iterator[str]:
    """The names of all stages of a plan."""
    if isinstance(plan, dict):
        if "stage" in plan:
            yield plan["stage"]
        for part in plan.values():
            yield from stages(part)
    elif isinstance(plan, list):
        for part in plan:
            yield from stages(part)


def assert_walks_an_index(told: dict[str, Any], *, most: int) -> None:
    found = set(stages(told["queryPlanner"]["winningPlan"]))
    assert "IXSCAN" in found
    assert not found & {"COLLSCAN", "SORT", "SORT_KEY_GENERATOR"}, found
    assert told["executionStats"]["totalKeysExamined"] <= most, told["executionStats"]
    assert told["executionStats"]["totalDocsExamined"] <= most


# What an index answers alone, or with a few rows to leave out.
NARROWED = [
    *("", "status=done", "status=review", "priority=low", "status=todo&priority=urgent"),
    *("projectId={big}", "projectId={small}", "projectId={small}&status=review"),
    *("assigneeId={busy}", "assigneeId={idle}", "assigneeId={idle}&status=review"),
    *("label=bug", "label=rare", "label=nobody-has-it"),
    *("q=water", "q=wa", "q=plants", "q=99", "q=zebra", "q=12345"),
    *("dueBefore=2026-01-01T00:00:00Z", "dueAfter=2026-11-20T00:00:00Z"),
    "dueAfter=2026-06-01T00:00:00Z&dueBefore=2026-07-01T00:00:00Z",
    "status=todo&dueBefore=2026-11-23T00:00:00Z",
    "projectId={small}&dueBefore=2026-11-23T00:00:00Z",
]
# Where the rows that do not fit have to be left out one by one.
MIXED = [
    *("status=done&label=rare", "projectId={big}&priority=urgent", "q=water+plants", "q=revision"),
    *("q=review+website", "label=bug&projectId={small}", "assigneeId={idle}&label=bug"),
    "assigneeId={busy}&dueAfter=2026-06-01T00:00:00Z",
    "status=todo&priority=low&projectId={big}&assigneeId={busy}",
    "q=paint&dueAfter=2026-06-01T00:00:00Z",
]


@pytest.mark.parametrize("query", NARROWED)
async def test_a_filter_of_its_own_index_reads_the_page_and_little_else(
    place: Place, query: str
) -> None:
    _, told = await place.explained(place.boss, query)
    assert_walks_an_index(told, most=NARROW)


@pytest.mark.parametrize("query", MIXED)
async def test_filters_together_walk_one_index(place: Place, query: str) -> None:
    _, told = await place.explained(place.boss, query)
    assert_walks_an_index(told, most=FEW)


@pytest.mark.parametrize("query", ["", "status=todo", "q=water", "dueAfter=2026-01-01T00:00:00Z"])
async def test_own_tasks_are_found_among_everybodys(place: Place, query: str) -> None:
    page, told = await place.explained(place.worker, query)
    assert_walks_an_index(told, most=FEW)
    assert page["data"]
    assert all(place.worker.id in (one["createdBy"], one["assigneeId"]) for one in page["data"])


@pytest.mark.parametrize(
    "query",
    ["", "&status=done", "&projectId={big}", "&q=water", "&dueBefore=2026-11-23T00:00:00Z"],
)
async def test_a_page_in_the_middle_costs_what_the_first_does(place: Place, query: str) -> None:
    cursor = ""
    for _ in range(10):
        answer = await place.boss.get(f"/tasks?limit=200{place.filled(query)}{cursor}")
        cursor = f"&cursor={answer.json()['page']['nextCursor']}"
    page, told = await place.explained(place.boss, f"limit={LIMIT}{query}{cursor}")
    assert_walks_an_index(told, most=NARROW)
    assert len(page["data"]) == LIMIT


async def test_nothing_but_the_task_is_shown(place: Place) -> None:
    page, _ = await place.explained(place.boss, "limit=1")
    hidden = {"parties", "beginnings", "longWords", "companyId", "commentedAt"}
    assert not hidden & set(page["data"][0])
