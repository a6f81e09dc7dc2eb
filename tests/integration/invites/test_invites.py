"""`/invites`: sending, withdrawing, opening the link, accepting once."""

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from novapulse.core.access import Role
from novapulse.core.documents import new_object_id
from novapulse.core.settings.sections import RateLimits
from novapulse.invites.service import expire_invites
from novapulse.invites.store import INVITES
from tests.support.api import PASSWORD, Answer, Api, Person, open_api
from tests.support.stores import RunningStores


def address() -> str:
    return f"{new_object_id()}@example.com"


async def invited(person: Person, email: str = "", **fields: Any) -> dict[str, Any]:
    body = {"email": email or address(), "role": "user", **fields}
    answer = await person.post("/invites", body)
    assert answer.status == 201, answer.body
    return dict(answer.json())


def token_of(invite: dict[str, Any]) -> str:
    return str(invite["link"]).rpartition("/")[2]


async def accept(api: Api, invite: dict[str, Any], **fields: Any) -> Answer:
    body = {"name": "Ben", "password": PASSWORD, **fields}
    return await api.client().post(f"/invites/{token_of(invite)}/accept", body)


async def lapse(api: Api, invite: dict[str, Any]) -> None:
    """As if its time were over."""
    past = api.runtime.clock() - timedelta(seconds=1)
    rows = api.runtime.db.platform(INVITES)
    await rows.update_one({"_id": invite["id"]}, {"$set": {"expiresAt": past}})


async def kinds(api: Api, company_id: str | None) -> list[str]:
    return [row["type"] for row in await api.rows("events", companyId=company_id)]


async def test_an_invited_person_gets_an_account_in_the_company(api: Api) -> None:
    admin = await api.found_company()
    invite = await invited(admin, role="manager")
    assert (await accept(api, invite)).status == 201
    ben = await api.sign_in(invite["email"])
    assert (ben.role, ben.company_id) == (Role.MANAGER, admin.company_id)
    assert {"invite.created", "invite.accepted"} <= set(await kinds(api, admin.company_id))


async def test_accepting_signs_nobody_in(api: Api) -> None:
    invite = await invited(await api.found_company())
    answer = await accept(api, invite)
    assert "set-cookie" not in answer.headers
    assert "accessToken" not in answer.json()
    assert not await api.rows("sessions", userId=answer.json()["id"])


async def test_the_link_is_shown_once_and_kept_nowhere_but_in_the_sealed_mail(api: Api) -> None:
    admin = await api.found_company()
    invite = await invited(admin)
    token = token_of(invite)
    (row,) = await api.rows("invites", _id=invite["id"])
    assert row["tokenHash"] == hashlib.sha256(token.encode()).hexdigest()
    listed = await admin.get("/invites")
    assert token.encode() not in listed.body
    for collection in await api.collections():
        assert token not in str(await api.rows(collection)), collection


async def test_a_repeated_request_sends_one_invite_and_keeps_its_link_sealed(api: Api) -> None:
    admin = await api.found_company()
    key = {"idempotency-key": new_object_id()}
    body = {"email": address(), "role": "user"}
    answers = [await admin.post("/invites", body, headers=key) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    token = token_of(answers[0].json())
    assert token not in str(await api.rows("idempotency", companyId=admin.company_id))


async def test_the_mail_is_queued_with_the_invite(api: Api) -> None:
    admin = await api.found_company()
    invite = await invited(admin)
    job = (await api.rows("jobs", companyId=admin.company_id, kind="mail.send"))[-1]
    assert (job["payload"]["to"], job["payload"]["template"]) == (invite["email"], "invite")


async def test_a_link_says_what_it_is_about(api: Api) -> None:
    admin = await api.found_company()
    invite = await invited(admin)
    shown = (await api.client().get(f"/invites/{token_of(invite)}")).json()
    company = (await admin.get("/company")).json()
    assert shown == {
        "email": invite["email"],
        "role": "user",
        "companyName": company["name"],
        "expiresAt": invite["expiresAt"],
    }


async def test_twenty_at_once_make_one_account(api: Api) -> None:
    invite = await invited(await api.found_company())
    answers = await asyncio.gather(*(accept(api, invite) for _ in range(20)))
    statuses = sorted(answer.status for answer in answers)
    assert statuses.count(201) == 1
    # 503: on a busy machine the others are told to try again, before they learn that it is gone.
    assert set(statuses) <= {201, 409, 410, 503}, statuses
    assert len(await api.rows("users", email=invite["email"])) == 1


async def test_a_used_link_is_gone(api: Api) -> None:
    invite = await invited(await api.found_company())
    await accept(api, invite)
    for answer in (
        await accept(api, invite),
        await api.client().get(f"/invites/{token_of(invite)}"),
    ):
        assert (answer.status, answer.code) == (410, "invite_gone")


async def test_a_link_whose_time_is_over_is_gone_before_anybody_swept(api: Api) -> None:
    invite = await invited(await api.found_company())
    await lapse(api, invite)
    answer = await accept(api, invite)
    assert (answer.status, answer.code) == (410, "invite_gone")


async def test_an_unknown_link_is_not_found(api: Api) -> None:
    for token in ("x", "a" * 43, "..%2f", "%00"):
        answer = await api.client().get(f"/invites/{token}")
        assert (answer.status, answer.code) == (404, "not_found")


async def test_an_existing_account_anywhere_can_not_accept(api: Api) -> None:
    admin, other = await api.found_company(), await api.found_company()
    member = await api.add_member(str(other.company_id))
    invite = await invited(admin, member.email.upper())
    answer = await accept(api, invite)
    assert (answer.status, answer.code) == (409, "email_taken")
    (row,) = await api.rows("users", _id=member.id)
    assert row["companyId"] == other.company_id


async def test_whether_an_address_has_an_account_elsewhere_shows_nowhere(api: Api) -> None:
    admin, other = await api.found_company(), await api.found_company()
    known, unknown = await invited(admin, other.email), await invited(admin)
    for invite in (known, unknown):
        for field in ("id", "email", "link", "createdAt", "updatedAt", "expiresAt"):
            invite.pop(field)
    assert known == unknown


async def test_a_member_is_not_invited_again(api: Api) -> None:
    admin = await api.found_company()
    member = await api.add_member(str(admin.company_id))
    answer = await admin.post("/invites", {"email": member.email.title(), "role": "user"})
    assert (answer.status, answer.code) == (409, "already_member")


async def test_one_address_has_one_open_invite_a_company(api: Api) -> None:
    admin, other = await api.found_company(), await api.found_company()
    email = address()
    first = await invited(admin, email)
    again = await admin.post("/invites", {"email": email.upper(), "role": "user"})
    assert (again.status, again.code) == (409, "invite_pending")
    await invited(other, email)
    await lapse(api, first)
    second = await invited(admin, email)
    assert second["id"] != first["id"]
    assert "invite.expired" in await kinds(api, admin.company_id)


async def test_twenty_invites_of_one_address_at_once_are_one(api: Api) -> None:
    admin = await api.found_company()
    body = {"email": address(), "role": "user"}
    answers = await asyncio.gather(*(admin.post("/invites", body) for _ in range(20)))
    statuses = [answer.status for answer in answers]
    assert (statuses.count(201), statuses.count(409)) == (1, 19), statuses


async def test_a_withdrawn_link_is_gone(api: Api) -> None:
    admin = await api.found_company()
    invite = await invited(admin)
    assert (await admin.delete(f"/invites/{invite['id']}")).status == 204
    assert (await accept(api, invite)).status == 410
    again = await admin.delete(f"/invites/{invite['id']}")
    assert (again.status, again.code) == (409, "invite_settled")
    assert "invite.revoked" in await kinds(api, admin.company_id)


async def test_sending_again_makes_a_new_link_and_kills_the_old_one(api: Api) -> None:
    admin = await api.found_company()
    first = await invited(admin, expiresInDays=1)
    await lapse(api, first)
    second = (await admin.post(f"/invites/{first['id']}/resend")).json()
    assert second["id"] == first["id"]
    assert (await accept(api, first)).status == 404
    assert (await accept(api, second)).status == 201
    used = await admin.post(f"/invites/{first['id']}/resend")
    assert (used.status, used.code) == (409, "invite_settled")


async def test_managers_invite_users_whom_they_then_lead(api: Api) -> None:
    admin = await api.found_company()
    manager = await api.add_member(str(admin.company_id), Role.MANAGER)
    refused = await manager.post("/invites", {"email": address(), "role": "manager"})
    assert (refused.status, refused.code) == (403, "forbidden")
    invite = await invited(manager)
    user = (await accept(api, invite)).json()
    assert user["managerId"] == manager.id
    assert (await manager.patch(f"/users/{user['id']}", {"name": "Benjamin"})).status == 200


async def test_managers_see_and_withdraw_their_own_invites_only(api: Api) -> None:
    admin = await api.found_company()
    manager = await api.add_member(str(admin.company_id), Role.MANAGER)
    own, other = await invited(manager), await invited(admin)
    assert [row["id"] for row in (await manager.get("/invites")).json()["data"]] == [own["id"]]
    assert len((await admin.get("/invites")).json()["data"]) == 2
    assert (await manager.delete(f"/invites/{other['id']}")).status == 404
    assert (await manager.delete(f"/invites/{own['id']}")).status == 204


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "no address"),
        ("email", "a@b\r\nBcc: all@example.com"),
        ("email", {"$ne": None}),
        ("role", "super_admin"),
        ("role", "admin"),
        ("expiresInDays", 0),
        ("expiresInDays", 31),
        ("expiresInDays", "7"),
        ("companyId", "x"),
    ],
)
async def test_a_bad_invite_is_refused_field_by_field(api: Api, field: str, value: object) -> None:
    admin = await api.found_company()
    body = {"email": address(), "role": "user", field: value}
    answer = await admin.post("/invites", body)
    assert (answer.status, answer.paths) == (422, [field])


@pytest.mark.parametrize("password", ["short", "password1234", "novapulse2026!"])
async def test_a_weak_password_leaves_the_invite_open(api: Api, password: str) -> None:
    invite = await invited(await api.found_company())
    answer = await accept(api, invite, password=password)
    assert (answer.status, answer.paths) == (422, ["password"])
    assert (await accept(api, invite)).status == 201


async def test_a_suspended_company_takes_nobody_in(api: Api) -> None:
    admin, operator = await api.found_company(), await api.add_operator()
    invite = await invited(admin)
    await operator.patch(f"/companies/{admin.company_id}", {"status": "suspended"})
    assert (await accept(api, invite)).status == 410


async def test_the_sweep_settles_what_has_lapsed_and_nothing_else(api: Api) -> None:
    admin, other = await api.found_company(), await api.found_company()
    lapsed, open_invite = await invited(admin), await invited(other)
    await lapse(api, lapsed)
    assert await expire_invites(api.runtime) >= 1
    (row,) = (await admin.get("/invites?status=expired")).json()["data"]
    assert row["id"] == lapsed["id"]
    assert (await admin.get("/invites?status=pending")).json()["data"] == []
    assert (await accept(api, open_invite)).status == 201
    assert (await kinds(api, admin.company_id)).count("invite.expired") == 1
    await expire_invites(api.runtime)
    assert (await kinds(api, admin.company_id)).count("invite.expired") == 1


async def test_the_eleventh_invite_in_a_minute_has_to_wait(
    stores: RunningStores, tmp_path: Path
) -> None:
    limits = RateLimits()
    async with open_api(stores, tmp_path, label="limits", rate_limits=limits) as limited:
        admin = await limited.found_company()
        answers = [
            await admin.post("/invites", {"email": address(), "role": "user"}) for _ in range(11)
        ]
        assert [answer.status for answer in answers] == [201] * 10 + [429]
        assert int(answers[-1].headers["retry-after"]) >= 1


async def test_whoever_invited_hears_of_the_acceptance(api: Api) -> None:
    admin = await api.found_company()
    await accept(api, await invited(admin))
    mails = await api.rows("jobs", companyId=admin.company_id, kind="mail.send")
    assert [(m["payload"]["template"], m["payload"]["to"]) for m in mails][-1] == (
        *("invite_accepted", admin.email),
    )
