"""Each kind in each format, made by a worker, downloaded and compared with the database."""

import hashlib
import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest

from novapulse.core.access import Role
from novapulse.core.clock import rfc3339
from novapulse.core.documents import new_object_id
from tests.support.api import Api, Person
from tests.support.reports import ask_for, content, download, made, making, of_csv, of_ndjson, read

FORMATS = ("csv", "ndjson", "html")
TASKS = 1_234  # more than two batches
_DAY = datetime(2026, 3, 1, tzinfo=UTC)


class Office:
    """A company with people, tasks, deliveries and events, straight in the database."""

    def __init__(self, api: Api, admin: Person, manager: Person, user: Person) -> None:
        self.api = api
        self.admin, self.manager, self.user = admin, manager, user
        self.company_id = str(admin.company_id)

    async def rows(self, collection: str, **where: Any) -> list[dict[str, Any]]:
        return await self.api.rows(collection, companyId=self.company_id, **where)

    async def fill(self) -> None:
        people = [self.admin.id, self.manager.id, self.user.id]
        statuses = ("todo", "in_progress", "done", "cancelled")
        tasks = [
            {
                "_id": new_object_id(),
                "companyId": self.company_id,
                "title": f"Task {number} <b>&",
                "status": statuses[number % 4],
                "priority": ("low", "high")[number % 2],
                "assigneeId": people[number % 3],
                "createdBy": people[number % 2],
                "parties": sorted({people[number % 3], people[number % 2]}),
                "labels": ["a", f"b{number % 5}"],
                "dueAt": _DAY if number % 7 == 0 else None,
                # Many of one moment: pages must not lose or repeat any.
                "createdAt": _DAY + timedelta(minutes=number // 700),
                "updatedAt": _DAY,
                "completedAt": None,
                "version": 1,
            }
            for number in range(TASKS)
        ]
        await self.api.runtime.db.platform("tasks").insert_many(tasks)
        deliveries = [
            {
                "_id": f"dlv_{number:026}",
                "companyId": self.company_id,
                "eventId": f"evt_{number:026}",
                "webhookId": people[number % 2],
                "event": "task.created",
                "replay": 0,
                "state": ("delivered", "exhausted")[number % 3 == 0],
                "attempts": 1 + number % 4,
                "createdAt": _DAY + timedelta(hours=number % 48),
                "updatedAt": _DAY,
            }
            for number in range(700)
        ]
        await self.api.runtime.db.platform("webhook_deliveries").insert_many(deliveries)


@pytest.fixture(scope="module")
async def office(api: Api) -> AsyncIterator[Office]:
    admin = await api.found_company()
    home = str(admin.company_id)
    manager = await api.add_member(home, Role.MANAGER)
    user = await api.add_member(home, Role.USER)
    office = Office(api, admin, manager, user)
    await office.fill()
    foreigner = await api.found_company()
    assert (await foreigner.post("/tasks", {"title": "somebody else's"})).status == 201
    async with making(api):
        yield office


def of_html(body: bytes) -> list[dict[str, str]]:
    """The rows of the page's table by its headings."""
    page = body.decode()
    names = re.findall(r"<th>(.*?)</th>", page)
    found = re.findall(r"<tr>(<td.*?)</tr>", page, re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in found]
    return [dict(zip(names, map(unescape, row), strict=True)) for row in cells]


READ = {"csv": of_csv, "ndjson": of_ndjson, "html": of_html}


async def rows_of(office: Office, kind: str, form: str, **params: Any) -> list[dict[str, Any]]:
    report = await made(office.admin, kind, form, **params)
    body = await content(office.admin, report["id"])
    assert report["sizeBytes"] == len(body)
    assert report["sha256"] == hashlib.sha256(body).hexdigest()
    rows = READ[form](body)
    assert report["rows"] == len(rows)
    return rows


def bars(body: bytes) -> dict[str, int]:
    """The chart's names and numbers."""
    found = re.findall(
        r'text-anchor="end">(.*?)</text><rect.*?/><text.*?>(\d+)</text>', body.decode()
    )
    return {unescape(name): int(number) for name, number in found}


@pytest.mark.parametrize("form", FORMATS)
async def test_the_list_of_tasks_is_all_of_them_oldest_first(office: Office, form: str) -> None:
    expected = [row["_id"] for row in await office.rows("tasks")]
    rows = await rows_of(office, "task_list", form)
    assert [row["id"] for row in rows] == expected
    assert rows[3]["title"] == "Task 3 <b>&" or rows[3]["title"].startswith("Task ")


@pytest.mark.parametrize("form", FORMATS)
async def test_the_list_is_chosen_by_what_was_asked(office: Office, form: str) -> None:
    chosen = await office.rows("tasks", status="done", priority="low")
    rows = await rows_of(office, "task_list", form, status="done", priority="low")
    assert [row["id"] for row in rows] == [row["_id"] for row in chosen]
    until = "2026-03-01T00:01:00Z"
    early = [row for row in await office.rows("tasks") if row["createdAt"] == _DAY]
    assert len(await rows_of(office, "task_list", form, to=until)) == len(early) == 700


@pytest.mark.parametrize("form", FORMATS)
async def test_the_numbers_of_tasks_add_up(office: Office, form: str) -> None:
    tasks = await office.rows("tasks")
    rows = await rows_of(office, "tasks_summary", form)
    told = {(row["group"], row["value"]): int(row["tasks"]) for row in rows}
    expected: Counter[tuple[str, str]] = Counter()
    for task in tasks:
        expected["total", ""] += 1
        expected["status", task["status"]] += 1
        expected["priority", task["priority"]] += 1
        expected["assignee", task["assigneeId"]] += 1
        expected["project", ""] += 1
        expected["createdOn", "2026-03-01"] += 1
        is_open = task["status"] not in ("done", "cancelled")
        expected["overdue", ""] += task["dueAt"] is not None and is_open
    assert told == dict(expected)
    labels = {row["value"]: row["label"] for row in rows if row["group"] == "assignee"}
    users = {row["_id"]: row["name"] for row in await office.rows("users")}
    assert labels == users


@pytest.mark.parametrize("form", FORMATS)
async def test_what_people_did_is_what_the_events_say(office: Office, form: str) -> None:
    for title in ("=one", "two"):
        answer = await office.manager.post("/tasks", {"title": title})
        assert answer.status == 201
    report = await made(office.admin, "user_activity", form)
    asked = datetime.fromisoformat(report["createdAt"])
    rows = READ[form](await content(office.admin, report["id"]))
    events = [row for row in await office.rows("events") if row["createdAt"] <= asked]
    by_actor = Counter(row["actor"]["userId"] for row in events)
    by_type = Counter((row["actor"]["userId"], row["type"]) for row in events)
    assert {row["userId"] for row in rows} == {row["_id"] for row in await office.rows("users")}
    for row in rows:
        assert int(row["actions"]) == by_actor[row["userId"]]
        assert int(row["tasksCreated"]) == by_type[row["userId"], "task.created"]
        assert int(row["signIns"]) == by_type[row["userId"], "session.started"]
    await office.api.runtime.db.platform("tasks").delete_many({"title": {"$in": ["=one", "two"]}})


@pytest.mark.parametrize("form", FORMATS)
async def test_deliveries_are_listed_by_webhook(office: Office, form: str) -> None:
    deliveries = await office.rows("webhook_deliveries")
    rows = await rows_of(office, "webhook_deliveries", form)
    ordered = sorted(deliveries, key=lambda row: (row["createdAt"], row["_id"]))
    ordered.sort(key=lambda row: str(row["webhookId"]), reverse=True)
    assert [row["id"] for row in rows] == [row["_id"] for row in ordered]
    exhausted = await rows_of(office, "webhook_deliveries", form, state="exhausted")
    assert len(exhausted) == sum(row["state"] == "exhausted" for row in deliveries)


@pytest.mark.parametrize("form", FORMATS)
async def test_the_audit_report_is_the_log(office: Office, form: str) -> None:
    report = await made(office.admin, "audit", form, action="user.*")
    rows = READ[form](await content(office.admin, report["id"]))
    events = [row for row in await office.rows("events") if row["type"].startswith("user.")]
    assert [row["id"] for row in rows] == [row["_id"] for row in events]


@pytest.mark.parametrize("form", FORMATS)
async def test_use_is_told_by_day(office: Office, form: str) -> None:
    span = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-04T00:00:00Z"}
    rows = await rows_of(office, "usage", form, **span)
    assert [row["day"] for row in rows] == ["2026-03-01", "2026-03-02", "2026-03-03"]
    deliveries = await office.rows("webhook_deliveries")
    for row in rows:
        of_day = [one for one in deliveries if one["createdAt"].date().isoformat() == row["day"]]
        assert int(row["deliveries"]) == len(of_day)
        assert int(row["delivered"]) == sum(one["state"] == "delivered" for one in of_day)
    today = (await rows_of(office, "usage", form))[-1]
    assert int(today["events"]) > 0
    assert int(today["activePeople"]) == 3


@pytest.mark.parametrize("form", FORMATS)
async def test_use_is_told_by_the_days_of_a_zone_also_when_clocks_change(
    office: Office, form: str
) -> None:
    """The week before summer time has 167 hours in Berlin, and seven days."""
    admin = await office.api.found_company()
    begin, end = datetime(2026, 3, 22, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC)
    tick = timedelta(milliseconds=1)
    night = datetime(2026, 3, 28, 23, tzinfo=UTC)
    moments = (begin - tick, begin, night - tick, night, end - tick, end)
    deliveries = [
        {
            "_id": new_object_id(),
            "companyId": admin.company_id,
            "webhookId": admin.id,
            "eventId": new_object_id(),
            "replay": 0,
            "state": "delivered",
            "createdAt": moment,
        }
        for moment in moments
    ]
    await office.api.runtime.db.platform("webhook_deliveries").insert_many(deliveries)
    span = {"from": rfc3339(begin), "to": rfc3339(end), "timeZone": "Europe/Berlin"}
    report = await made(admin, "usage", form, **span)
    rows = READ[form](await content(admin, report["id"]))
    assert [row["day"] for row in rows] == [f"2026-03-{day}" for day in range(23, 30)]
    assert [int(row["deliveries"]) for row in rows] == [1, 0, 0, 0, 0, 1, 2]


async def test_a_page_has_a_chart_that_counts_the_table(office: Office) -> None:
    report = await made(office.admin, "task_list", "html")
    body = await content(office.admin, report["id"])
    assert bars(body) == Counter(row["status"] for row in of_html(body))
    summary = await made(office.admin, "tasks_summary", "html")
    assert bars(await content(office.admin, summary["id"])) == bars(body)


async def test_a_page_holds_no_markup_of_the_users_and_runs_nothing(office: Office) -> None:
    report = await made(office.admin, "task_list", "html")
    answer = await download(office.admin, report["id"])
    page = answer.body.decode()
    assert "<script" not in page
    assert "<b>&" not in page
    assert "Task 3 &lt;b&gt;&amp;" in page
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-disposition"].startswith("attachment; ")


async def test_a_user_gets_a_report_of_the_own_tasks_only(office: Office) -> None:
    report = await made(office.user, "task_list", "ndjson")
    rows = of_ndjson(await content(office.user, report["id"]))
    mine = [row for row in await office.rows("tasks") if office.user.id in row["parties"]]
    assert [row["id"] for row in rows] == [row["_id"] for row in mine]
    people = await made(office.user, "user_activity", "ndjson")
    found = of_ndjson(await content(office.user, people["id"]))
    assert [row["userId"] for row in found] == [office.user.id]


async def test_the_job_tells_how_far_it_is(office: Office) -> None:
    asked = await ask_for(office.admin, "task_list", "csv")
    assert asked["job"]["id"] == asked["jobId"]
    assert asked["job"]["kind"] == "report.generate"
    assert asked["status"] == "queued"
    report = await made(office.admin, "task_list", "csv")
    progress = (await read(office.admin, report["id"]))["job"]["progress"]
    assert progress is None or progress["done"] <= progress["total"]


async def test_a_report_has_nothing_that_came_after_it_was_asked_for(office: Office) -> None:
    later = datetime.now(UTC) + timedelta(days=1)
    row = {"_id": new_object_id(), "companyId": office.company_id, "status": "todo"}
    tasks = office.api.runtime.db.platform("tasks")
    await tasks.insert({**row, "title": "later", "createdAt": later, "parties": []})
    rows = await rows_of(office, "task_list", "csv")
    await tasks.delete_one({"_id": row["_id"]})
    assert row["_id"] not in {one["id"] for one in rows}
