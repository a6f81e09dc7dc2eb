"""Notifications: made from events, each once; read by their owner alone, and counted right."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from novapulse.core.access import Role
from novapulse.core.clock import system_clock
from novapulse.core.ids import new_id
from novapulse.core.jobs.rows import open_payload
from novapulse.core.pump import Pump
from novapulse.identity.store import USERS
from novapulse.mail.model import Message
from novapulse.notifications.model import Notification, NotificationType, Text
from novapulse.notifications.planner import plan_notifications
from novapulse.notifications.store import NOTIFICATIONS, Mailroom, NotificationStore
from tests.support.api import Api, Person

SYSTEM_ACTOR = {"userId": "system", "role": "super_admin", "via": "job"}


class Team:
    """Ann leads, Ben works, Cleo too; Zoe is of another company."""

    def __init__(self, api: Api, people: list[Person]) -> None:
        self.api = api
        self.ann, self.ben, self.cleo, self.zoe = people

    @property
    def company_id(self) -> str:
        return str(self.ann.company_id)

    async def pump(self) -> None:
        pump = Pump(self.api.runtime, (plan_notifications,))
        while await pump.run_once():
            pass

    async def record(self, type_: str, *, actor: dict[str, str] = SYSTEM_ACTOR, **data: Any) -> str:
        """An event as another feature records it, by its name."""
        event_id = new_id("evt")
        row = {
            "_id": event_id,
            "companyId": self.company_id,
            "type": type_,
            "version": 1,
            "createdAt": system_clock(),
            "requestId": "test",
            "actor": actor,
            "resourceId": "x",
            "data": data,
            "isPlanned": False,
            "isSealed": False,
        }
        await self.api.runtime.db.platform("events").insert(row)
        await self.pump()
        return event_id

    async def task(self, **fields: Any) -> dict[str, Any]:
        answer = await self.ann.post("/tasks", {"title": "Ship it", **fields})
        assert answer.status == 201, answer.body
        task: dict[str, Any] = answer.json()
        return task

    async def mails(self, template: str) -> list[dict[str, Any]]:
        """Those that are on their way, opened; oldest first."""
        rows = await self.api.rows("jobs", companyId=self.company_id, kind="mail.send")
        chosen = [row for row in rows if row["payload"].get("template") == template]
        keys = self.api.runtime.keys
        return [
            open_payload(row["payload"], ("data",), keys=keys, job_id=row["_id"]) for row in chosen
        ]

    async def fill(self, person: Person, number: int) -> list[str]:
        """So many unread messages, newest first."""
        now, keep = system_clock(), timedelta(days=1)
        text = Text(type=NotificationType.MESSAGE, title="Hello")
        rows = [
            text.to(person.id, cause=f"c{index}", at=now - timedelta(seconds=index), keep=keep)
            for index in range(number)
        ]
        await Mailroom(self.api.runtime.db.tenant(str(person.company_id))).add(rows)
        return [row.id for row in rows]


@pytest.fixture
async def team(api: Api) -> Team:
    ann, zoe = await api.found_company(), await api.found_company()
    members = [await api.add_member(str(ann.company_id)) for _ in range(2)]
    team = Team(api, [ann, *members, zoe])
    await team.pump()
    return team


async def told(person: Person) -> list[tuple[str, str]]:
    """Type and title of what somebody was told, oldest first."""
    listed = (await person.get("/notifications")).json()["data"]
    return [(one["type"], one["title"]) for one in reversed(listed)]


async def unread(person: Person) -> int:
    return int((await person.get("/notifications/unread-count")).json()["count"])


async def test_who_is_assigned_is_told_and_mailed_but_not_by_themselves(team: Team) -> None:
    task = await team.task(assigneeId=team.ben.id)
    await team.task(assigneeId=team.ann.id)
    await team.pump()
    assert await told(team.ben) == [("assignment", "You were assigned “Ship it”")]
    assert await told(team.ann) == []
    (mail,) = await team.mails("task_assigned")
    assert mail["to"] == team.ben.email
    assert mail["data"]["taskTitle"] == "Ship it"
    assert mail["data"]["actorName"].startswith("Founder")
    assert mail["data"]["link"].endswith(f"/tasks/{task['id']}")


async def test_a_comment_is_told_to_those_it_concerns_and_a_mention_to_whom_it_names(
    team: Team,
) -> None:
    task = await team.task(assigneeId=team.ben.id)
    manager = await team.api.add_member(team.company_id, Role.MANAGER)
    body = {"body": f"Look, @{manager.email} and @{team.ann.id}"}
    answer = await team.ben.post(f"/tasks/{task['id']}/comments", body)
    assert answer.status == 201, answer.body
    await team.pump()
    assert await told(manager) == [("mention", "You were mentioned in “Ship it”")]
    # Ann made the task and is mentioned: once is enough.
    assert await told(team.ann) == [("mention", "You were mentioned in “Ship it”")]
    assert [type_ for type_, _ in await told(team.ben)] == ["assignment"]


async def test_a_mention_tells_nobody_of_a_task_that_they_may_not_see(team: Team) -> None:
    task = await team.task(assigneeId=team.ben.id)
    path = f"/tasks/{task['id']}"
    said = await team.ann.post(f"{path}/comments", {"body": f"@{team.cleo.id} @{team.ben.id}"})
    assert said.json()["mentions"] == [team.cleo.id, team.ben.id]
    await team.pump()
    assert (await team.cleo.get(path)).status == 404
    assert await told(team.cleo) == []
    assert [type_ for type_, _ in await told(team.ben)] == ["assignment", "mention"]


async def test_who_made_a_task_hears_when_it_is_done(team: Team) -> None:
    task = await team.task(assigneeId=team.ben.id)
    done = await team.ben.patch(f"/tasks/{task['id']}", {"status": "done"})
    assert done.status == 200, done.body
    await team.pump()
    assert await told(team.ann) == [("completion", "“Ship it” is done")]


async def test_a_reports_owner_hears_of_it_and_gets_a_mail(team: Team) -> None:
    report = {"id": "r1", "kind": "task_list", "format": "csv", "ownerId": team.ben.id}
    await team.record("report.ready", report={**report, "expiresAt": "2026-11-30T00:00:00.000Z"})
    await team.record("report.failed", report={**report, "error": "no room"})
    assert await told(team.ben) == [
        ("report", "Your report “task list” is ready"),
        ("report", "Your report “task list” could not be made"),
    ]
    (mail,) = await team.mails("report_ready")
    assert (mail["to"], mail["data"]["reportName"]) == (team.ben.email, "task list")


async def test_administrators_hear_of_webhooks_and_workflows_that_fail(team: Team) -> None:
    disabled = await team.api.add_member(team.company_id, Role.COMPANY_ADMIN)
    await team.api.runtime.db.platform(USERS).update_one(
        {"_id": disabled.id}, {"$set": {"status": "disabled"}}
    )
    webhook = {"id": "w1", "url": "https://example.com/hook", "disabledReason": "gone"}
    health = {"lastAnswer": {"class": "gone", "status": 410, "error": None}}
    await team.record("webhook.failing", webhook=webhook, health=health)
    await team.record("webhook.disabled", webhook=webhook, health=health)
    await team.record("workflow.failed", workflow={"id": "f1", "name": "Chase"}, run={})
    assert await told(team.ann) == [
        ("webhook", "https://example.com/hook does not take webhooks"),
        ("webhook", "https://example.com/hook gets no webhooks any more"),
        ("workflow", "The workflow “Chase” failed"),
    ]
    for template in ("webhook_failing", "webhook_disabled"):
        (mail,) = await team.mails(template)
        assert (mail["to"], mail["data"]["answer"]) == (team.ann.email, "gone 410")
    assert await told(team.ben) == []
    rows = await team.api.rows(NOTIFICATIONS, companyId=team.company_id)
    assert disabled.id not in {row["userId"] for row in rows}


async def test_every_mail_of_the_planner_can_be_composed(team: Team) -> None:
    from novapulse.mail.compose import Sender, compose

    report = {"id": "r1", "kind": "audit", "format": "csv", "ownerId": team.ben.id}
    await team.task(assigneeId=team.ben.id)
    await team.record("report.ready", report=report)
    await team.record("webhook.failing", webhook={"id": "w"}, health={})
    await team.record("webhook.disabled", webhook={"id": "w"}, health={})
    for template in ("task_assigned", "report_ready", "webhook_failing", "webhook_disabled"):
        (mail,) = await team.mails(template)
        message = Message(
            id=new_id("job"),
            to=mail["to"],
            created_at=system_clock(),
            template=template,
            data=mail["data"],
        )
        assert "None" not in compose(message, Sender()).as_string()


async def test_planning_an_event_again_tells_nobody_twice(team: Team) -> None:
    task = {"id": "t1", "title": "Ship it", "assigneeId": team.ben.id}
    event_id = await team.record("task.assigned", task=task)
    (first,) = await team.api.rows(NOTIFICATIONS, companyId=team.company_id)
    await team.ben.post(f"/notifications/{first['_id']}/read")
    await team.api.runtime.db.platform("events").update_one(
        {"_id": event_id}, {"$set": {"isPlanned": False}}
    )
    await team.pump()
    (row,) = await team.api.rows(NOTIFICATIONS, companyId=team.company_id)
    assert (row["_id"], row["isRead"]) == (first["_id"], True)
    assert len(await team.mails("task_assigned")) == 1


async def test_an_address_that_takes_no_mail_holds_nobody_up(team: Team) -> None:
    await team.api.runtime.db.platform(USERS).update_one(
        {"_id": team.ben.id}, {"$set": {"email": "not an address"}}
    )
    await team.record("task.assigned", task={"id": "t", "title": "A", "assigneeId": team.ben.id})
    await team.record("task.assigned", task={"id": "t", "title": "B", "assigneeId": team.cleo.id})
    assert [title for _, title in await told(team.ben)] == ["You were assigned “A”"]
    assert [mail["to"] for mail in await team.mails("task_assigned")] == [team.cleo.email]


async def test_nobody_of_another_company_is_ever_told(team: Team) -> None:
    task = {"id": "t", "title": "A", "assigneeId": team.zoe.id, "createdBy": team.zoe.id}
    await team.record("task.assigned", task=task)
    await team.record("task.commented", task=task, comment={"mentions": [team.zoe.id, "nobody"]})
    rows = await team.api.rows(NOTIFICATIONS, userId=team.zoe.id)
    assert rows == []


async def test_notifications_are_their_owners_alone(team: Team) -> None:
    (mine, *_) = await team.fill(team.ben, 3)
    for other in (team.ann, team.cleo, team.zoe):
        assert await told(other) == []
        assert (await other.post(f"/notifications/{mine}/read")).status == 404
        assert (await other.post("/notifications/read-all")).json() == {"count": 0}
    assert await unread(team.ben) == 3


async def test_reading_marks_once_and_keeps_the_time(team: Team) -> None:
    (one, *_) = await team.fill(team.ben, 2)
    first = (await team.ben.post(f"/notifications/{one}/read")).json()
    again = (await team.ben.post(f"/notifications/{one}/read")).json()
    assert first["isRead"]
    assert first == again
    assert await unread(team.ben) == 1
    listed = (await team.ben.get("/notifications?isRead=false")).json()["data"]
    assert [row["id"] for row in listed] != [one]
    assert (await team.ben.post("/notifications/ffffffffffffffffffffffff/read")).status == 404


async def test_counts_are_right_while_many_read_at_the_same_time(team: Team) -> None:
    ids = await team.fill(team.ben, 40)
    chosen = [*ids[:15], *ids[:15], *ids[5:20]]
    answers, counts = await asyncio.gather(
        asyncio.gather(*(team.ben.post(f"/notifications/{one}/read") for one in chosen)),
        asyncio.gather(*(unread(team.ben) for _ in range(20))),
    )
    assert {answer.status for answer in answers} == {200}
    assert all(20 <= count <= 40 for count in counts)
    assert await unread(team.ben) == 20
    marked = await asyncio.gather(*(team.ben.post("/notifications/read-all") for _ in range(5)))
    assert sum(answer.json()["count"] for answer in marked) == 20
    assert await unread(team.ben) == 0


async def test_the_list_pages_newest_first(team: Team) -> None:
    ids = await team.fill(team.ben, 5)
    first = (await team.ben.get("/notifications?limit=2")).json()
    cursor = first["page"]["nextCursor"]
    rest = (await team.ben.get(f"/notifications?limit=3&cursor={cursor}")).json()
    assert [row["id"] for row in (*first["data"], *rest["data"])] == ids
    assert rest["page"]["nextCursor"] is None


@pytest.mark.parametrize("is_read", [None, True, False])
async def test_the_list_and_the_count_walk_an_index(team: Team, is_read: bool | None) -> None:
    await team.fill(team.ben, 30)
    where: dict[str, Any] = {"companyId": team.company_id, "userId": team.ben.id}
    if is_read is not None:
        where["isRead"] = is_read
    found = team.api.runtime.db.raw[NOTIFICATIONS].find(where)
    plan = await found.sort([("createdAt", -1), ("_id", -1)]).limit(10).explain()
    stages = str(plan["queryPlanner"]["winningPlan"])
    assert "IXSCAN" in stages
    assert "'SORT'" not in stages
    assert plan["executionStats"]["totalDocsExamined"] <= 30


async def test_a_notification_goes_when_its_time_is_over(team: Team) -> None:
    await team.record("task.assigned", task={"id": "t", "title": "A", "assigneeId": team.ben.id})
    (row,) = await team.api.rows(NOTIFICATIONS, userId=team.ben.id)
    assert row["expiresAt"] - row["createdAt"] == timedelta(days=90)
    indexes = await team.api.runtime.db.raw[NOTIFICATIONS].index_information()
    assert indexes["expiry"]["expireAfterSeconds"] == 0


async def test_a_notification_of_a_task_leads_to_it_and_to_its_event(team: Team) -> None:
    task = {"id": "t1", "title": "Ship it", "assigneeId": team.ben.id}
    event_id = await team.record("task.assigned", task=task)
    (one,) = (await team.ben.get("/notifications")).json()["data"]
    assert (one["link"], one["eventId"], one["isRead"]) == ("/tasks/t1", event_id, False)
    assert set(one) == set(Notification.__struct_encode_fields__)


async def test_an_unread_count_is_of_ones_own_company_only(team: Team) -> None:
    await team.fill(team.ben, 2)
    session = team.api.runtime.db.tenant(str(team.zoe.company_id))
    assert await NotificationStore(session, user_id=team.ben.id).unread_count() == 0


def test_the_events_that_are_told_of_are_events_of_the_catalogue() -> None:
    from novapulse.core.events import CATALOGUE
    from novapulse.notifications.stories import _STORIES
    from novapulse.processes import features

    assert features.ROUTES  # declares the events
    assert set(_STORIES) <= set(CATALOGUE)
