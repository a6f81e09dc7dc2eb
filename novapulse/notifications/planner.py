"""From events to notifications and mails: everybody concerned but who did it, exactly once."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from novapulse.core.access import SYSTEM
from novapulse.core.context import Context, Runtime
from novapulse.core.documents import to_document
from novapulse.core.errors import Invalid
from novapulse.core.events import EventRow
from novapulse.core.ids import derived_id
from novapulse.core.jobs.rows import NewJob
from novapulse.core.mongo import Document
from novapulse.core.pump import Plan
from novapulse.identity.model import User
from novapulse.notifications.model import NotificationRow
from novapulse.notifications.store import NOTIFICATIONS, Mailroom
from novapulse.notifications.stories import Story, actor_of, stories_of

log = structlog.get_logger("notifications")
Told = tuple[EventRow, Sequence[Story]]


@dataclass(frozen=True, slots=True)
class People:
    """Active members of one company that a batch of its events is about, by id."""

    members: dict[str, User]
    admins: dict[str, User]

    def concerned(self, event: EventRow, stories: Sequence[Story]) -> list[tuple[Story, User]]:
        """Each of them with the first story about them, but for whoever did it."""
        found: dict[str, tuple[Story, User]] = {}
        for story in stories:
            users = self.admins if story.to_admins else self.members
            ids = users if story.to_admins else story.user_ids
            for user_id in ids:
                user = users.get(user_id)
                if user is not None and story.is_for(user):
                    found.setdefault(user_id, (story, user))
        found.pop(actor_of(event), None)
        return list(found.values())


async def plan_notifications(runtime: Runtime, events: Sequence[EventRow], plan: Plan) -> None:
    """The notifications of these events, and the jobs of the mails that go with them.

    The ids of a notification and of its mail derive from the event and the
    recipient: planned again, they meet the ones that are there.
    """
    by_company: dict[str, list[Told]] = defaultdict(list)
    for event in events:
        if stories := stories_of(event):
            by_company[event.company_id].append((event, stories))
    for company_id, told in by_company.items():
        principal = replace(SYSTEM, company_id=company_id)
        ctx = Context(runtime, principal, request_id=told[0][0].request_id, via="job")
        mailroom = Mailroom(ctx.read())
        people = await _people(mailroom, told)
        rows = _notifications(runtime, told, people)
        plan.insert(NOTIFICATIONS, [{**to_document(row), "companyId": company_id} for row in rows])
        plan.enqueue(_mails(runtime, told, people))


async def _people(mailroom: Mailroom, told: Sequence[Told]) -> People:
    stories = [story for _, stories in told for story in stories]
    named = {user_id for story in stories for user_id in story.user_ids}
    actors = {actor_of(event) for event, _ in told}
    needs_admins = any(story.to_admins for story in stories)
    return People(
        members=await mailroom.members(sorted(named | actors)),
        admins=await mailroom.admins() if needs_admins else {},
    )


def _notifications(
    runtime: Runtime, told: Sequence[Told], people: People
) -> Iterator[NotificationRow]:
    keep = timedelta(days=runtime.settings.notifications.keep_days)
    for event, stories in told:
        for story, user in people.concerned(event, stories):
            yield story.text.to(
                user.id, cause=event.id, at=event.created_at, keep=keep, event_id=event.id
            )


def _mails(runtime: Runtime, told: Sequence[Told], people: People) -> Iterator[Document]:
    for event, stories in told:
        actor = people.members.get(actor_of(event))
        for story, user in people.concerned(event, stories):
            if story.mail is None:
                continue
            try:
                yield _mail(runtime, event, story=story, to=user, actor=actor)
            except Invalid as error:  # of an odd address; it must not hold up everybody else
                log.warning("mail.not_planned", eventId=event.id, userId=user.id, why=error.detail)


def _mail(
    runtime: Runtime, event: EventRow, *, story: Story, to: User, actor: User | None
) -> Document:
    link = f"{runtime.settings.server.base_url}{story.text.link}"
    data = {
        **story.data,
        "name": to.name,
        "actorName": actor.name if actor else None,
        "link": link,
    }
    job = NewJob(
        kind="mail.send",
        payload={"to": to.email, "template": story.mail, "data": data},
        company_id=event.company_id,
        request_id=event.request_id,
        trace=event.trace,
        id=derived_id("job", event.id, "mail", to.id),
    )
    return runtime.job_row(job)
