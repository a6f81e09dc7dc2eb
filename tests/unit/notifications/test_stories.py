"""What an event means to whom: by its name, whatever its data looks like."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novapulse.core.errors import Invalid
from novapulse.core.events import EventRow
from novapulse.mail.model import check_payload as check_mail
from novapulse.notifications.model import NotificationType, check_payload
from novapulse.notifications.stories import _STORIES, Story, stories_of

TASK = {"id": "t1", "title": "Ship it", "assigneeId": "ann", "createdBy": "bob", "dueAt": None}
COMMENT = {"id": "c1", "body": "Look", "mentions": ["cleo"]}
REPORT = {"id": "r1", "kind": "task_list", "ownerId": "ann", "format": "csv", "error": "no disk"}
WEBHOOK = {"id": "w1", "url": "https://example.com/hook", "disabledReason": "gone"}
HEALTH = {
    "failingSince": "2026-11-23T15:18:00.000Z",
    "lastAnswer": {"class": "transient", "status": 503, "error": None},
}
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
KNOWN = st.fixed_dictionaries(
    {},
    optional={
        name: JUNK | st.dictionaries(st.sampled_from([*TASK, *REPORT, *HEALTH]), JUNK)
        for name in ("task", "comment", "report", "webhook", "health", "workflow", "run")
    },
)


def event(type_: str, **data: Any) -> EventRow:
    return EventRow(
        id="evt_1",
        company_id="c",
        type=type_,
        version=1,
        created_at=datetime(2026, 11, 23, tzinfo=UTC),
        request_id="r",
        actor={"userId": "zoe"},
        resource_id="x",
        data=data,
    )


def told(type_: str, **data: Any) -> list[tuple[str, tuple[str, ...] | str]]:
    """Which kinds of notification there are, and for whom."""
    stories = stories_of(event(type_, **data))
    return [(str(one.text.type), "admins" if one.to_admins else one.user_ids) for one in stories]


def test_each_kind_of_event_has_its_audience() -> None:
    assert told("task.assigned", task=TASK) == [("assignment", ("ann",))]
    assert told("task.commented", task=TASK, comment=COMMENT) == [
        ("mention", ("cleo",)),
        ("comment", ("ann", "bob")),
    ]
    assert told("task.completed", task=TASK) == [("completion", ("bob",))]
    assert told("report.ready", report=REPORT) == [("report", ("ann",))]
    assert told("report.failed", report=REPORT) == [("report", ("ann",))]
    assert told("webhook.failing", webhook=WEBHOOK, health=HEALTH) == [("webhook", "admins")]
    assert told("webhook.disabled", webhook=WEBHOOK, health=HEALTH) == [("webhook", "admins")]
    workflow = {"id": "f1", "name": "Chase"}
    assert told("workflow.failed", workflow=workflow, run={"error": "no"}) == [
        ("workflow", "admins")
    ]
    assert told("task.created", task=TASK) == []


def test_what_is_told_names_the_thing_and_its_trouble() -> None:
    (report,) = stories_of(event("report.failed", report=REPORT))
    assert report.text.title == "Your report “task list” could not be made"
    assert (report.text.body, report.text.link) == ("no disk", "/reports/r1")
    (webhook,) = stories_of(event("webhook.failing", webhook=WEBHOOK, health=HEALTH))
    assert webhook.text.body == "transient 503"
    assert webhook.data["since"] == "2026-11-23T15:18:00.000Z"
    (disabled,) = stories_of(event("webhook.disabled", webhook=WEBHOOK, health={}))
    assert (disabled.text.body, disabled.data["reason"]) == ("gone", "gone")


@pytest.mark.parametrize("type_", sorted(_STORIES))
def test_every_mail_that_goes_with_it_is_one_that_can_be_sent(type_: str) -> None:
    data = {"task": TASK, "comment": COMMENT, "report": REPORT, "webhook": WEBHOOK}
    for story in stories_of(event(type_, **data, health=HEALTH)):
        if story.mail is not None:
            given_by_planner = {"name": "Ann", "actorName": None, "link": "https://n/t"}
            mail = {"to": "ann@example.com", "template": story.mail}
            check_mail({**mail, "data": {**story.data, **given_by_planner}})


@pytest.mark.parametrize("type_", sorted(_STORIES))
@settings(max_examples=25)
@given(data=KNOWN)
def test_no_data_of_an_event_can_hold_up_the_others(type_: str, data: dict[str, Any]) -> None:
    for story in stories_of(event(type_, **data)):
        assert isinstance(story, Story)
        assert story.text.title
        assert all(isinstance(one, str) and one for one in story.user_ids)


MESSAGE: dict[str, Any] = {"user_ids": ["ann"], "title": "Hello"}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"user_ids": []}, "user_ids"),
        ({"user_ids": "ann"}, "user_ids"),
        ({"user_ids": [""]}, "user_ids"),
        ({"user_ids": ["ann"] * 201}, "user_ids"),
        ({"title": ""}, "title"),
        ({"title": "x" * 301}, "title"),
        ({"body": "x" * 4_001}, "body"),
        ({"link": "javascript:alert(1)"}, "link"),
        ({"link": "//evil.example"}, "link"),
        ({"link": "/\\evil.example"}, "link"),
        ({"link": "https://e.example/a\nb"}, "link"),
    ],
)
def test_a_message_that_could_not_be_shown_is_refused(change: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_payload({**MESSAGE, **change})
    assert [error.path for error in refused.value.errors] == [path]


@pytest.mark.parametrize("link", [None, "/tasks/1", "https://example.com/x?y=1"])
def test_a_message_may_lead_somewhere(link: str | None) -> None:
    check_payload({**MESSAGE, "link": link, "body": None})
    assert NotificationType.MESSAGE == "message"
