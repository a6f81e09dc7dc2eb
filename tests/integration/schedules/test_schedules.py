"""Reports that are made by themselves, as their owner."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from novapulse.core.access import Role
from novapulse.core.clock import Steadiness
from novapulse.core.errors import Forbidden
from novapulse.processes.scheduler import Scheduler
from novapulse.schedules import service
from novapulse.schedules.service import pull_back, start_due
from novapulse.schedules.store import due_schedules
from tests.support.api import Api, Person, open_api
from tests.support.reports import ask_for, read
from tests.support.routes import acting_on, add_operator
from tests.support.stores import RunningStores

MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)
WEEKLY = {"frequency": "weekly", "at": "07:30", "timeZone": "Europe/Berlin", "weekday": 2}


class Clock:
    def __init__(self) -> None:
        self.now = MONDAY

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
async def api(stores: RunningStores, clock: Clock, tmp_path_factory: pytest.TempPathFactory):
    directory: Path = tmp_path_factory.mktemp("schedules")
    async with open_api(stores, directory, label="schedules", clock=clock) as opened:
        yield opened


@pytest.fixture
async def admin(api: Api, clock: Clock) -> Person:
    clock.now = MONDAY
    await api.runtime.db.platform("report_schedules").delete_many({})
    return await api.found_company()


async def schedule(person: Person, **fields: Any) -> dict[str, Any]:
    command = {
        "name": "Every week",
        "kind": "task_list",
        "format": "csv",
        "plan": WEEKLY,
        **fields,
    }
    answer = await person.post("/report-schedules", command)
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json()
    return made


async def run_at(api: Api, clock: Clock, moment: datetime) -> int:
    """What the leader does then; afterwards it is Monday again, and tokens are good."""
    clock.now = moment
    due = await start_due(api.runtime)
    clock.now = MONDAY
    return due


async def reports_of(person: Person) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await person.get("/reports")).json()["data"]
    return found


async def test_a_schedule_asks_for_its_report_once_when_it_is_due(
    api: Api, admin: Person, clock: Clock
) -> None:
    plan = await schedule(admin)
    assert plan["nextRunAt"] == "2026-11-24T06:30:00.000Z"
    due_at = datetime(2026, 11, 24, 6, 30, tzinfo=UTC)
    assert await run_at(api, clock, due_at - timedelta(milliseconds=1)) == 0
    assert await run_at(api, clock, due_at) == 1
    assert await run_at(api, clock, due_at + timedelta(days=1)) == 0
    (report,) = await reports_of(admin)
    assert report["scheduleId"] == plan["id"]
    assert report["params"] == {
        "from": "2026-11-16T23:00:00.000Z",
        "to": "2026-11-23T23:00:00.000Z",
    }
    after = (await admin.get(f"/report-schedules/{plan['id']}")).json()
    assert after["nextRunAt"] == "2026-12-01T06:30:00.000Z"
    assert after["lastReportId"] == report["id"]


async def test_a_scheduled_report_on_use_has_the_days_of_its_plan(
    api: Api, admin: Person, clock: Clock
) -> None:
    await schedule(admin, kind="usage")
    await run_at(api, clock, datetime(2026, 11, 24, 6, 30, tzinfo=UTC))
    (report,) = await reports_of(admin)
    assert report["params"] == {
        "from": "2026-11-16T23:00:00.000Z",
        "to": "2026-11-23T23:00:00.000Z",
        "timeZone": "Europe/Berlin",
    }


async def test_missed_runs_are_made_up_for_by_one(api: Api, admin: Person, clock: Clock) -> None:
    await schedule(admin, plan={"frequency": "daily"}, window="all", params={"status": "done"})
    for _ in range(2):
        await run_at(api, clock, MONDAY + timedelta(days=9))
    (report,) = await reports_of(admin)
    assert report["params"] == {"status": "done"}


async def test_a_clock_that_was_hours_ahead_silences_no_schedule_once_it_is_steady(
    api: Api, admin: Person, clock: Clock
) -> None:
    """Not at once: it might be one that is years behind until it is set."""
    plan = await schedule(admin, plan={"frequency": "daily", "at": "18:00"})
    passed = 0.0
    leader = Scheduler(api.runtime, appliance="tests", owner="tests/one")
    leader._steadiness = Steadiness(monotonic=lambda: passed)
    assert await run_at(api, clock, MONDAY + timedelta(hours=9)) == 1
    nexts = []
    for passed in (0.0, 60.0, 300.0):
        clock.now = MONDAY + timedelta(seconds=passed)
        await leader._pull_back(pull_back)
        nexts.append((await admin.get(f"/report-schedules/{plan['id']}")).json()["nextRunAt"])
    assert nexts == [*["2026-11-24T18:00:00.000Z"] * 2, "2026-11-23T18:00:00.000Z"]
    assert await run_at(api, clock, MONDAY + timedelta(hours=6)) == 1


@pytest.mark.parametrize("behind", [timedelta(minutes=5), timedelta(days=2_000)])
async def test_a_leader_whose_clock_is_behind_pulls_nothing_back(
    api: Api, admin: Person, clock: Clock, behind: timedelta
) -> None:
    plan = await schedule(admin, plan={"frequency": "daily", "at": "18:00"})
    due_at = MONDAY + timedelta(hours=6)
    await run_at(api, clock, due_at)
    await pull_back(api.runtime, now=due_at - behind)
    after = (await admin.get(f"/report-schedules/{plan['id']}")).json()
    assert after["nextRunAt"] == "2026-11-24T18:00:00.000Z"


async def test_a_schedule_sees_what_its_owner_may_see_by_now(
    api: Api, admin: Person, clock: Clock
) -> None:
    manager = await api.add_member(str(admin.company_id), Role.MANAGER)
    plan = await schedule(manager, kind="webhook_deliveries", plan={"frequency": "daily"})
    listed = await schedule(manager, plan={"frequency": "daily"})
    assert (await admin.patch(f"/users/{manager.id}", {"role": "user"})).status == 200
    await run_at(api, clock, MONDAY + timedelta(days=1))
    stopped = (await admin.get(f"/report-schedules/{plan['id']}")).json()
    assert not stopped["isActive"]
    assert stopped["nextRunAt"] is None
    assert stopped["error"] == "Your role does not allow this"
    events = await api.rows("events", type="schedule.stopped", resourceId=plan["id"])
    assert len(events) == 1
    goes_on = (await admin.get(f"/report-schedules/{listed['id']}")).json()
    (row,) = await api.rows("reports", _id=goes_on["lastReportId"])
    assert (row["own"], row["ownerId"]) == (manager.id, manager.id)


async def test_a_schedule_of_somebody_who_left_stops(api: Api, admin: Person, clock: Clock) -> None:
    user = await api.add_member(str(admin.company_id), Role.USER)
    plan = await schedule(user, plan={"frequency": "daily"})
    assert (await admin.post(f"/users/{user.id}/disable")).status == 200
    await run_at(api, clock, MONDAY + timedelta(days=1))
    stopped = (await admin.get(f"/report-schedules/{plan['id']}")).json()
    assert stopped["error"] == "Its owner's account is disabled"
    assert await reports_of(admin) == []


async def test_a_suspended_company_gets_no_reports_until_it_is_resumed(
    api: Api, admin: Person, clock: Clock
) -> None:
    plan = await schedule(admin, plan={"frequency": "daily"})
    operator = await add_operator(api)
    company = f"/companies/{admin.company_id}"
    assert (await operator.patch(company, {"status": "suspended"})).status == 200
    assert await run_at(api, clock, MONDAY + timedelta(days=1)) == 1
    assert await api.rows("reports", companyId=admin.company_id) == []
    (waiting,) = await api.rows("report_schedules", _id=plan["id"])
    assert (waiting["isActive"], waiting["error"], waiting["lastRunAt"]) == (True, None, None)
    assert waiting["nextRunAt"] == datetime(2026, 11, 25, 6, tzinfo=UTC)
    assert (await operator.patch(company, {"status": "active"})).status == 200
    await run_at(api, clock, MONDAY + timedelta(days=2))
    (report,) = await api.rows("reports", companyId=admin.company_id)
    assert report["params"]["from"] == "2026-11-24T00:00:00.000Z"


async def test_an_operators_schedule_runs_for_the_company_that_it_was_made_on(
    api: Api, admin: Person, clock: Clock
) -> None:
    operator = acting_on(await add_operator(api), str(admin.company_id))
    plan = await schedule(operator, kind="audit", plan={"frequency": "daily"})
    for day in (1, 2):
        await run_at(api, clock, MONDAY + timedelta(days=day))
    after = (await admin.get(f"/report-schedules/{plan['id']}")).json()
    assert (after["isActive"], after["error"]) == (True, None)
    reports = await reports_of(admin)
    assert [one["ownerId"] for one in reports] == [operator.id] * 2
    users = api.runtime.db.platform("users")
    await users.update_one({"_id": operator.id}, {"$set": {"status": "disabled"}})
    await run_at(api, clock, MONDAY + timedelta(days=3))
    stopped = (await admin.get(f"/report-schedules/{plan['id']}")).json()
    assert stopped["error"] == "Its owner's account is disabled"


async def test_a_schedule_that_is_deleted_while_it_is_started_harms_nobody(
    api: Api, admin: Person, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, stays = [await schedule(admin, plan={"frequency": "daily"}) for _ in range(2)]

    async def deleted_meanwhile(*args: Any, **named: Any) -> list[tuple[str, str]]:
        due = await due_schedules(*args, **named)
        await api.runtime.db.platform("report_schedules").delete_one({"_id": gone["id"]})
        return due

    monkeypatch.setattr(service, "due_schedules", deleted_meanwhile)
    assert await run_at(api, clock, MONDAY + timedelta(days=1)) == 2
    (report,) = await reports_of(admin)
    assert report["scheduleId"] == stays["id"]


async def test_a_schedule_that_is_deleted_while_its_run_fails_harms_nobody(
    api: Api, admin: Person, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = await schedule(admin, plan={"frequency": "daily"})

    async def refused(*_: Any, **__: Any) -> None:
        await api.runtime.db.platform("report_schedules").delete_one({"_id": plan["id"]})
        raise Forbidden()

    monkeypatch.setattr(service.reports, "request_as", refused)
    assert await run_at(api, clock, MONDAY + timedelta(days=1)) == 1
    assert await api.rows("events", type="schedule.stopped", resourceId=plan["id"]) == []


async def test_a_full_queue_stops_nothing_for_good(api: Api, admin: Person, clock: Clock) -> None:
    plan = await schedule(admin, plan={"frequency": "daily"})
    for _ in range(20):
        await ask_for(admin, "task_list", "csv")
    await run_at(api, clock, MONDAY + timedelta(days=1))
    after = (await admin.get(f"/report-schedules/{plan['id']}")).json()
    assert after["isActive"]
    assert after["error"] == "Too many of your reports wait to be made"
    assert after["nextRunAt"] == "2026-11-25T06:00:00.000Z"


async def test_a_schedule_is_changed_paused_and_removed(admin: Person, clock: Clock) -> None:
    plan = await schedule(admin)
    path = f"/report-schedules/{plan['id']}"
    paused = await admin.patch(path, {"isActive": False}, headers={"if-match": '"1"'})
    assert (paused.status, paused.json()["nextRunAt"]) == (200, None)
    assert (await admin.patch(path, {"name": "x"}, headers={"if-match": '"1"'})).status == 412
    monthly = {"frequency": "monthly", "day": 28, "at": "23:59"}
    changed = (await admin.patch(path, {"isActive": True, "plan": monthly})).json()
    assert changed["nextRunAt"] == "2026-11-28T23:59:00.000Z"
    assert (await admin.patch(path, {})).json()["version"] == changed["version"]
    assert [row["id"] for row in (await admin.get("/report-schedules")).json()["data"]] == [
        plan["id"]
    ]
    assert (await admin.delete(path)).status == 204
    assert (await admin.get(path)).status == 404


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"plan": {**WEEKLY, "timeZone": "Mars/Olympus"}}, "plan.timeZone"),
        ({"plan": {**WEEKLY, "timeZone": "../../etc/passwd"}}, "plan.timeZone"),
        ({"plan": {**WEEKLY, "at": "24:00"}}, "plan.at"),
        ({"plan": {**WEEKLY, "weekday": 8}}, "plan.weekday"),
        ({"plan": {"frequency": "hourly"}}, "plan.frequency"),
        ({"params": {"color": "red"}}, "params.color"),
        ({"name": ""}, "name"),
    ],
)
async def test_a_plan_that_can_not_be_kept_is_refused(
    admin: Person, fields: dict[str, Any], path: str
) -> None:
    command = {"name": "n", "kind": "task_list", "format": "csv", "plan": WEEKLY, **fields}
    answer = await admin.post("/report-schedules", command)
    assert (answer.status, answer.paths) == (422, [path])


async def test_nobody_has_more_schedules_than_fifty(api: Api, admin: Person) -> None:
    for _ in range(50):
        await schedule(admin)
    command = {"name": "n", "kind": "task_list", "format": "csv", "plan": WEEKLY}
    answer = await admin.post("/report-schedules", command)
    assert (answer.status, answer.code) == (409, "too_many_schedules")
    assert await read(admin, (await ask_for(admin, "task_list", "csv"))["id"])
