"""What is said about a task, and what happened to it: comments, mentions, activity."""

import re
from datetime import datetime
from typing import Annotated, Any

import msgspec

from novapulse.core import paging, wire
from novapulse.core.errors import Invalid
from novapulse.core.events import Event, event
from novapulse.core.fields import NO_NUL
from novapulse.core.mongo import Document
from novapulse.identity.model import Command
from novapulse.people.model import Cursor, Limit
from novapulse.work.model import Task

MAX_MENTIONS = 50
# `@` at the start of a word, then an id or an address; what ends a sentence is not part of it.
_MENTION = re.compile(r"(?<![\w.+@-])@([0-9a-f]{24}(?![\w@])|[^\s@<>()\[\],;:\"]+@[\w.-]*\w)")

Body = Annotated[str, msgspec.Meta(min_length=1, max_length=10_000, pattern=NO_NUL)]


class Comment(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`mentions` are the ids of the people whom the body names."""

    id: str
    task_id: str
    author_id: str
    body: str
    mentions: tuple[str, ...] = ()
    created_at: datetime


class NewComment(Command, frozen=True):
    body: Body

    def names(self) -> tuple[str, ...]:
        """The ids and addresses behind an `@`, each once; raises Invalid for too many."""
        found = tuple(dict.fromkeys(_MENTION.findall(self.body)))
        if len(found) > MAX_MENTIONS:
            raise Invalid.field("body", f"mentions more than {MAX_MENTIONS} people")
        return found


class DiscussionQuery(Command, frozen=True):
    limit: Limit = paging.DEFAULT_LIMIT
    cursor: Cursor | None = None


class Activity(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One event of a task: who did what, the new values of what changed, a comment if it is one."""

    id: str
    type: str
    created_at: datetime
    actor_id: str
    via: str
    changes: dict[str, Any]
    comment: Comment | None

    @classmethod
    def of(cls, row: Document) -> "Activity":
        """Out of an event's row; from where somebody did it is the audit log's business."""
        data = row["data"]
        comment = data.get("comment")
        return cls(
            id=row["_id"],
            type=row["type"],
            created_at=row["createdAt"],
            actor_id=row["actor"]["userId"],
            via=row["actor"]["via"],
            changes={name: data["task"][name] for name in data.get("changed", ())},
            comment=None if comment is None else wire.convert(comment, Comment),
        )


@event("task.commented")
class TaskCommented(Event, frozen=True, kw_only=True):
    task: Task
    comment: Comment
