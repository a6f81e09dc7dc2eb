"""`/company` for its own people, `/companies` for the operator."""

import pytest

from novapulse.core.access import Role
from novapulse.core.documents import new_object_id
from tests.support.api import PASSWORD, Api
from tests.support.routes import acting_on


async def test_an_administrator_renames_the_company(api: Api) -> None:
    admin = await api.found_company()
    answer = await admin.patch("/company", {"name": "Umbrella"}, headers={"if-match": '"1"'})
    assert (answer.json()["name"], answer.headers["etag"]) == ("Umbrella", '"2"')
    (event,) = await api.rows("events", type="company.updated", companyId=admin.company_id)
    assert event["data"]["changed"] == ["name"]
    stale = await admin.patch("/company", {"name": "Late"}, headers={"if-match": '"1"'})
    assert (stale.status, stale.code) == (412, "version_conflict")


@pytest.mark.parametrize("body", [{"status": "suspended"}, {"id": "x"}, {"companyId": "x"}])
async def test_a_company_can_not_set_what_is_the_operators(api: Api, body: object) -> None:
    admin = await api.found_company()
    assert (await admin.patch("/company", body)).status == 422


async def test_a_company_can_require_the_second_factor_of_everybody(api: Api) -> None:
    admin = await api.found_company()
    user = await api.add_member(str(admin.company_id))
    changed = await admin.patch("/company", {"mfaRequired": True})
    assert changed.json()["mfaRequired"] is True
    api.identity.standings._seen.clear()  # five seconds later
    answer = await user.get("/tasks")
    assert (answer.status, answer.code) == (403, "mfa_setup_required")
    assert (await user.get("/auth/mfa")).status == 200


async def test_everybody_reads_the_own_company_and_leaders_its_numbers(api: Api) -> None:
    admin = await api.found_company()
    user = await api.add_member(str(admin.company_id))
    answer = await user.get("/company")
    assert (answer.status, answer.json()["id"]) == (200, admin.company_id)
    assert answer.json() == (await admin.get("/company")).json()
    assert (await user.get("/company/stats")).status == 403
    assert (await user.patch("/company", {"name": "Mine"})).status == 403


async def test_the_numbers_are_those_of_the_own_company(api: Api) -> None:
    admin = await api.found_company()
    await api.found_company()
    user = await api.add_member(str(admin.company_id))
    await admin.post(f"/users/{user.id}/disable")
    await admin.post("/tasks", {"title": "one"})
    await admin.post("/tasks", {"title": "two", "status": "done"})
    await admin.post("/invites", {"email": f"{new_object_id()}@example.com", "role": "user"})
    assert (await admin.get("/company/stats")).json() == {
        "users": {"active": 1, "disabled": 1},
        "tasks": {"done": 1, "todo": 1},
        "pendingInvites": 1,
        "webhooks": 0,
    }


async def test_the_operator_makes_a_company_and_invites_its_administrator(api: Api) -> None:
    operator = await api.add_operator()
    made = await operator.post("/companies", {"name": "Umbrella"})
    assert made.status == 201
    company_id = made.json()["id"]
    acting = acting_on(operator, company_id)
    email = f"{new_object_id()}@example.com"
    invite = await acting.post("/invites", {"email": email, "role": "company_admin"})
    token = invite.json()["link"].rpartition("/")[2]
    body = {"name": "Ann", "password": PASSWORD}
    assert (await api.client().post(f"/invites/{token}/accept", body)).status == 201
    admin = await api.sign_in(email)
    assert (admin.role, admin.company_id) == (Role.COMPANY_ADMIN, company_id)
    (event,) = await api.rows("events", type="company.created", companyId=company_id)
    assert event["actor"]["userId"] == operator.id


async def test_the_same_key_makes_one_company_whichever_the_operator_acts_on(api: Api) -> None:
    operator, other = await api.add_operator(), await api.found_company()
    for person in (operator, acting_on(operator, str(other.company_id))):
        key = {"idempotency-key": new_object_id()}
        name = f"Once {new_object_id()}"
        answers = [await person.post("/companies", {"name": name}, headers=key) for _ in range(2)]
        assert [answer.status for answer in answers] == [201, 201]
        assert answers[0].json() == answers[1].json()
        (row,) = await api.rows("companies", name=name)
        assert row["companyId"] == row["_id"] == answers[0].json()["id"]


async def test_the_operator_finds_every_company_by_its_status(api: Api) -> None:
    operator, admin = await api.add_operator(), await api.found_company()
    path = f"/companies/{admin.company_id}"
    assert (await operator.patch(path, {"status": "suspended"})).json()["status"] == "suspended"
    listed = (await operator.get("/companies?status=suspended&limit=200")).json()["data"]
    assert admin.company_id in [row["id"] for row in listed]
    listed = (await operator.get("/companies?status=active&limit=200")).json()["data"]
    assert admin.company_id not in [row["id"] for row in listed]


async def test_a_suspended_company_is_signed_out_and_stays_out(api: Api) -> None:
    operator, admin = await api.add_operator(), await api.found_company()
    user = await api.add_member(str(admin.company_id))
    await operator.patch(f"/companies/{admin.company_id}", {"status": "suspended"})
    assert not await api.rows("sessions", companyId=admin.company_id)
    api.identity.sessions._seen.clear()  # five seconds later
    api.identity.standings._seen.clear()
    for person in (admin, user):
        assert (await person.get("/auth/me")).status == 401
        login = {"email": person.email, "password": PASSWORD}
        answer = await api.client().post("/auth/login", login)
        assert (answer.status, answer.code) == (401, "bad_credentials")
    await operator.patch(f"/companies/{admin.company_id}", {"status": "active"})
    await api.sign_in(user.email)


async def test_what_the_operator_does_in_a_company_is_written_down_there(api: Api) -> None:
    operator, admin = await api.add_operator(), await api.found_company()
    acting = acting_on(operator, str(admin.company_id))
    answer = await acting.get("/users", headers={"x-request-id": "ticket-7"})
    assert answer.status == 200
    (event,) = await api.rows("events", type="company.entered", companyId=admin.company_id)
    actor = {"userId": operator.id, "role": "super_admin", "via": "api"}
    assert actor.items() <= event["actor"].items()
    assert event["requestId"] == "ticket-7"
    assert event["data"]["company"]["route"] == "/api/v1/users"


@pytest.mark.parametrize("name", ["x", "0" * 24, "", "../x", "a" * 300])
async def test_a_company_that_is_not_there_can_not_be_acted_on(api: Api, name: str) -> None:
    operator = await api.add_operator()
    answer = await acting_on(operator, name).get("/users")
    assert answer.status == (403 if not name else 404)


async def test_without_the_header_the_operator_is_told_what_is_missing(api: Api) -> None:
    operator = await api.add_operator()
    answer = await operator.get("/users")
    assert (answer.status, answer.code) == (403, "forbidden")
    assert "X-NovaPulse-Company" in answer.json()["detail"]
