"""What the access tests have to know of every route, and the people who try them.

`DESCRIBED` has one line a route. Whoever adds a route adds its line, or
tests/integration/access/test_matrix.py fails: it says how to make the thing
that the path names and a body that is accepted. What then must come out
follows from the table in novapulse/core/access.py alone.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from novapulse.core.access import Grant, Principal, Role, Scope
from novapulse.core.clock import rfc3339
from novapulse.core.context import Context
from novapulse.core.documents import new_object_id
from novapulse.core.events import EVENTS, PLATFORM
from novapulse.core.routing import Route
from novapulse.identity import stepup
from novapulse.identity.model import Account, User
from novapulse.identity.service import open_session
from novapulse.notifications.model import NotificationType, Text
from novapulse.notifications.store import Mailroom
from novapulse.people import api_tokens
from novapulse.people.model import NewApiToken
from novapulse.subscriptions.store import WEBHOOKS
from tests.support.api import PASSWORD, RECEIVER_URL, Api, Person, as_principal
from tests.support.attempts import delivery_row, write_deliveries

COMPANY_HEADER = "x-novapulse-company"


@dataclass
class World:
    """Two companies and the operator; `home` is where everything is tried."""

    api: Api
    admin: Person
    manager: Person
    user: Person
    operator: Person
    stranger: Person  # the other company's administrator

    @property
    def people(self) -> Mapping[Role, Person]:
        return {
            Role.COMPANY_ADMIN: self.admin,
            Role.MANAGER: self.manager,
            Role.USER: self.user,
            Role.SUPER_ADMIN: self.operator,
        }

    def admin_for(self, whose: Person) -> Person:
        """The administrator of that person's company."""
        return self.stranger if whose.company_id == self.stranger.company_id else self.admin

    async def newcomer(self, role: Role) -> Person:
        """Somebody new in that role, for what would sign the usual one out."""
        if role is Role.SUPER_ADMIN:
            return await add_operator(self.api)
        return await self.api.add_member(str(self.admin.company_id), role)


def acting_on(operator: Person, company_id: str) -> Person:
    """The operator with the header that names a company."""
    headers = {**operator.headers, COMPANY_HEADER: company_id}
    return replace(operator, headers=headers, company_id=company_id)


async def make_world(api: Api) -> World:
    admin = await api.found_company()
    stranger = await api.found_company()
    home = str(admin.company_id)
    return World(
        api=api,
        admin=admin,
        manager=await api.add_member(home, Role.MANAGER),
        user=await api.add_member(home, Role.USER),
        operator=await add_operator(api),
        stranger=stranger,
    )


async def add_operator(api: Api) -> Person:
    """An operator with everybody's password."""
    operator = await api.add_operator()
    password_hash = await api.identity.passwords.hash(PASSWORD)
    await api.identity.accounts.set_password(operator.id, password_hash)
    return operator


def principal_of(person: Person) -> Principal:
    return replace(as_principal(person), is_operator=person.role is Role.SUPER_ADMIN)


async def step_up(api: Api, person: Person) -> None:
    """As if the person had just confirmed their password, in every session."""
    for row in await api.rows("sessions", userId=person.id):
        principal = replace(as_principal(person), session_id=row["_id"])
        await stepup.mark(api.context(principal))


Maker = Callable[[World, Person], Awaitable[str]]
Body = Callable[[World, Person], Awaitable[Any]]


async def task(world: World, whose: Person) -> str:
    answer = await whose.post("/tasks", {"title": "a task"})
    assert answer.status == 201, answer.body
    return str(answer.json()["id"])


async def project(world: World, whose: Person) -> str:
    answer = await world.admin_for(whose).post("/projects", {"name": "a project"})
    assert answer.status == 201, answer.body
    return str(answer.json()["id"])


async def department(world: World, whose: Person) -> str:
    answer = await world.admin_for(whose).post("/departments", await _department(world, whose))
    assert answer.status == 201, answer.body
    return str(answer.json()["id"])


async def _department(world: World, whose: Person) -> Any:
    return {"name": f"Department {new_object_id()}"}


async def webhook(world: World, whose: Person) -> str:
    admin = world.admin_for(whose)
    answer = await admin.post("/webhooks", {"url": RECEIVER_URL, "events": ["*"]})
    assert answer.status == 201, answer.body
    return str(answer.json()["id"])


async def inside_webhook(world: World, whose: Person) -> str:
    """One whose attempts end at once: it was accepted, and its address is not allowed."""
    webhook_id = await webhook(world, whose)
    rows = world.api.runtime.db.platform(WEBHOOKS)
    await rows.update_one({"_id": webhook_id}, {"$set": {"url": "http://127.0.0.1:9/"}})
    return webhook_id


async def delivery(world: World, whose: Person) -> str:
    """One that arrived, of an event whose payload is kept."""
    company_id, webhook_id = str(world.admin_for(whose).company_id), await webhook(world, whose)
    events = world.api.runtime.db.platform(EVENTS)
    (event, *_) = await world.api.rows(EVENTS, companyId=company_id)
    await events.update_one({"_id": event["_id"]}, {"$set": {"body": b"{}"}})
    at = world.api.runtime.clock()
    row = delivery_row(company_id, webhook_id, at=at, eventId=event["_id"])
    await write_deliveries(world.api, [row])
    return str(row["_id"])


async def _since_a_moment_ago(world: World, whose: Person) -> Any:
    return {"since": rfc3339(world.api.runtime.clock() - timedelta(minutes=1))}


async def workflow(world: World, whose: Person) -> str:
    answer = await world.admin_for(whose).post("/workflows", await _workflow(world, whose))
    assert answer.status == 201, answer.body
    return str(answer.json()["id"])


async def workflow_run(world: World, whose: Person) -> str:
    workflow_id = await workflow(world, whose)
    answer = await world.admin_for(whose).post(f"/workflows/{workflow_id}/run", {})
    assert answer.status == 202, answer.body
    return str(answer.json()["id"])


async def _workflow(world: World, whose: Person) -> Any:
    actions = [{"type": "log", "input": {"message": "hello"}}]
    return {"name": "a workflow", "trigger": {"type": "manual"}, "actions": actions}


async def member(world: World, whose: Person) -> str:
    """A user whom `whose` leads; for a plain user themselves."""
    if whose.role is Role.USER:
        return whose.id
    leads = whose.role is Role.MANAGER
    return await add_account(world, str(whose.company_id), manager_id=whose.id if leads else None)


async def add_account(world: World, company_id: str, *, manager_id: str | None = None) -> str:
    """A user without a password to sign in with: quicker than `Api.add_member`."""
    now = world.api.runtime.clock()
    user_id = new_object_id()
    user = User(
        id=user_id,
        email=f"{user_id}@example.com",
        name="Somebody",
        role=Role.USER,
        manager_id=manager_id,
        created_at=now,
        updated_at=now,
    )
    account = Account(user=user, company_id=company_id, password_hash="none")
    await world.api.identity.accounts.insert(account)
    return user_id


async def invite(world: World, whose: Person) -> str:
    sender = world.admin_for(whose) if whose.role is Role.USER else whose
    answer = await sender.post("/invites", await _invitation(world, whose))
    assert answer.status == 201, answer.body
    return str(answer.json()["id"])


_report = {"kind": "task_list", "format": "csv"}
_TASKS = (Scope.TASKS_READ,)
_schedule = {"name": "Weekly", **_report, "plan": {"frequency": "weekly"}}


async def report(world: World, whose: Person) -> str:
    """One that waits to be made."""
    answer = await whose.post("/reports", _report)
    assert answer.status == 202, answer.body
    return str(answer.json()["id"])


async def report_schedule(world: World, whose: Person) -> str:
    answer = await whose.post("/report-schedules", _schedule)
    assert answer.status == 201, answer.body
    return str(answer.json()["id"])


async def api_token(world: World, whose: Person) -> str:
    ctx = Context(world.api.runtime, principal_of(whose), request_id="test", via="cli")
    made = await api_tokens.create_api_token(ctx, NewApiToken(name="a token", scopes=("profile",)))
    return made.id


async def company(world: World, whose: Person) -> str:
    return str(whose.company_id or world.admin.company_id)


async def notification(world: World, whose: Person) -> str:
    """An operator's are at no company."""
    is_operator = whose.role is Role.SUPER_ADMIN
    home = PLATFORM if is_operator else str(whose.company_id)
    now, text = world.api.runtime.clock(), Text(type=NotificationType.MESSAGE, title="Hello")
    row = text.to(whose.id, cause=new_object_id(), at=now, keep=timedelta(days=1))
    await Mailroom(world.api.runtime.db.tenant(home)).add([row])
    return row.id


async def session(world: World, whose: Person) -> str:
    """A session beside the one that the person is in."""
    account = await world.api.identity.accounts.find(whose.id)
    assert account is not None
    opened = await open_session(world.api.context(), account)
    return opened.session.id


async def _invitation(world: World, whose: Person) -> Any:
    return {"email": f"{new_object_id()}@example.com", "role": "user"}


async def queue(world: World, whose: Person) -> str:
    return "email"


async def job(world: World, whose: Person) -> str:
    """The mail of an invite that was sent in the person's company."""
    company_id = str(whose.company_id or world.admin.company_id)
    await invite(world, world.admin_for(whose))
    rows = await world.api.rows("jobs", companyId=company_id, kind="mail.send")
    return str(rows[-1]["_id"])


def sends(**fields: Any) -> Body:
    async def make(world: World, whose: Person) -> Any:
        return fields

    return make


@dataclass(frozen=True)
class Described:
    """How a route is tried.

    `thing` makes what the path names, so that the person may reach it; `body`
    one that is accepted. `statuses` are what a success may look like when it is
    not the declared one. `owned` things of a colleague are beyond who may reach
    their own only. `needs_newcomer` says that who calls it is not the same afterwards.
    `step_up` is what a session needs; an API token can not, and needs `also_needs` for it.
    """

    thing: Maker | None = None
    body: Body | None = None
    statuses: tuple[int, ...] = ()
    owned: bool = False
    beyond: Mapping[Grant, int] = field(default_factory=lambda: {Grant.OWN: 404, Grant.LED: 404})
    is_tenants: bool = True
    needs_newcomer: bool = False
    query: str = ""
    step_up: bool = False
    also_needs: tuple[Scope, ...] = ()  # of an API token, beside the route's scope


_proof = sends(password=PASSWORD, code="123456")
PUBLIC = Described(is_tenants=False)
OPERATORS = Described(is_tenants=False)
EXPORT = Described(step_up=True, also_needs=(Scope.EXPORTS_READ,))

DESCRIBED: dict[str, Described] = {
    # Signing in
    "POST /auth/register": PUBLIC,
    "POST /auth/login": PUBLIC,
    "POST /auth/login/mfa": PUBLIC,
    "POST /auth/refresh": PUBLIC,
    "POST /auth/email/confirm": PUBLIC,
    "POST /auth/password/forgot": PUBLIC,
    "POST /auth/password/reset": PUBLIC,
    "POST /auth/logout": Described(statuses=(204,), needs_newcomer=True),
    "POST /auth/logout-all": Described(statuses=(204,), needs_newcomer=True),
    "POST /auth/step-up": Described(body=sends(password=PASSWORD)),
    "GET /auth/sessions": Described(),
    "DELETE /auth/sessions/{id}": Described(thing=session, owned=True),
    "GET /auth/me": Described(),
    "PATCH /auth/me": Described(body=sends(name="A new name")),
    "POST /auth/password/change": Described(
        body=sends(currentPassword=PASSWORD, newPassword=f"{PASSWORD} again"), needs_newcomer=True
    ),
    "GET /auth/mfa": Described(),
    "POST /auth/mfa/setup": Described(body=sends(password=PASSWORD), needs_newcomer=True),
    # Nobody here has a second factor: these say so.
    "POST /auth/mfa/verify": Described(body=sends(code="123456"), statuses=(409,)),
    "POST /auth/mfa/disable": Described(body=_proof, statuses=(409,)),
    "POST /auth/mfa/recovery-codes": Described(body=_proof, statuses=(409,)),
    # Companies, users, invites, API tokens
    "GET /company": Described(),
    "PATCH /company": Described(body=sends(name="A new name")),
    "GET /company/stats": Described(),
    "GET /companies": OPERATORS,
    "POST /companies": replace(OPERATORS, body=sends(name="One more")),
    "GET /companies/{id}": replace(OPERATORS, thing=company),
    "PATCH /companies/{id}": replace(OPERATORS, thing=company, body=sends(mfaRequired=False)),
    "GET /users": Described(),
    "GET /users/{id}": Described(thing=member, owned=True),
    "PATCH /users/{id}": Described(
        thing=member,
        body=sends(name="A new name"),
        owned=True,
        beyond={Grant.OWN: 404, Grant.LED: 403},
    ),
    "POST /users/{id}/disable": Described(thing=member, owned=True, beyond={Grant.LED: 403}),
    "POST /users/{id}/enable": Described(thing=member, owned=True, beyond={Grant.LED: 403}),
    "POST /users/{id}/mfa/reset": Described(thing=member, step_up=True),
    "POST /invites": Described(body=_invitation),
    "GET /invites": Described(),
    "DELETE /invites/{invite}": Described(thing=invite, owned=True),
    "POST /invites/{invite}/resend": Described(thing=invite, owned=True),
    "GET /invites/{invite}": PUBLIC,
    "POST /invites/{invite}/accept": PUBLIC,
    "GET /api-tokens": Described(),
    "POST /api-tokens": Described(body=sends(name="mine", scopes=["profile"]), step_up=True),
    "DELETE /api-tokens/{id}": Described(thing=api_token, owned=True),
    # Projects, tasks, departments
    "POST /projects": Described(body=sends(name="a project")),
    "GET /projects": Described(),
    "GET /projects/{id}": Described(thing=project),
    "PATCH /projects/{id}": Described(thing=project, body=sends(status="on_hold")),
    "DELETE /projects/{id}": Described(thing=project),
    "POST /tasks": Described(body=sends(title="a task")),
    "GET /tasks": Described(),
    "GET /tasks/{id}": Described(thing=task, owned=True),
    "PATCH /tasks/{id}": Described(thing=task, body=sends(status="review"), owned=True),
    "DELETE /tasks/{id}": Described(thing=task, owned=True),
    "POST /tasks/{id}/comments": Described(thing=task, body=sends(body="Done soon"), owned=True),
    "GET /tasks/{id}/comments": Described(thing=task, owned=True),
    "GET /tasks/{id}/activity": Described(thing=task, owned=True),
    "POST /departments": Described(body=_department),
    "GET /departments": Described(),
    "GET /departments/{id}": Described(thing=department),
    "PATCH /departments/{id}": Described(thing=department, body=_department),
    "DELETE /departments/{id}": Described(thing=department),
    # Notifications
    "GET /notifications": Described(),
    "GET /notifications/unread-count": Described(),
    "POST /notifications/read-all": Described(),
    "POST /notifications/{id}/read": Described(thing=notification, owned=True),
    # Webhooks
    "POST /webhooks": Described(body=sends(url=RECEIVER_URL, events=["task.*"])),
    "GET /webhooks": Described(),
    "GET /webhooks/{id}": Described(thing=webhook),
    "PATCH /webhooks/{id}": Described(thing=webhook, body=sends(retries=1)),
    "DELETE /webhooks/{id}": Described(thing=webhook),
    "POST /webhooks/{id}/pause": Described(thing=webhook),
    "POST /webhooks/{id}/resume": Described(thing=webhook),
    "POST /webhooks/{id}/rotate-secret": Described(thing=webhook, body=sends(overlapSeconds=0)),
    "POST /webhooks/{id}/test": Described(thing=inside_webhook),
    "POST /webhooks/{id}/recover": Described(thing=webhook, body=_since_a_moment_ago),
    "GET /webhooks/{id}/logs": Described(thing=webhook),
    "GET /webhooks/{id}/health": Described(thing=webhook),
    "GET /webhooks/{id}/deliveries": Described(thing=webhook),
    "POST /webhooks/deliveries/{id}/replay": Described(thing=delivery),
    "GET /webhook-event-types": Described(),
    # Reports and exports
    "POST /reports": Described(body=sends(**_report), also_needs=_TASKS),
    "GET /reports": Described(),
    "GET /reports/{id}": Described(thing=report, owned=True),
    "GET /reports/{id}/download": Described(thing=report, owned=True, statuses=(409,)),
    "DELETE /reports/{id}": Described(thing=report, owned=True),
    "POST /report-schedules": Described(body=sends(**_schedule), also_needs=_TASKS),
    "GET /report-schedules": Described(),
    "GET /report-schedules/{id}": Described(thing=report_schedule, owned=True),
    "PATCH /report-schedules/{id}": Described(
        thing=report_schedule, body=sends(name="A new name"), owned=True, also_needs=_TASKS
    ),
    "DELETE /report-schedules/{id}": Described(thing=report_schedule, owned=True),
    "GET /export/users.csv": EXPORT,
    "GET /export/users.ndjson": EXPORT,
    "GET /export/tasks.csv": EXPORT,
    "GET /export/tasks.ndjson": EXPORT,
    "GET /export/projects.csv": EXPORT,
    "GET /export/projects.ndjson": EXPORT,
    "GET /export/audit.csv": EXPORT,
    "GET /export/audit.ndjson": EXPORT,
    # Workflows
    "POST /workflows": Described(body=_workflow),
    "GET /workflows": Described(),
    "GET /workflows/{id}": Described(thing=workflow),
    "PATCH /workflows/{id}": Described(thing=workflow, body=sends(name="a new name")),
    "DELETE /workflows/{id}": Described(thing=workflow),
    "POST /workflows/{id}/activate": Described(thing=workflow),
    "POST /workflows/{id}/deactivate": Described(thing=workflow),
    "POST /workflows/{id}/duplicate": Described(thing=workflow),
    "POST /workflows/{id}/run": Described(thing=workflow, body=sends(), statuses=(202,)),
    "GET /workflows/{id}/runs": Described(thing=workflow),
    "GET /workflow-runs/{id}": Described(thing=workflow_run),
    # It has not failed.
    "POST /workflow-runs/{id}/retry": Described(thing=workflow_run, statuses=(409,)),
    # Audit log
    "GET /audit": Described(),
    # Operations
    "GET /health": PUBLIC,
    "GET /health/live": PUBLIC,
    "GET /health/ready": PUBLIC,
    "GET /metrics": OPERATORS,
    "GET /queue/stats": Described(),
    "GET /queue/{queue}/jobs": Described(thing=queue, is_tenants=False),
    "DELETE /queue/{queue}/jobs": Described(thing=queue, query="?state=dead", is_tenants=False),
    "POST /queue/{queue}/retry": Described(thing=queue, query="?state=dead", is_tenants=False),
    "POST /queue/{queue}/pause": Described(thing=queue, is_tenants=False),
    "POST /queue/{queue}/resume": Described(thing=queue, is_tenants=False),
    "GET /jobs/{id}": Described(thing=job),
    "POST /jobs/{id}/retry": Described(thing=job, statuses=(200, 409)),
    "POST /jobs/{id}/cancel": Described(thing=job),
    "GET /openapi.json": PUBLIC,
    "GET /docs": PUBLIC,
    "GET /docs/{name}": PUBLIC,
}


def named(route: Route) -> str:
    return f"{route.method} {route.path}"
