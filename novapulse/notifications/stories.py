"""What an event means to whom: pure, by the event's name and a tolerant look at its data.

The events are other features'. A field that is not there makes a poorer text,
never an error: one odd event must not hold up all that come after it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from novapulse.core.access import Grant, Scope, cell
from novapulse.core.events import EventRow
from novapulse.identity.model import User
from novapulse.notifications.model import NotificationType as Type
from novapulse.notifications.model import Text

Fields = Mapping[str, Any]
_LONGEST_ANSWER = 500


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """One text for some users, or for the company's administrators.

    `mail` names the template that goes to each of them as well, with `data`.
    With `parties` it is of a task that is theirs: nobody else hears of it who
    may not read every task.
    """

    text: Text
    user_ids: tuple[str, ...] = ()
    to_admins: bool = False
    parties: tuple[str, ...] | None = None
    mail: str | None = None
    data: dict[str, Any] = {}

    def is_for(self, user: User) -> bool:
        """Whether the user may see what it tells of."""
        if self.parties is None or user.id in self.parties:
            return True
        return cell(Scope.TASKS_READ, user.role) is Grant.ALL


def stories_of(event: EventRow) -> list[Story]:
    """Most telling first: who is in two of them gets the first."""
    tell = _STORIES.get(event.type)
    return [] if tell is None else list(tell(event))


def actor_of(event: EventRow) -> str:
    return _text(event.actor, "userId")


def _text(fields: Fields, name: str) -> str:
    """The field, if it is a string, or ""."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _ids(fields: Fields, *names: str) -> tuple[str, ...]:
    """The ids in the named fields, be each one id or a list of them."""
    found: list[str] = []
    for name in names:
        value = fields.get(name)
        values = value if isinstance(value, list | tuple) else (value,)
        found += [one for one in values if isinstance(one, str) and one]
    return tuple(dict.fromkeys(found))


def _part(event: EventRow, name: str) -> Fields:
    """An object in the event's data, or an empty one."""
    found = event.data.get(name)
    return found if isinstance(found, dict) else {}


def _task(event: EventRow) -> tuple[Fields, str, str]:
    """The task, its title, and where it is shown."""
    task = _part(event, "task")
    return task, _text(task, "title") or "a task", f"/tasks/{_text(task, 'id')}"


def _assigned(event: EventRow) -> Iterator[Story]:
    task, title, link = _task(event)
    text = Text(type=Type.ASSIGNMENT, title=f"You were assigned “{title}”", link=link)
    data = {"taskTitle": title, "dueAt": _text(task, "dueAt") or None}
    yield Story(text=text, user_ids=_ids(task, "assigneeId"), mail="task_assigned", data=data)


def _commented(event: EventRow) -> Iterator[Story]:
    task, title, link = _task(event)
    comment = _part(event, "comment")
    body = _text(comment, "body") or None
    mention = Text(
        type=Type.MENTION, title=f"You were mentioned in “{title}”", body=body, link=link
    )
    parties = _ids(task, "assigneeId", "createdBy")
    # Anybody of the company can be named in a comment.
    yield Story(text=mention, user_ids=_ids(comment, "mentions"), parties=parties)
    text = Text(type=Type.COMMENT, title=f"New comment on “{title}”", body=body, link=link)
    yield Story(text=text, user_ids=parties)


def _completed(event: EventRow) -> Iterator[Story]:
    task, title, link = _task(event)
    text = Text(type=Type.COMPLETION, title=f"“{title}” is done", link=link)
    yield Story(text=text, user_ids=_ids(task, "createdBy"))


def _report(event: EventRow) -> tuple[Fields, str, str, tuple[str, ...]]:
    """The report, its name, where it is shown, and whose it is."""
    report = _part(event, "report")
    name = _text(report, "kind").replace("_", " ") or "report"
    owner = _ids(report, "ownerId")
    return report, name, f"/reports/{_text(report, 'id')}", owner


def _report_ready(event: EventRow) -> Iterator[Story]:
    report, name, link, owner = _report(event)
    text = Text(type=Type.REPORT, title=f"Your report “{name}” is ready", link=link)
    data = {
        "reportName": name,
        "format": _text(report, "format") or None,
        "expiresAt": _text(report, "expiresAt") or None,
    }
    yield Story(text=text, user_ids=owner, mail="report_ready", data=data)


def _report_failed(event: EventRow) -> Iterator[Story]:
    report, name, link, owner = _report(event)
    title = f"Your report “{name}” could not be made"
    body = _text(report, "error") or None
    yield Story(text=Text(type=Type.REPORT, title=title, body=body, link=link), user_ids=owner)


def _webhook(event: EventRow, *, says: str, mail: str) -> Story:
    webhook, health = _part(event, "webhook"), _part(event, "health")
    url = _text(webhook, "url") or "a webhook"
    reason = _text(webhook, "disabledReason") or None
    answer = _answer(health)
    data = {
        "url": url,
        "reason": reason,
        "answer": answer,
        "since": _text(health, "failingSince") or None,
    }
    text = Text(
        type=Type.WEBHOOK,
        title=f"{url} {says}",
        body=answer or reason,
        link=f"/webhooks/{_text(webhook, 'id')}",
    )
    return Story(text=text, to_admins=True, mail=mail, data=data)


def _answer(health: Fields) -> str | None:
    """The receiver's last answer in a line: `rejected 404`, `transient connection refused`."""
    answer = health.get("lastAnswer")
    if not isinstance(answer, dict):
        return None
    parts = (answer.get(name) for name in ("class", "status", "error"))
    return " ".join(str(part) for part in parts if part)[:_LONGEST_ANSWER] or None


def _webhook_failing(event: EventRow) -> Iterator[Story]:
    yield _webhook(event, says="does not take webhooks", mail="webhook_failing")


def _webhook_disabled(event: EventRow) -> Iterator[Story]:
    yield _webhook(event, says="gets no webhooks any more", mail="webhook_disabled")


def _workflow_failed(event: EventRow) -> Iterator[Story]:
    workflow = _part(event, "workflow")
    run = _part(event, "run")
    name = _text(workflow, "name") or "a workflow"
    body = _text(run, "error") or None
    link = f"/workflows/{_text(workflow, 'id')}"
    text = Text(type=Type.WORKFLOW, title=f"The workflow “{name}” failed", body=body, link=link)
    yield Story(text=text, to_admins=True)


_STORIES: dict[str, Callable[[EventRow], Iterator[Story]]] = {
    "task.assigned": _assigned,
    "task.commented": _commented,
    "task.completed": _completed,
    "report.ready": _report_ready,
    "report.failed": _report_failed,
    "webhook.failing": _webhook_failing,
    "webhook.disabled": _webhook_disabled,
    "workflow.failed": _workflow_failed,
}
