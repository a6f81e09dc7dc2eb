"""An invite is worth what its sender may: who was disabled or demoted lets nobody in."""

from dataclasses import replace
from typing import Any

import pytest

from novapulse.core.access import SYSTEM, Role
from novapulse.core.documents import new_object_id
from novapulse.core.pump import Pump
from novapulse.invites.service import withdraw_invites_of
from novapulse.people import accounts
from novapulse.processes.features import PLANNERS
from tests.support.api import PASSWORD, Answer, Api, Person


async def invited(person: Person, role: str = "user", **options: Any) -> dict[str, Any]:
    body = {"email": f"{new_object_id()}@example.com", "role": role}
    answer = await person.post("/invites", body, **options)
    assert answer.status == 201, answer.body
    return dict(answer.json())


async def opened(api: Api, invite: dict[str, Any]) -> Answer:
    return await api.client().get(f"/invites/{str(invite['link']).rpartition('/')[2]}")


async def accept(api: Api, invite: dict[str, Any]) -> Answer:
    token = str(invite["link"]).rpartition("/")[2]
    return await api.client().post(
        f"/invites/{token}/accept", {"name": "Ben", "password": PASSWORD}
    )


async def must_be_gone(api: Api, invite: dict[str, Any]) -> None:
    for answer in (await opened(api, invite), await accept(api, invite)):
        assert (answer.status, answer.code) == (410, "invite_gone")
    assert not await api.rows("users", email=invite["email"])


async def mails_to(api: Api, email: str) -> list[str]:
    jobs = await api.rows("jobs", kind="mail.send")
    return [job["payload"]["template"] for job in jobs if job["payload"]["to"] == email]


@pytest.fixture
async def admin(api: Api) -> Person:
    return await api.found_company()


@pytest.fixture
async def manager(api: Api, admin: Person) -> Person:
    return await api.add_member(str(admin.company_id), Role.MANAGER)


async def test_a_dismissed_managers_invite_lets_nobody_in_and_tells_them_nothing(
    api: Api, admin: Person, manager: Person
) -> None:
    invite = await invited(manager)
    assert (await admin.post(f"/users/{manager.id}/disable")).status == 200
    await must_be_gone(api, invite)
    assert "invite_accepted" not in await mails_to(api, manager.email)
    await admin.post(f"/users/{manager.id}/enable")
    assert (await accept(api, invite)).json()["managerId"] == manager.id
    assert "invite_accepted" in await mails_to(api, manager.email)


async def test_a_removed_administrator_does_not_come_back_by_an_invite(
    api: Api, admin: Person
) -> None:
    other = await api.add_member(str(admin.company_id), Role.COMPANY_ADMIN)
    way_back = await invited(other, "company_admin")
    await admin.post(f"/users/{other.id}/disable")
    await must_be_gone(api, way_back)


@pytest.mark.parametrize(
    ("role", "granted", "is_gone"),
    [
        ("manager", "company_admin", True),
        ("manager", "manager", True),
        ("manager", "user", False),
        ("user", "user", True),
    ],
)
async def test_a_demoted_administrators_invite_holds_for_what_they_may_still_give(
    api: Api, admin: Person, *, role: str, granted: str, is_gone: bool
) -> None:
    other = await api.add_member(str(admin.company_id), Role.COMPANY_ADMIN)
    invite = await invited(other, granted)
    await admin.patch(f"/users/{other.id}", {"role": role})
    if is_gone:
        await must_be_gone(api, invite)
    else:
        assert (await accept(api, invite)).status == 201


async def test_a_lost_account_invites_nobody(api: Api, manager: Person) -> None:
    invite = await invited(manager)
    await api.runtime.db.platform("users").delete_one({"_id": manager.id})
    await must_be_gone(api, invite)


async def test_an_operators_invite_holds_until_they_are_disabled(api: Api, admin: Person) -> None:
    await api.add_operator()
    operator = await api.add_operator()
    header = {"X-NovaPulse-Company": str(admin.company_id)}
    used = await invited(operator, "manager", headers=header)
    left = await invited(operator, "company_admin", headers=header)
    assert (await accept(api, used)).status == 201
    ctx = api.context(SYSTEM)
    await accounts.disable_account(ctx, await accounts.get_account(ctx, operator.email))
    await must_be_gone(api, left)


async def test_a_disabled_operators_invites_are_withdrawn_in_every_company(
    api: Api, admin: Person
) -> None:
    founders = [admin, await api.found_company()]
    others, operator = await api.add_operator(), await api.add_operator()
    left = []
    for founder in founders:
        header = {"X-NovaPulse-Company": str(founder.company_id)}
        left.append(await invited(operator, "company_admin", headers=header))
        await invited(others, "company_admin", headers=header)
    ctx = api.context(SYSTEM)
    await accounts.disable_account(ctx, await accounts.get_account(ctx, operator.email))
    while await Pump(api.runtime, PLANNERS).run_once():
        pass
    for founder, invite in zip(founders, left, strict=True):
        (job,) = await api.rows("jobs", kind="invite.withdraw", companyId=founder.company_id)
        company = api.context(replace(SYSTEM, company_id=founder.company_id))
        await withdraw_invites_of(company, **job["payload"])
        (row,) = (await founder.get("/invites?status=revoked")).json()["data"]
        assert row["id"] == invite["id"]


async def test_who_sends_a_dead_invite_again_is_its_sender(
    api: Api, admin: Person, manager: Person
) -> None:
    invite = await invited(manager)
    await admin.post(f"/users/{manager.id}/disable")
    again = (await admin.post(f"/invites/{invite['id']}/resend")).json()
    assert again["createdBy"] == admin.id
    assert (await accept(api, again)).json()["managerId"] is None
    assert "invite_accepted" in await mails_to(api, admin.email)


async def test_sending_a_living_invite_again_leaves_its_sender(
    admin: Person, manager: Person
) -> None:
    invite = await invited(manager)
    again = (await admin.post(f"/invites/{invite['id']}/resend")).json()
    assert again["createdBy"] == manager.id


async def test_an_address_with_a_dead_invite_is_invited_anew(
    api: Api, admin: Person, manager: Person
) -> None:
    dead = await invited(manager)
    body = {"email": dead["email"], "role": "user"}
    assert (await admin.post("/invites", body)).code == "invite_pending"
    await admin.post(f"/users/{manager.id}/disable")
    anew = await admin.post("/invites", body)
    assert anew.status == 201
    assert len(await api.rows("events", type="invite.revoked", resourceId=dead["id"])) == 1
    assert (await accept(api, anew.json())).status == 201


@pytest.mark.parametrize("is_demoted", [False, True])
async def test_dead_invites_are_withdrawn_and_others_stay(
    api: Api, admin: Person, *, is_demoted: bool
) -> None:
    other = await api.add_member(str(admin.company_id), Role.COMPANY_ADMIN)
    staying, leaving = await invited(admin), await invited(other, "manager")
    if is_demoted:
        await invited(other)  # which a manager may send as well
        await admin.patch(f"/users/{other.id}", {"role": "manager"})
    else:
        await admin.post(f"/users/{other.id}/disable")
    while await Pump(api.runtime, PLANNERS).run_once():
        pass
    (job,) = await api.rows("jobs", kind="invite.withdraw", companyId=admin.company_id)
    ctx = api.context(replace(SYSTEM, company_id=admin.company_id))
    for _ in range(2):  # a job may run more than once
        await withdraw_invites_of(ctx, **job["payload"])
    (event,) = await api.rows("events", type="invite.revoked", companyId=admin.company_id)
    assert event["resourceId"] == leaving["id"]
    (row,) = (await admin.get("/invites?status=revoked")).json()["data"]
    assert row["id"] == leaving["id"]
    assert (await accept(api, staying)).status == 201


async def test_who_has_no_open_invite_leaves_no_job(api: Api, admin: Person) -> None:
    user = await api.add_member(str(admin.company_id))
    await admin.post(f"/users/{user.id}/disable")
    while await Pump(api.runtime, PLANNERS).run_once():
        pass
    assert not await api.rows("jobs", kind="invite.withdraw", companyId=admin.company_id)
