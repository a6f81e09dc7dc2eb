"""One's own sessions, password, name and address."""

import asyncio
import re
from collections import Counter
from typing import Any

import pytest
from argon2 import PasswordHasher

from novapulse.core import live
from novapulse.core.access import SYSTEM, Role
from novapulse.people import accounts
from novapulse.people.model import NewAccount
from novapulse.signin import passwords
from tests.support.api import PASSWORD, Answer, Api, Client, Person
from tests.support.signin import App, Browser, MovingClock, mails, set_up_mfa

NEW = "another long sentence"


@pytest.fixture(autouse=True)
def answers_need_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "PACE_SECONDS", 0.0)


@pytest.fixture
async def ada(api: Api) -> Person:
    return await api.found_company()


async def bearer(api: Api, email: str, password: str = PASSWORD) -> Client:
    told = (await Browser(api).login(email, password)).json()
    return api.client(authorization=f"Bearer {told['accessToken']}")


async def token_in(api: Api, to: str, field: str) -> str:
    """The token of the latest link that was mailed."""
    mail = (await mails(api, to))[-1]
    text = mail["data"]["link"] if field == "link" else mail["text"]
    found = re.search(r"\?token=([\w-]+)", text)
    assert found is not None, mail
    return found[1]


async def forgot(api: Api, email: str) -> Answer:
    return await api.client().post("/auth/password/forgot", {"email": email})


async def reset(api: Api, token: str, password: str = NEW) -> Answer:
    data = {"token": token, "password": password}
    return await api.client().post("/auth/password/reset", data)


# Sessions


async def test_sessions_tell_device_address_and_which_one_asks(api: Api, ada: Person) -> None:
    browser = api.client(**{"user-agent": "Mozilla/5.0 (X11) " + "x" * 500})
    data = {"email": ada.email, "password": PASSWORD}
    assert (await browser.post("/auth/login", data)).status == 200
    told = (await ada.get("/auth/sessions")).json()
    assert told["page"] == {"nextCursor": None, "limit": 20}
    newest, own = told["data"]
    assert newest["device"].startswith("Mozilla/5.0 (X11)")
    assert len(newest["device"]) == 200
    assert (newest["ip"], newest["isCurrent"], own["isCurrent"]) == ("192.0.2.1", False, True)
    keys = {"id", "userId", "device", "ip", "createdAt", "lastUsedAt", "expiresAt", "isCurrent"}
    assert set(newest) == keys


async def test_one_ends_a_session_of_ones_own_and_nobody_elses(api: Api, ada: Person) -> None:
    other = await bearer(api, ada.email)
    eve = await api.found_company()
    session = (await other.get("/auth/sessions")).json()["data"][0]["id"]
    assert (await eve.delete(f"/auth/sessions/{session}")).status == 404
    assert (await other.get("/auth/me")).status == 200
    assert (await ada.delete(f"/auth/sessions/{session}")).status == 204
    assert (await other.get("/auth/me")).status == 401
    assert (await ada.delete(f"/auth/sessions/{session}")).status == 404


async def test_signing_out_ends_this_session_and_clears_the_cookies(api: Api, ada: Person) -> None:
    browser = Browser(api)
    told = (await browser.login(ada.email)).json()
    client = api.client(authorization=f"Bearer {told['accessToken']}")
    answer = await client.post("/auth/logout")
    assert answer.status == 204
    assert all("Max-Age=0" in cookie for cookie in answer.set_cookies)
    assert len(answer.set_cookies) == 2
    assert (await client.get("/auth/me")).status == 401
    assert (await browser.refresh_with(browser.cookies["novapulse_refresh"])).status == 401
    assert (await ada.get("/auth/me")).status == 200


async def test_signing_out_everywhere_ends_every_session(
    api: Api, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CHECK_SECONDS", 0.0)
    other = await bearer(api, ada.email)
    assert (await ada.post("/auth/logout-all")).status == 204
    assert (await other.get("/auth/me")).status == 401
    assert (await ada.get("/auth/me")).status == 401


async def test_whoever_is_disabled_is_out_within_five_seconds(api: Api, ada: Person) -> None:
    bob = await api.add_member(str(ada.company_id))
    assert (await bob.get("/auth/me")).status == 200
    users = api.runtime.db.platform("users")
    await users.update_one({"_id": bob.id}, {"$set": {"status": "disabled"}})
    for _ in range(55):
        if (await bob.get("/auth/me")).status == 401:
            return
        await asyncio.sleep(0.1)
    pytest.fail("still in")


async def test_another_role_counts_within_seconds(
    api: Api, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CHECK_SECONDS", 0.0)
    bob = await api.add_member(str(ada.company_id))
    assert (await bob.get("/webhooks")).status == 403
    users = api.runtime.db.platform("users")
    await users.update_one({"_id": bob.id}, {"$set": {"role": "manager"}})
    assert (await bob.get("/webhooks")).status == 200


# Step-up


async def test_a_step_up_lasts_five_minutes(ada: Person, clock: MovingClock) -> None:
    change = {"email": "ada@new.example"}
    refused = await ada.patch("/auth/me", change)
    assert (refused.status, refused.code) == (403, "step_up_required")
    assert (await ada.post("/auth/step-up", {"password": PASSWORD})).status == 204
    assert (await ada.patch("/auth/me", change)).status == 202
    clock.advance(seconds=301)
    assert (await ada.patch("/auth/me", change)).code == "step_up_required"


async def test_a_step_up_is_the_sessions_own(api: Api, ada: Person) -> None:
    other = await bearer(api, ada.email)
    assert (await other.post("/auth/step-up", {"password": PASSWORD})).status == 204
    answer = await ada.patch("/auth/me", {"email": "x@new.example"})
    assert answer.code == "step_up_required"


async def test_with_a_second_factor_a_step_up_takes_a_code(ada: Person, clock: MovingClock) -> None:
    app, codes = await set_up_mfa(ada, clock)
    only = await ada.post("/auth/step-up", {"password": PASSWORD})
    assert (only.status, only.paths) == (422, ["code"])
    wrong = await ada.post("/auth/step-up", {"password": PASSWORD, "code": app.wrong()})
    assert (wrong.status, wrong.code) == (401, "bad_code")
    right = {"password": PASSWORD, "code": app.code()}
    assert (await ada.post("/auth/step-up", right)).status == 204
    assert (await ada.post("/auth/step-up", right)).status == 401, "each code once"
    recovery = {"password": PASSWORD, "code": codes[0]}
    assert (await ada.post("/auth/step-up", recovery)).status == 204


# Passwords


async def test_changing_the_password_ends_the_other_sessions(api: Api, ada: Person) -> None:
    other = await bearer(api, ada.email)
    path = "/auth/password/change"
    wrong = await ada.post(path, {"currentPassword": NEW, "newPassword": NEW})
    assert (wrong.status, wrong.code) == (401, "bad_credentials")
    right = {"currentPassword": PASSWORD, "newPassword": NEW}
    assert (await ada.post(path, right)).status == 204
    assert (await other.get("/auth/me")).status == 401
    assert (await ada.get("/auth/me")).status == 200
    assert (await Browser(api).login(ada.email)).status == 401
    assert (await Browser(api).login(ada.email, NEW)).status == 200
    assert (await mails(api, ada.email))[-1]["template"] == "password_changed"


@pytest.mark.parametrize("password", ["x" * 11, "password1234", "NovaPulse2024!", "Company-123456"])
async def test_a_password_that_would_be_guessed_first_is_unacceptable(
    ada: Person, password: str
) -> None:
    change = {"currentPassword": PASSWORD, "newPassword": password}
    answer = await ada.post("/auth/password/change", change)
    assert (answer.status, answer.paths) == (422, ["newPassword"])


async def test_a_founder_chooses_no_such_password_either(api: Api) -> None:
    command = {"companyName": "Acme", "name": "Ada", "email": "ada@guess.example"}
    answer = await api.client().post("/auth/register", {**command, "password": "acme-password-12"})
    assert (answer.status, answer.paths) == (422, ["password"])


async def test_a_forgotten_password_is_replaced_with_the_mailed_link(
    api: Api, ada: Person, clock: MovingClock
) -> None:
    for _ in range(5):
        await Browser(api).login(ada.email, "a wrong password")
    assert (await forgot(api, ada.email.upper())).status == 202
    token = await token_in(api, ada.email, "link")
    weak = await reset(api, token, "password1234")
    assert (weak.status, weak.paths) == (422, ["password"])
    assert (await reset(api, token)).status == 204
    assert (await ada.get("/auth/me")).status == 401, "every session has ended"
    assert (await Browser(api).login(ada.email, NEW)).status == 200, "and the delay, too"
    again = await reset(api, token, "a third long sentence")
    assert (again.status, again.code) == (410, "link_gone")


async def test_of_twenty_uses_of_a_link_at_once_one_succeeds(api: Api, ada: Person) -> None:
    await forgot(api, ada.email)
    token = await token_in(api, ada.email, "link")
    answers = await asyncio.gather(*(reset(api, token) for _ in range(20)))
    assert Counter(answer.status for answer in answers) == {204: 1, 410: 19}


async def test_a_link_is_good_for_half_an_hour_and_until_the_next_one(
    api: Api, ada: Person, clock: MovingClock
) -> None:
    await forgot(api, ada.email)
    first = await token_in(api, ada.email, "link")
    await forgot(api, ada.email)
    assert (await reset(api, first)).status == 410
    second = await token_in(api, ada.email, "link")
    clock.advance(seconds=1_801)
    assert (await reset(api, second)).status == 410


@pytest.mark.parametrize("token", ["", "x", "../..", "ä" * 43, "A" * 43])
async def test_a_made_up_link_is_gone(api: Api, token: str) -> None:
    for path in ("/auth/password/reset", "/auth/email/confirm"):
        body = {"token": token} | ({"password": NEW} if "reset" in path else {})
        answer = await api.client().post(path, body)
        assert (answer.status, answer.code) == (410, "link_gone")


async def test_forgetting_tells_nobody_who_exists(
    api: Api, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "PACE_SECONDS", 0.15)
    loop = asyncio.get_running_loop()
    seen = []
    for email in (ada.email, "nobody@example.com", "no address", ""):
        started = loop.time()
        answer = await forgot(api, email)
        assert loop.time() - started >= 0.15
        headers = {**answer.headers, "x-request-id": ""}
        seen.append((answer.status, answer.body, headers))
    assert all(one == seen[0] for one in seen)
    assert seen[0][:2] == (202, b"")


async def test_a_reset_leaves_the_second_factor_on(
    api: Api, ada: Person, clock: MovingClock
) -> None:
    await set_up_mfa(ada, clock)
    await forgot(api, ada.email)
    assert (await reset(api, await token_in(api, ada.email, "link"))).status == 204
    assert (await Browser(api).login(ada.email, NEW)).code == "mfa_required"


async def test_a_weaker_hash_is_replaced_at_the_next_sign_in(api: Api, ada: Person) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=1_024, parallelism=1).hash(PASSWORD)
    users = api.runtime.db.platform("users")
    await users.update_one({"_id": ada.id}, {"$set": {"passwordHash": weak}})
    assert (await Browser(api).login(ada.email, "a wrong password")).status == 401
    assert (await api.rows("users", _id=ada.id))[0]["passwordHash"] == weak
    assert (await Browser(api).login(ada.email)).status == 200
    (row,) = await api.rows("users", _id=ada.id)
    assert row["passwordHash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert (await Browser(api).login(ada.email)).status == 200


# Name and address


async def test_a_new_name_counts_at_once(api: Api, ada: Person) -> None:
    answer = await ada.patch("/auth/me", {"name": "Ada L."})
    assert (answer.status, answer.json()["name"]) == (200, "Ada L.")
    assert answer.headers["etag"] == '"2"'
    stale = await ada.patch("/auth/me", {"name": "Eve"}, headers={"if-match": '"1"'})
    assert (stale.status, stale.code) == (412, "version_conflict")
    assert (await ada.patch("/auth/me", {})).json()["version"] == 2


@pytest.mark.parametrize(
    "change",
    [
        {"role": "super_admin"},
        {"name": ""},
        {"name": "a\nb"},
        {"email": "x"},
        {"mfaEnabled": False},
    ],
)
async def test_what_is_not_ones_own_to_change_is_unacceptable(
    ada: Person, change: dict[str, Any]
) -> None:
    assert (await ada.patch("/auth/me", change)).status == 422


async def test_a_new_address_counts_once_its_mail_was_answered(api: Api, ada: Person) -> None:
    new = "ada@somewhere.example"
    await ada.post("/auth/step-up", {"password": PASSWORD})
    answer = await ada.patch("/auth/me", {"email": new})
    assert (answer.status, answer.json()["email"]) == (202, ada.email)
    assert (await Browser(api).login(ada.email)).status == 200
    token = await token_in(api, new, "text")
    assert (await api.client().post("/auth/email/confirm", {"token": token})).status == 204
    assert (await ada.get("/auth/me")).json()["email"] == new
    assert (await Browser(api).login(ada.email)).status == 401
    assert (await Browser(api).login(new.upper())).status == 200
    assert (await mails(api, ada.email))[-1]["subject"] == "Your e-mail address was changed"
    again = await api.client().post("/auth/email/confirm", {"token": token})
    assert (again.status, again.code) == (410, "link_gone")


async def test_asking_for_a_taken_address_looks_the_same_and_mails_nobody(
    api: Api, ada: Person
) -> None:
    eve = await api.found_company()
    await ada.post("/auth/step-up", {"password": PASSWORD})
    before = len(await mails(api, eve.email))
    free = await ada.patch("/auth/me", {"email": "free@somewhere.example"})
    taken = await ada.patch("/auth/me", {"email": eve.email})
    assert (taken.status, taken.body) == (free.status, free.body)
    assert len(await mails(api, eve.email)) == before


async def test_an_address_that_was_taken_meanwhile_is_a_dead_link(api: Api, ada: Person) -> None:
    eve, new = await api.found_company(), "both@somewhere.example"
    for person in (ada, eve):
        await person.post("/auth/step-up", {"password": PASSWORD})
        await person.patch("/auth/me", {"email": new})
    first, second = [
        re.search(r"\?token=([\w-]+)", mail["text"])[1] for mail in await mails(api, new)
    ]
    assert (await api.client().post("/auth/email/confirm", {"token": first})).status == 204
    late = await api.client().post("/auth/email/confirm", {"token": second})
    assert (late.status, late.code) == (410, "link_gone")
    assert (await eve.get("/auth/me")).json()["email"] == eve.email


async def test_an_operator_has_all_of_this_too(api: Api, clock: MovingClock) -> None:
    email = "root@example.com"
    command = NewAccount(email=email, name="Root", role=Role.SUPER_ADMIN)
    password = await accounts.create_account(api.context(SYSTEM), command)
    root = await bearer(api, email, password)
    assert (await root.patch("/auth/me", {"name": "Groot"})).json()["name"] == "Groot"
    change = {"currentPassword": password, "newPassword": PASSWORD}
    assert (await root.post("/auth/password/change", change)).status == 204
    root = await bearer(api, email)
    told = (await root.post("/auth/mfa/setup", {"password": PASSWORD})).json()
    code = App(told["secret"], clock).code()
    assert (await root.post("/auth/mfa/verify", {"code": code})).status == 200
    assert (await mails(api, email))[-1]["template"] == "mfa_enabled"
