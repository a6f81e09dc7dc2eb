"""A company full of believable work that goes on, for somebody who wants to see everything move."""

import itertools
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from novapulse.core import wire
from novapulse.core.access import Principal, Role
from novapulse.core.context import Context
from novapulse.core.errors import TransientConflict
from novapulse.core.ids import new_id
from novapulse.people import accounts, companies
from novapulse.people.model import NewAccount, NewCompany
from novapulse.projects.model import NewProject
from novapulse.projects.service import create_project
from novapulse.reports.model import NewReport, ReportFormat, ReportKind
from novapulse.reports.service import request_report
from novapulse.subscriptions.model import ChangeWebhook, CreatedWebhook, NewWebhook
from novapulse.subscriptions.service import change_webhook, create_webhook
from novapulse.work.discussion import NewComment
from novapulse.work.discussions import add_comment
from novapulse.work.model import ChangeTask, NewTask, Priority, Status
from novapulse.work.service import change_task, create_task
from novapulse.workflows.model import NewWorkflow
from novapulse.workflows.service import create_workflow

PEOPLE = (
    ("Ada Okafor", Role.COMPANY_ADMIN),
    ("Miguel Torres", Role.MANAGER),
    ("Lena Fischer", Role.USER),
    ("Priya Nair", Role.USER),
    ("Tom Becker", Role.USER),
    ("Yuki Sato", Role.USER),
)
PROJECTS = {
    "Website relaunch": (
        "Write the new front page",
        "Move the blog posts",
        "Check every link",
        "Take photographs of the team",
        "Translate the product pages",
    ),
    "Warehouse move": (
        "Count the spare parts",
        "Order shelves for hall B",
        "Label the pallets",
        "Book two lorries for Friday",
        "Hand over the old keys",
    ),
    "Spring audit": (
        "Collect the travel receipts",
        "Reconcile the supplier accounts",
        "Answer the auditor's questions",
        "Archive last year's contracts",
    ),
}
REMARKS = ("Started on it", "Half of it is done", "This took longer than I thought", "Ready now")
# Where the receiver is to be, until it listens: nothing is sent to a webhook that is not active.
NOWHERE = "http://127.0.0.1:9/"
WORKFLOWS = (
    {
        "name": "Look after urgent tasks",
        "trigger": {"type": "event", "event": "task.created"},
        "conditions": {"field": "event.data.priority", "operator": "equals", "value": "urgent"},
        "actions": [
            {
                "type": "send_email",
                "input": {
                    "to": "on-call@demo.example",
                    "subject": "Urgent: {{ event.data.title }}",
                    "text": "Somebody should look at it today.",
                },
            },
            {"type": "log", "input": {"message": "Urgent: {{ event.data.title }}"}},
        ],
    },
    {
        "name": "Have finished work reviewed",
        "trigger": {"type": "event", "event": "task.completed"},
        "actions": [
            {
                "type": "create_task",
                "input": {
                    "title": "Review: {{ event.data.title | truncate:150 }}",
                    "labels": ["review"],
                },
            }
        ],
        "conditions": {
            "not": {"field": "event.data.title", "operator": "starts_with", "value": "Review"}
        },
    },
)


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    email: str
    password: str
    principal: Principal


@dataclass(frozen=True, slots=True)
class Demo:
    """The furnished company; `people` in the order of PEOPLE."""

    company_id: str
    company_name: str
    people: tuple[Person, ...]
    project_ids: dict[str, str]
    webhook: CreatedWebhook


async def furnish(ctx: Context) -> Demo:
    """A new company with people, projects, two workflows and a webhook that is not active yet.

    Each call makes another one, with addresses of its own.
    """
    mark = secrets.token_hex(2)
    company = await companies.create_company(ctx, NewCompany(name=f"Northwind {mark}"))
    people = tuple([await _person(ctx, company.id, mark=mark, who=who) for who in PEOPLE])
    admin = as_person(ctx, people[0])
    members = tuple(person.principal.user_id for person in people)
    projects = {}
    for name in PROJECTS:
        project = await create_project(admin, NewProject(name=name, member_ids=members))
        projects[name] = project.id
    for workflow in WORKFLOWS:
        await create_workflow(admin, wire.convert(workflow, NewWorkflow))
    command = NewWebhook(
        url=NOWHERE, events=("*",), is_active=False, description="The receiver of the demo"
    )
    webhook = await create_webhook(admin, command)
    return Demo(company.id, company.name, people, projects, webhook)


async def _person(ctx: Context, company_id: str, *, mark: str, who: tuple[str, Role]) -> Person:
    name, role = who
    email = f"{name.split()[0].lower()}.{mark}@demo.example"
    account = NewAccount(email=email, name=name, role=role, company_id=company_id)
    password = await accounts.create_account(ctx, account)
    found = await accounts.get_account(ctx, email)
    principal = Principal(user_id=found.user.id, role=role, company_id=company_id)
    return Person(name, email, password, principal)


def as_person(ctx: Context, person: Person) -> Context:
    """What the person would do at the keyboard: each time a request of its own."""
    return Context(ctx.runtime, person.principal, request_id=new_id("demo"), via="cli")


async def connect(ctx: Context, demo: Demo, *, url: str) -> None:
    """From now on the events of the company are delivered to `url`."""
    change = ChangeWebhook(url=url, is_active=True)
    await change_webhook(as_person(ctx, demo.people[0]), demo.webhook.id, change=change)


class Work:
    """The company's days, one small thing at a time."""

    def __init__(self, ctx: Context, demo: Demo) -> None:
        self._ctx = ctx
        self._demo = demo
        self._titles = self._all_titles()
        self._open: list[tuple[str, Person, int]] = []  # a task, who does it, and how far it is
        self._turn = 0

    def _all_titles(self) -> Iterator[tuple[str, str]]:
        for week in itertools.count(1):
            for project, titles in PROJECTS.items():
                for title in titles:
                    yield project, title if week == 1 else f"{title} (week {week})"

    async def go_on(self) -> str:
        """Do the next thing; a line that says what."""
        self._turn += 1
        while True:
            try:
                if self._turn == len(PEOPLE):
                    return await self._ask_for_a_report()
                if len(self._open) < 4 or self._turn % 3 == 1:
                    return await self._plan()
                return await self._advance()
            except TransientConflict:
                continue  # somebody else was quicker: the same again

    async def _plan(self) -> str:
        project, title = next(self._titles)
        manager, *team = self._demo.people[1:]
        person = team[self._turn % len(team)]
        is_urgent = self._turn % 4 == 1
        ctx = as_person(self._ctx, manager)
        command = NewTask(
            title=title,
            project_id=self._demo.project_ids[project],
            assignee_id=person.principal.user_id,
            priority=Priority.URGENT if is_urgent else Priority.MEDIUM,
            due_at=ctx.now() + timedelta(days=1 + self._turn % 14),
        )
        task = await create_task(ctx, command)
        self._open.append((task.id, person, 0))
        return f"{manager.name} asked {person.name}: {title}"

    async def _advance(self) -> str:
        """The oldest open task goes one step on: begun, spoken of, done."""
        task_id, person, done = self._open.pop(0)
        ctx = as_person(self._ctx, person)
        steps = (Status.IN_PROGRESS, None, Status.DONE)
        status = steps[done]
        if status is None:
            remark = REMARKS[self._turn % len(REMARKS)]
            await add_comment(ctx, task_id, command=NewComment(body=remark))
            told = f"{person.name} wrote: {remark}"
        else:
            task = await change_task(ctx, task_id, change=ChangeTask(status=status))
            told = f"{person.name} set “{task.title}” to {status}"
        if done + 1 < len(steps):
            self._open.append((task_id, person, done + 1))
        return told

    async def _ask_for_a_report(self) -> str:
        manager = self._demo.people[1]
        report = NewReport(kind=ReportKind.TASKS_SUMMARY, format=ReportFormat.HTML)
        await request_report(as_person(self._ctx, manager), report)
        return f"{manager.name} asked for a summary of all tasks"
