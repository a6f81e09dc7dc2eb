"""Rows that are streamed away: all that the caller may see, and who took them."""

import json
from typing import Any

import pytest

from novapulse.audit import service as audit
from novapulse.audit.model import AuditQuery
from novapulse.core import wire
from novapulse.core.access import Role
from novapulse.core.documents import new_object_id
from novapulse.core.rowtext import Form
from novapulse.processes.features import ROUTES
from tests.support.api import PASSWORD, Api, Person
from tests.support.reports import of_csv, of_ndjson
from tests.support.routes import acting_on, principal_of, step_up

READ = {"csv": of_csv, "ndjson": of_ndjson}
FORMS = tuple(READ)


@pytest.fixture(scope="module")
async def founder(api: Api) -> Person:
    """Of a company with something of everything."""
    admin = await api.found_company()
    await api.add_member(str(admin.company_id), Role.MANAGER)
    common = {"companyId": admin.company_id, "priority": "low", "labels": ["a", "b"]}
    common |= {"createdBy": admin.id, "parties": [admin.id], "createdAt": api.runtime.clock()}
    tasks = [
        {**common, "_id": new_object_id(), "title": f"=Task {number}", "status": status}
        for number in range(600)
        for status in ("todo", "done")
    ]
    await api.runtime.db.platform("tasks").insert_many(tasks)
    for number in range(3):
        answer = await admin.post("/projects", {"name": f"Project {number}"})
        assert answer.status == 201
    foreigner = await api.found_company()
    assert (await foreigner.post("/projects", {"name": "somebody else's"})).status == 201
    return admin


@pytest.fixture
async def admin(api: Api, founder: Person) -> Person:
    """Who just proved themselves again."""
    await step_up(api, founder)
    return founder


async def export(person: Person, name: str, form: str, query: str = "") -> list[dict[str, Any]]:
    answer = await person.get(f"/export/{name}.{form}{query}")
    assert answer.status == 200, answer.body
    return READ[form](answer.body)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["users", "tasks", "projects"])
async def test_an_export_is_every_row_of_the_company(
    api: Api, admin: Person, name: str, form: str
) -> None:
    rows = await export(admin, name, form)
    kept = await api.rows(name, companyId=admin.company_id)
    assert [row["id"] for row in rows] == [row["_id"] for row in kept]
    for row, document in zip(rows, kept, strict=True):
        shown = {k: row[k] for k in ("name", "title", "status", "email") if k in row}
        assert {k: text.removeprefix("'") for k, text in shown.items()} == {
            k: document[k] for k in shown
        }
        assert "passwordHash" not in row
        assert "parties" not in row


async def test_lines_are_what_the_lists_show(admin: Person) -> None:
    listed = (await admin.get("/projects?limit=200")).json()["data"]
    rows = await export(admin, "projects", "ndjson")
    for row, one in zip(rows, reversed(listed), strict=True):
        assert row == {name: one[name] for name in row}


async def test_an_export_is_chosen_by_filters(api: Api, admin: Person) -> None:
    done = await api.rows("tasks", companyId=admin.company_id, status="done")
    rows = await export(admin, "tasks", "csv", "?status=done")
    assert [row["id"] for row in rows] == [row["_id"] for row in done]
    assert await export(admin, "tasks", "csv", "?to=2020-01-01T00:00:00Z") == []
    for wrong in ("?status=never", "?limit=3", "?from=soon"):
        answer = await admin.get(f"/export/tasks.csv{wrong}")
        assert answer.status == 422, wrong


async def test_the_head_of_a_file_says_what_it_is(admin: Person) -> None:
    answer = await admin.get("/export/users.csv")
    assert answer.headers["content-type"].startswith("text/csv; charset=utf-8")
    assert answer.headers["content-disposition"].startswith('attachment; filename="users-20')
    assert answer.body.startswith(b"id,name,email,role,status,")
    lines = await admin.get("/export/users.ndjson")
    assert lines.headers["content-type"].startswith("application/x-ndjson")


async def test_a_user_exports_what_is_their_own(api: Api, admin: Person) -> None:
    user = await api.add_member(str(admin.company_id), Role.USER)
    await step_up(api, user)
    mine = (await user.post("/tasks", {"title": "mine"})).json()
    assert [row["id"] for row in await export(user, "tasks", "ndjson")] == [mine["id"]]
    assert [row["id"] for row in await export(user, "users", "ndjson")] == [user.id]
    assert (await user.get("/export/audit.csv")).status == 403
    await api.runtime.db.platform("tasks").delete_one({"_id": mine["id"]})


async def test_that_somebody_took_rows_away_is_a_line_of_the_audit_log(
    api: Api, admin: Person
) -> None:
    before = len(await api.rows("events", companyId=admin.company_id, type="export.created"))
    await export(admin, "tasks", "csv", "?status=done&from=2026-01-01T00:00:00Z")
    await admin.request("HEAD", "/export/tasks.csv")
    await admin.get("/export/tasks.csv?status=never")
    events = await api.rows("events", companyId=admin.company_id, type="export.created")
    assert len(events) == before + 1
    assert events[-1]["data"]["export"] == {
        "id": "tasks",
        "format": "csv",
        "filter": {"status": "done", "from": "2026-01-01T00:00:00.000Z"},
    }
    assert events[-1]["actor"]["userId"] == admin.id


@pytest.mark.parametrize("form", FORMS)
async def test_the_audit_log_comes_as_the_command_line_exports_it(
    api: Api, admin: Person, form: Form
) -> None:
    until = api.runtime.clock().isoformat()
    answer = await admin.get(
        f"/export/audit.{form}?to={until.replace('+', '%2B')}&action=project.*"
    )
    query = wire.convert({"to": until, "action": "project.*"}, AuditQuery)
    operator = await api.add_operator()
    ctx = api.context(principal_of(operator))
    lines = [
        text async for text in audit.export(ctx, query, company_id=str(admin.company_id), kind=form)
    ]
    assert answer.body.decode() == "".join(lines)
    assert len(READ[form](answer.body)) == 3


async def test_the_operator_takes_the_log_of_all_or_of_one(api: Api, admin: Person) -> None:
    operator = await api.add_operator()
    await step_up(api, operator)
    companies = {row["companyId"] for row in await export(operator, "audit", "ndjson")}
    assert {str(admin.company_id), "platform"} < companies
    one = acting_on(operator, str(admin.company_id))
    found = {row["companyId"] for row in await export(one, "audit", "ndjson")}
    assert found == {str(admin.company_id)}
    assert (await operator.get("/export/tasks.csv")).status == 403
    assert await export(one, "tasks", "csv")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", ["users", "tasks", "projects", "audit"])
async def test_a_session_exports_only_after_a_step_up(
    api: Api, admin: Person, name: str, method: str
) -> None:
    other = await api.add_member(str(admin.company_id), Role.COMPANY_ADMIN)
    for form in FORMS:
        refused = await other.request(method, f"/export/{name}.{form}")
        assert refused.status == 403
        assert refused.headers["content-type"] == "application/problem+json"
        if method == "GET":
            assert refused.code == "step_up_required"
    assert (await other.post("/auth/step-up", {"password": PASSWORD})).status == 204
    for form in FORMS:
        assert (await other.request(method, f"/export/{name}.{form}")).status == 200
    taken = await api.rows("events", type="export.created")
    by_other = [event for event in taken if event["actor"]["userId"] == other.id]
    assert len(by_other) == (len(FORMS) if method == "GET" else 0)


@pytest.mark.parametrize(
    ("scopes", "missing"),
    [
        (("tasks:read",), "exports:read"),
        (("exports:read",), "tasks:read"),
        (("tasks:read", "exports:read"), None),
    ],
)
async def test_an_api_token_exports_with_a_scope_for_it_and_that_of_the_rows(
    api: Api, admin: Person, scopes: tuple[str, ...], missing: str | None
) -> None:
    made = await admin.post("/api-tokens", {"name": "a script", "scopes": list(scopes)})
    assert made.status == 201, made.body
    script = api.client(authorization=f"Bearer {made.json()['token']}")
    for form in FORMS:
        answer = await script.get(f"/export/tasks.{form}")
        if missing is None:
            assert answer.status == 200
        else:
            assert (answer.status, answer.code) == (403, "forbidden")
            assert missing in answer.json()["detail"]


def test_exports_have_a_rate_of_their_own() -> None:
    routes = [route for route in ROUTES if route.path.startswith("/export/")]
    assert len(routes) == 8
    assert {route.limit for route in routes} == {"exports"}


async def test_a_store_that_is_away_is_told_before_anything_is_sent(
    api: Api, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from novapulse.core.errors import Unavailable
    from novapulse.core.sources import View

    async def away(self: View, part: Any, *, limit: int) -> Any:
        raise Unavailable()

    monkeypatch.setattr(View, "_find", away)
    answer = await admin.get("/export/tasks.ndjson")
    assert answer.status == 503
    assert json.loads(answer.body)["code"] == "unavailable"
