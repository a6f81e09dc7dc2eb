"""Three companies, people doing things at random: nothing of one shows at another.

Everything goes through the ASGI application. The machine remembers what each
company made; after every step the answer is searched for anything that another
company made, and lists and counts are compared with what is remembered.
"""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from novapulse.core.access import Role
from novapulse.core.documents import new_object_id
from novapulse.core.pump import Pump
from novapulse.processes.features import PLANNERS
from tests.support.api import PASSWORD, RECEIVER_URL, Answer, Api, Person, open_api
from tests.support.routes import step_up
from tests.support.stores import RunningStores

COMPANIES = 3
STEPS = 40
# 8 × 40 steps with every run of the tests, 80 × 40 at night.
IS_NIGHT = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
EXAMPLES = 80 if IS_NIGHT else 8

companies = st.integers(0, COMPANIES - 1)
roles = st.sampled_from([Role.COMPANY_ADMIN, Role.MANAGER, Role.USER])
picks = st.integers(0, 1_000)


@dataclass
class Company:
    """What one company has, as far as the machine knows."""

    people: dict[Role, Person]
    word: str  # in every text that the company writes
    users: set[str] = field(default_factory=set)
    tasks: set[str] = field(default_factory=set)
    projects: set[str] = field(default_factory=set)
    departments: set[str] = field(default_factory=set)
    webhooks: set[str] = field(default_factory=set)
    invites: set[str] = field(default_factory=set)
    pending: dict[str, str] = field(default_factory=dict)  # address → id
    links: dict[str, str] = field(default_factory=dict)  # id → the link's token
    tokens: dict[str, str] = field(default_factory=dict)  # id → whose
    emails: set[str] = field(default_factory=set)

    @property
    def id(self) -> str:
        return str(self.people[Role.COMPANY_ADMIN].company_id)

    def hints(self) -> list[str]:
        ids = [*self.users, *self.tasks, *self.webhooks, *self.invites, *self.tokens]
        return [self.id, self.word, *ids, *self.projects, *self.departments]

    def of(self, kind: str) -> list[str]:
        return sorted(getattr(self, kind))


class Companies(RuleBasedStateMachine):
    """One example: three fresh companies in the shared application."""

    api: ClassVar[Api]
    runner: ClassVar[asyncio.Runner]

    @initialize()
    def found(self) -> None:
        self.companies = [self.runner.run(self._found()) for _ in range(COMPANIES)]

    async def _found(self) -> Company:
        admin = await self.api.found_company()
        company_id = str(admin.company_id)
        people = {Role.COMPANY_ADMIN: admin}
        for role in (Role.MANAGER, Role.USER):
            people[role] = await self.api.add_member(company_id, role)
        company = Company(people, word=f"word{new_object_id()}")
        company.users = {person.id for person in people.values()}
        company.emails = {person.email for person in people.values()}
        for role, person in people.items():
            name = {"name": f"{company.word} {role}"}
            assert (await admin.patch(f"/users/{person.id}", name)).status == 200
        assert (await admin.patch("/company", {"name": company.word})).status == 200
        return company

    def ask(
        self, number: int, role: Role, method: str, path: str, data: Any = None
    ) -> tuple[Company, Answer]:
        """Ask as somebody of that company; what comes back holds nothing of the others."""
        company = self.companies[number]
        person = company.people[role]
        options = {} if data is None else {"data": data}
        answer = self.runner.run(person.request(method, path, **options))
        assert answer.status < 500, answer.body
        text = answer.body.decode() + repr(answer.headers)
        for other in self.companies:
            if other is not company:
                shown = [hint for hint in other.hints() if hint in text]
                assert not shown, (method, path, shown)
        return company, answer

    def foreign(self, number: int, kind: str, pick: int) -> str | None:
        """A thing of that kind of another company."""
        found = [
            thing for c in self.companies if c is not self.companies[number] for thing in c.of(kind)
        ]
        return found[pick % len(found)] if found else None

    def same_as_missing(
        self, number: int, role: Role, method: str, path: str, *, thing: str, data: Any = None
    ) -> None:
        """A foreign thing's answer is that of a thing that never was."""
        answers = [
            self.ask(number, role, method, path.format(name), data)[1]
            for name in (thing, new_object_id())
        ]
        assert answers[0].status == answers[1].status in (403, 404)
        assert answers[0].anonymous_body() == answers[1].anonymous_body()

    # Tasks

    @rule(number=companies, role=roles, pick=picks, is_foreign=st.booleans())
    def create_task(self, number: int, role: Role, pick: int, *, is_foreign: bool) -> None:
        company = self.companies[number]
        mine = [*company.of("users"), None]
        assignee = self.foreign(number, "users", pick) if is_foreign else mine[pick % len(mine)]
        data = {"title": f"{company.word} {pick}", "assigneeId": assignee}
        _, answer = self.ask(number, role, "POST", "/tasks", data)
        if answer.status == 201:
            assert not is_foreign
            company.tasks.add(answer.json()["id"])
        elif is_foreign:
            data["assigneeId"] = new_object_id()
            _, missing = self.ask(number, role, "POST", "/tasks", data)
            assert answer.anonymous_body() == missing.anonymous_body()

    @rule(number=companies, role=roles, pick=picks, method=st.sampled_from(["GET", "PATCH"]))
    def reach_for_a_foreign_task(self, number: int, role: Role, pick: int, method: str) -> None:
        thing = self.foreign(number, "tasks", pick)
        if thing is not None:
            data = {"status": "done"} if method == "PATCH" else None
            self.same_as_missing(number, role, method, "/tasks/{}", thing=thing, data=data)

    @rule(number=companies, role=roles)
    def list_tasks(self, number: int, role: Role) -> None:
        company, answer = self.ask(number, role, "GET", "/tasks?limit=200")
        listed = {row["id"] for row in answer.json()["data"]}
        assert listed <= company.tasks if role is Role.USER else listed == company.tasks

    @rule(number=companies, role=roles, pick=picks)
    def filter_tasks_by_a_foreign_assignee(self, number: int, role: Role, pick: int) -> None:
        thing = self.foreign(number, "users", pick)
        _, answer = self.ask(number, role, "GET", f"/tasks?assigneeId={thing}")
        # The cursor is none of ours: nothing was found to go on from.
        assert answer.json() == {"data": [], "page": {"nextCursor": None, "limit": 50}}

    @rule(number=companies, role=roles, other=companies)
    def search_tasks(self, number: int, role: Role, other: int) -> None:
        word = self.companies[other].word
        company, answer = self.ask(number, role, "GET", f"/tasks?q={word}&limit=200")
        found = {row["id"] for row in answer.json()["data"]}
        assert found <= (company.tasks if number == other else set())

    @rule(number=companies, role=roles, pick=picks)
    def mention_a_foreigner(self, number: int, role: Role, pick: int) -> None:
        """Somebody of another company is nobody here, by id and by address."""
        company = self.companies[number]
        if company.tasks:
            task = company.of("tasks")[pick % len(company.tasks)]
            other = self.companies[(number + 1 + pick % (COMPANIES - 1)) % COMPANIES]
            address = sorted(other.emails)[pick % len(other.emails)]
            data = {"body": f"{company.word} @{address} @{company.people[role].id}"}
            _, answer = self.ask(number, role, "POST", f"/tasks/{task}/comments", data)
            if answer.status == 201:
                assert answer.json()["mentions"] == [company.people[role].id]

    @rule(
        number=companies,
        role=roles,
        pick=picks,
        verb=st.sampled_from(["DELETE", "comments", "activity", "POST"]),
    )
    def reach_for_what_is_said_of_a_foreign_task(
        self, number: int, role: Role, pick: int, verb: str
    ) -> None:
        thing = self.foreign(number, "tasks", pick)
        if thing is not None:
            method, path, data = "GET", f"/tasks/{{}}/{verb}", None
            if verb == "DELETE":
                method, path = verb, "/tasks/{}"
            elif verb == "POST":
                method, path, data = verb, "/tasks/{}/comments", {"body": "hello"}
            self.same_as_missing(number, role, method, path, thing=thing, data=data)

    # Projects and departments

    @rule(
        number=companies,
        pick=picks,
        kind=st.sampled_from(["projects", "departments"]),
        is_foreign=st.booleans(),
    )
    def gather_people(self, number: int, pick: int, kind: str, *, is_foreign: bool) -> None:
        company = self.companies[number]
        members = [company.people[Role.USER].id]
        if is_foreign:
            members.append(str(self.foreign(number, "users", pick)))
        data = {"name": f"{company.word} {new_object_id()}", "memberIds": members}
        _, answer = self.ask(number, Role.COMPANY_ADMIN, "POST", f"/{kind}", data)
        if not is_foreign:
            assert answer.status == 201, answer.body
            getattr(company, kind).add(answer.json()["id"])
            return
        data["memberIds"] = [members[0], new_object_id()]
        _, missing = self.ask(number, Role.COMPANY_ADMIN, "POST", f"/{kind}", data)
        assert answer.status == 422
        assert answer.anonymous_body() == missing.anonymous_body()

    @rule(number=companies, role=roles, kind=st.sampled_from(["projects", "departments"]))
    def list_what_gathers_people(self, number: int, role: Role, kind: str) -> None:
        company, answer = self.ask(number, role, "GET", f"/{kind}?limit=200")
        assert {row["id"] for row in answer.json()["data"]} == getattr(company, kind)

    @rule(
        number=companies,
        role=roles,
        pick=picks,
        kind=st.sampled_from(["projects", "departments"]),
        method=st.sampled_from(["GET", "PATCH", "DELETE"]),
    )
    def reach_for_what_gathers_foreigners(
        self, number: int, role: Role, pick: int, *, kind: str, method: str
    ) -> None:
        thing = self.foreign(number, kind, pick)
        if thing is not None:
            data = {"name": "taken over"} if method == "PATCH" else None
            self.same_as_missing(number, role, method, f"/{kind}/{{}}", thing=thing, data=data)

    @rule(number=companies, pick=picks)
    def put_a_task_into_a_foreign_project(self, number: int, pick: int) -> None:
        project = self.foreign(number, "projects", pick)
        if project is not None:
            answers = [
                self.ask(number, Role.MANAGER, "POST", "/tasks", {"title": "x", "projectId": name})
                for name in (project, new_object_id())
            ]
            assert [answer.status for _, answer in answers] == [422, 422]
            assert answers[0][1].anonymous_body() == answers[1][1].anonymous_body()
            _, answer = self.ask(number, Role.MANAGER, "GET", f"/tasks?projectId={project}")
            assert answer.json()["data"] == []

    # People

    @rule(number=companies, role=roles)
    def list_users(self, number: int, role: Role) -> None:
        company, answer = self.ask(number, role, "GET", "/users?limit=200")
        own = {company.people[role].id}
        listed = {row["id"] for row in answer.json()["data"]}
        assert listed == (own if role is Role.USER else company.users)

    @rule(number=companies, role=roles, other=companies)
    def search_users(self, number: int, role: Role, other: int) -> None:
        word = self.companies[other].word
        _, answer = self.ask(number, role, "GET", f"/users?q={word}")
        found = answer.json()["data"]
        assert bool(found) == (number == other)

    @rule(
        number=companies,
        role=roles,
        pick=picks,
        verb=st.sampled_from(["GET", "PATCH", "disable", "enable", "mfa/reset"]),
    )
    def reach_for_a_foreign_user(self, number: int, role: Role, pick: int, verb: str) -> None:
        thing = self.foreign(number, "users", pick)
        assert thing is not None
        method, path, data = "POST", f"/users/{{}}/{verb}", None
        if verb in ("GET", "PATCH"):
            method, path = verb, "/users/{}"
            data = {"name": "taken over"} if verb == "PATCH" else None
        self.same_as_missing(number, role, method, path, thing=thing, data=data)

    @rule(number=companies, pick=picks)
    def give_a_foreign_leader(self, number: int, pick: int) -> None:
        user = self.companies[number].people[Role.USER].id
        leader = self.foreign(number, "users", pick)
        answers = [
            self.ask(number, Role.COMPANY_ADMIN, "PATCH", f"/users/{user}", {"managerId": who})[1]
            for who in (leader, new_object_id())
        ]
        assert [answer.status for answer in answers] == [422, 422]
        assert answers[0].anonymous_body() == answers[1].anonymous_body()

    @rule(number=companies)
    def count(self, number: int) -> None:
        company, answer = self.ask(number, Role.COMPANY_ADMIN, "GET", "/company/stats")
        stats = answer.json()
        assert sum(stats["users"].values()) == len(company.users)
        assert sum(stats["tasks"].values()) == len(company.tasks)
        assert stats["pendingInvites"] == len(company.pending)
        assert stats["webhooks"] == len(company.webhooks)

    # Invites

    @rule(number=companies, role=st.sampled_from([Role.COMPANY_ADMIN, Role.MANAGER]), pick=picks)
    def invite(self, number: int, role: Role, pick: int) -> None:
        """Also addresses that have an account or an invite elsewhere: that shows nowhere."""
        elsewhere = [
            p.email
            for c in self.companies
            if c is not self.companies[number]
            for p in c.people.values()
        ]
        elsewhere += [mail for c in self.companies for mail in c.pending]
        addresses = [f"{new_object_id()}@example.com", *elsewhere]
        email = addresses[pick % len(addresses)]
        company, answer = self.ask(
            number, role, "POST", "/invites", {"email": email, "role": "user"}
        )
        if email in company.emails | set(company.pending):
            code = "already_member" if email in company.emails else "invite_pending"
            assert (answer.status, answer.code) == (409, code)
            return
        assert answer.status == 201, answer.body
        made = answer.json()
        company.invites.add(made["id"])
        company.pending[email] = made["id"]
        company.links[made["id"]] = made["link"].rpartition("/")[2]

    @precondition(lambda self: any(c.pending for c in self.companies))
    @rule(number=companies, pick=picks, verb=st.sampled_from(["DELETE", "resend"]))
    def reach_for_a_foreign_invite(self, number: int, pick: int, verb: str) -> None:
        thing = self.foreign(number, "invites", pick)
        if thing is not None:
            method, path = ("DELETE", "/invites/{}")
            if verb == "resend":
                method, path = ("POST", "/invites/{}/resend")
            self.same_as_missing(number, Role.COMPANY_ADMIN, method, path, thing=thing)

    @rule(number=companies, role=st.sampled_from([Role.COMPANY_ADMIN, Role.MANAGER]))
    def list_invites(self, number: int, role: Role) -> None:
        company, answer = self.ask(number, role, "GET", "/invites?limit=200")
        listed = {row["id"] for row in answer.json()["data"]}
        assert listed <= company.invites if role is Role.MANAGER else listed == company.invites

    @rule(number=companies, pick=picks)
    def accept(self, number: int, pick: int) -> None:
        company = self.companies[number]
        if not company.pending:
            return
        email = sorted(company.pending)[pick % len(company.pending)]
        link = company.links[company.pending[email]]
        body = {"name": f"{company.word} joins", "password": PASSWORD}
        guest = self.api.client()
        answer = self.runner.run(guest.post(f"/invites/{link}/accept", body))
        if answer.status == 409:
            assert answer.code == "email_taken"
            return
        assert answer.status == 201, answer.body
        company.users.add(answer.json()["id"])
        company.emails.add(email)
        del company.pending[email]

    # Webhooks and API tokens

    @rule(number=companies)
    def create_webhook(self, number: int) -> None:
        data = {"url": RECEIVER_URL, "events": ["*"], "description": self.companies[number].word}
        company, answer = self.ask(number, Role.COMPANY_ADMIN, "POST", "/webhooks", data)
        if answer.status == 201:
            company.webhooks.add(answer.json()["id"])

    @rule(number=companies, role=roles, pick=picks, verb=st.sampled_from(["GET", "DELETE", "logs"]))
    def reach_for_a_foreign_webhook(self, number: int, role: Role, pick: int, verb: str) -> None:
        thing = self.foreign(number, "webhooks", pick)
        if thing is not None:
            method, path = (
                (verb, "/webhooks/{}") if verb != "logs" else ("GET", "/webhooks/{}/logs")
            )
            self.same_as_missing(number, role, method, path, thing=thing)

    @rule(number=companies)
    def list_webhooks(self, number: int) -> None:
        company, answer = self.ask(number, Role.MANAGER, "GET", "/webhooks?limit=200")
        assert {row["id"] for row in answer.json()["data"]} == company.webhooks

    @rule(number=companies, role=roles)
    def create_api_token(self, number: int, role: Role) -> None:
        person = self.companies[number].people[role]
        self.runner.run(step_up(self.api, person))
        data = {"name": self.companies[number].word, "scopes": ["profile"]}
        company, answer = self.ask(number, role, "POST", "/api-tokens", data)
        if answer.status == 201:
            company.tokens[answer.json()["id"]] = person.id

    @rule(number=companies, role=roles, pick=picks)
    def reach_for_a_foreign_api_token(self, number: int, role: Role, pick: int) -> None:
        thing = self.foreign(number, "tokens", pick)
        if thing is not None:
            self.same_as_missing(number, role, "DELETE", "/api-tokens/{}", thing=thing)

    @rule(number=companies, role=roles)
    def list_api_tokens(self, number: int, role: Role) -> None:
        company, answer = self.ask(number, role, "GET", "/api-tokens?limit=200")
        me = company.people[role].id
        own = {token for token, owner in company.tokens.items() if owner == me}
        assert {row["id"] for row in answer.json()["data"]} == own

    @rule(pick=picks)
    def repeat_another_companys_key(self, pick: int) -> None:
        """An Idempotency-Key means something to whoever used it only."""
        key = {"idempotency-key": f"key {pick}"}
        ids = set()
        for company in self.companies:
            person = company.people[Role.COMPANY_ADMIN]
            body = {"title": f"{company.word} once {pick}"}
            answer = self.runner.run(person.post("/tasks", body, headers=key))
            assert answer.status == 201
            company.tasks.add(answer.json()["id"])
            ids.add(answer.json()["id"])
        assert len(ids) == COMPANIES

    @rule()
    def plan_deliveries(self) -> None:
        """What happened in a company is on its way to its own webhooks only."""
        while self.runner.run(Pump(self.api.runtime, PLANNERS).run_once()):
            pass
        for company in self.companies:
            rows = self.runner.run(self.api.rows("webhook_deliveries", companyId=company.id))
            assert {row["webhookId"] for row in rows} <= company.webhooks
            events = self.runner.run(self.api.rows("events", companyId=company.id))
            assert {row["eventId"] for row in rows} <= {event["_id"] for event in events}

    @rule(number=companies, role=roles, pick=picks)
    def name_another_company_in_the_operators_header(
        self, number: int, role: Role, pick: int
    ) -> None:
        """For anybody but an operator the header means nothing."""
        company = self.companies[number]
        other = self.companies[(number + 1 + pick % (COMPANIES - 1)) % COMPANIES]
        header = {"x-novapulse-company": other.id}
        answer = self.runner.run(company.people[role].get("/auth/me", headers=header))
        assert answer.json()["company"]["id"] == company.id

    @invariant()
    def nobody_changed_sides(self) -> None:
        for company in getattr(self, "companies", []):
            rows = self.runner.run(self.api.rows("users", companyId=company.id))
            assert {row["_id"] for row in rows} == company.users
            assert all(row["name"] != "taken over" for row in rows)


@pytest.fixture(scope="module")
def machine(
    stores: RunningStores, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[type[Companies]]:
    """The machine with its application, in an event loop of its own."""
    directory: Path = tmp_path_factory.mktemp("tenants")
    with asyncio.Runner() as runner:
        opening = open_api(stores, directory, label="tenants")
        Companies.runner = runner
        Companies.api = runner.run(opening.__aenter__())
        yield Companies
        runner.run(opening.__aexit__(None, None, None))


@pytest.mark.timeout(0 if IS_NIGHT else 120)
def test_nothing_of_one_company_shows_at_another(machine: type[Companies]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            # Making a failing story shorter takes minutes: for the night.
            phases=[phase for phase in Phase if IS_NIGHT or phase is not Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
