"""Signing in, the caller's own profile, and sessions that ended."""

import asyncio

import pytest

from novapulse.core import live
from novapulse.core.access import Role
from novapulse.identity.store import USERS
from tests.support.api import PASSWORD, Answer, Api


async def login(api: Api, email: str, password: str = PASSWORD) -> Answer:
    return await api.client().post("/auth/login", {"email": email, "password": password})


async def test_the_right_password_opens_a_session(api: Api) -> None:
    ada = await api.found_company()
    answer = await login(api, ada.email)
    assert answer.status == 200
    told = answer.json()
    assert told["user"]["id"] == ada.id
    assert told["expiresIn"] == 900
    me = await api.client(authorization=f"Bearer {told['accessToken']}").get("/auth/me")
    assert me.json()["email"] == ada.email


async def test_the_address_may_be_written_otherwise(api: Api) -> None:
    ada = await api.found_company()
    assert (await login(api, f" {ada.email.upper()} ")).status == 200


async def test_every_failure_looks_the_same(api: Api) -> None:
    ada, disabled = await api.found_company(), await api.found_company()
    where = {"_id": disabled.id}
    await api.runtime.db.platform(USERS).update_one(where, {"$set": {"status": "disabled"}})
    answers = [
        await login(api, ada.email, "a wrong password"),
        await login(api, ada.email, ""),
        await login(api, ada.email, PASSWORD + " "),
        await login(api, "nobody@example.com"),
        await login(api, "not an address"),
        await login(api, ""),
        await login(api, disabled.email),
        await login(api, disabled.email, "a wrong password"),
    ]
    assert {answer.status for answer in answers} == {401}
    assert len({answer.anonymous_body() for answer in answers}) == 1
    headers = [{**answer.headers, "x-request-id": ""} for answer in answers]
    assert all(one == headers[0] for one in headers)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"email": "ada@example.com"}, "password"),
        ({"password": PASSWORD}, "email"),
        ({"email": {"$ne": None}, "password": PASSWORD}, "email"),
        ({"email": "ada@example.com", "password": {"$gt": ""}}, "password"),
        ({"email": "ada@example.com", "password": PASSWORD, "role": "super_admin"}, "role"),
        ({"email": "a" * 321, "password": PASSWORD}, "email"),
        ({"email": "ada@example.com", "password": "x" * 1025}, "password"),
    ],
)
async def test_a_strange_sign_in_is_unacceptable(api: Api, body: object, path: str) -> None:
    answer = await api.client().post("/auth/login", body)
    assert (answer.status, answer.paths) == (422, [path])


async def test_me_is_the_caller_in_the_callers_company(api: Api) -> None:
    ada = await api.found_company()
    bob = await api.add_member(str(ada.company_id), Role.MANAGER)
    told = (await bob.get("/auth/me")).json()
    assert (told["id"], told["role"]) == (bob.id, "manager")
    assert told["company"]["id"] == ada.company_id
    assert not {"passwordHash", "emailKey", "companyId"} & set(told)


async def test_the_operator_has_no_company(api: Api) -> None:
    operator = await api.add_operator()
    told = (await operator.get("/auth/me")).json()
    assert (told["role"], told["company"]) == ("super_admin", None)


async def test_without_a_token_one_is_asked_to_sign_in(api: Api) -> None:
    answer = await api.client().get("/auth/me")
    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_an_ended_session_ends_within_seconds(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CHECK_SECONDS", 0.05)
    ada = await api.found_company()
    assert (await ada.get("/auth/me")).status == 200
    await api.end_sessions(ada)
    await asyncio.sleep(0.1)
    assert (await ada.get("/auth/me")).status == 401


async def test_a_session_is_looked_up_at_most_every_five_seconds() -> None:
    assert live.CHECK_SECONDS <= 5


async def test_an_operator_acts_on_the_company_it_names(api: Api) -> None:
    ada, operator = await api.found_company(), await api.add_operator()
    named = {"x-novapulse-company": str(ada.company_id)}
    made = await operator.post("/tasks", {"title": "Inspect"}, headers=named)
    assert made.status == 201
    assert (await ada.get(f"/tasks/{made.json()['id']}")).status == 200
    (row,) = await api.rows("events", type="task.created", companyId=ada.company_id)
    assert row["actor"]["userId"] == operator.id
    assert (row["actor"]["role"], row["actor"]["via"]) == ("super_admin", "api")


async def test_an_operator_that_names_no_company_reaches_none(api: Api) -> None:
    operator = await api.add_operator()
    assert (await operator.get("/tasks")).status == 403
    assert (await operator.post("/tasks", {"title": "x"})).status == 403


@pytest.mark.parametrize("named", ["0" * 24, "x", "", "*", '{"$ne": null}'])
async def test_a_company_that_does_not_exist_is_not_acted_on(api: Api, named: str) -> None:
    operator = await api.add_operator()
    answer = await operator.get("/tasks", headers={"x-novapulse-company": named})
    assert answer.status in (403, 404)


@pytest.mark.parametrize("role", [Role.COMPANY_ADMIN, Role.MANAGER, Role.USER])
async def test_nobody_else_can_name_another_company(api: Api, role: Role) -> None:
    ada, eve = await api.found_company(), await api.found_company()
    theirs = await ada.post("/tasks", {"title": "Secret"})
    member = await api.add_member(str(eve.company_id), role)
    named = {"x-novapulse-company": str(ada.company_id)}
    assert (await member.get("/tasks", headers=named)).json()["data"] == []
    assert (await member.get(f"/tasks/{theirs.json()['id']}", headers=named)).status == 404
