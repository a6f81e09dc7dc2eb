"""Everything that matters for who gets in is a line of the log, with the address it came from."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from novapulse.core.access import Role
from tests.support import signin as support
from tests.support.api import PASSWORD, SOMEWHERE, Api, Person
from tests.support.routes import step_up
from tests.support.signin import (
    Browser,
    MovingClock,
    answer_challenge,
    challenge,
    mails,
    set_up_mfa,
)

api, clock = support.api, support.clock


@pytest.fixture
async def ada(api: Api) -> Person:
    """An administrator with a second one beside, who reads the log."""
    return await api.found_company()


async def lines(api: Api, person: Person, action: str) -> list[dict[str, Any]]:
    """The company's lines with this action, as its administrator reads them, newest first."""
    answer = await person.get(f"/audit?action={action}")
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def the_line(api: Api, person: Person, action: str) -> dict[str, Any]:
    (line,) = await lines(api, person, action)
    return line


async def test_founding_a_company_and_signing_in(api: Api, ada: Person) -> None:
    assert (await the_line(api, ada, "company.registered"))["actor"]["userId"] == ada.id
    browser = Browser(api)
    await browser.login(ada.email)
    newest = (await lines(api, ada, "session.started"))[0]
    assert newest["actor"]["address"] == SOMEWHERE
    assert newest["data"]["session"]["userId"] == ada.id


async def test_using_the_setup_token(api: Api) -> None:
    (row,) = await api.rows("events", type="installation.set_up")
    (setup,) = await api.rows("setup")
    assert (row["companyId"], row["resourceId"]) == ("platform", setup["companyId"])


async def test_a_wrong_password_for_an_account(api: Api, ada: Person) -> None:
    await api.client().post("/auth/login", {"email": ada.email, "password": "wrong " * 3})
    line = await the_line(api, ada, "user.proof_refused")
    assert line["actor"] == {
        "userId": "anonymous",
        "role": "user",
        "via": "api",
        "address": SOMEWHERE,
    }
    assert line["data"] == {"user": {"id": ada.id, "proof": "password"}}


async def test_a_password_for_nobody_is_the_operators_line_and_names_no_address(
    api: Api,
) -> None:
    before = len(await api.rows("events", type="user.proof_refused", companyId="platform"))
    typed = "correct horse battery staple in the wrong field@example.com"
    await api.client().post("/auth/login", {"email": typed, "password": "wrong " * 3})
    rows = await api.rows("events", type="user.proof_refused", companyId="platform")
    assert len(rows) == before + 1
    assert rows[-1]["resourceId"] == "unknown"
    assert typed not in str(rows[-1])


async def test_a_refused_proof_is_kept_though_its_request_is_undone(api: Api, ada: Person) -> None:
    once = {"idempotency-key": "refused"}
    answer = await ada.post("/auth/step-up", {"password": "wrong " * 3}, headers=once)
    assert answer.status == 401
    line = await the_line(api, ada, "user.proof_refused")
    assert line["actor"]["userId"] == ada.id


async def test_a_second_factor_from_its_set_up_to_its_end(
    api: Api, ada: Person, clock: MovingClock
) -> None:
    app, codes = await set_up_mfa(ada, clock)
    await the_line(api, ada, "user.mfa_setup_started")
    await the_line(api, ada, "user.mfa_enabled")
    token = await challenge(api, ada)
    assert (await answer_challenge(api, token, app.wrong())).status == 401
    assert (await the_line(api, ada, "user.proof_refused"))["data"]["user"]["proof"] == "code"
    assert (await answer_challenge(api, token, codes[0])).status == 200
    await the_line(api, ada, "user.recovery_code_used")
    proof = {"password": PASSWORD, "code": app.code()}
    assert (await ada.post("/auth/mfa/recovery-codes", proof)).status == 200
    await the_line(api, ada, "user.recovery_codes_renewed")
    clock.advance(seconds=60)
    assert (await ada.post("/auth/mfa/disable", {**proof, "code": app.code()})).status == 204
    await the_line(api, ada, "user.mfa_disabled")


async def log_out(api: Api, person: Person) -> None:
    assert (await person.post("/auth/logout")).status == 204


async def log_out_everywhere(api: Api, person: Person) -> None:
    assert (await person.post("/auth/logout-all")).status == 204


async def end_a_session(api: Api, person: Person) -> None:
    other = await api.sign_in(person.email)
    sessions = (await other.get("/auth/sessions")).json()["data"]
    elsewhere = next(one["id"] for one in sessions if not one["isCurrent"])
    assert (await other.delete(f"/auth/sessions/{elsewhere}")).status == 204


async def change_password(api: Api, person: Person) -> None:
    body = {"currentPassword": PASSWORD, "newPassword": f"{PASSWORD} again"}
    assert (await person.post("/auth/password/change", body)).status == 204


async def forget_password(api: Api, person: Person) -> None:
    assert (await api.client().post("/auth/password/forgot", {"email": person.email})).status == 202


async def confirm_password(api: Api, person: Person) -> None:
    assert (await person.post("/auth/step-up", {"password": PASSWORD})).status == 204


async def ask_for_another_address(api: Api, person: Person) -> None:
    await step_up(api, person)
    answer = await person.patch("/auth/me", {"email": f"new-{person.email}"})
    assert answer.status in (200, 202)


async def make_a_token(api: Api, person: Person) -> None:
    await step_up(api, person)
    body = {"name": "mine", "scopes": ["profile"]}
    assert (await person.post("/api-tokens", body)).status == 201


DEEDS: dict[str, Callable[[Api, Person], Awaitable[None]]] = {
    "session.ended": log_out,
    "user.sessions_ended": log_out_everywhere,
    "user.password_changed": change_password,
    "user.password_reset_requested": forget_password,
    "session.stepped_up": confirm_password,
    "user.email_change_requested": ask_for_another_address,
    "token.created": make_a_token,
}


@pytest.mark.parametrize("action", DEEDS)
async def test_a_deed_is_one_line(api: Api, ada: Person, action: str) -> None:
    member = await api.add_member(str(ada.company_id), Role.USER)
    await DEEDS[action](api, member)
    line = await the_line(api, ada, action)
    assert line["actor"]["userId"] == member.id
    assert line["actor"]["address"] == SOMEWHERE


async def test_ending_another_session_names_it(api: Api, ada: Person) -> None:
    await end_a_session(api, ada)
    line = await the_line(api, await api.sign_in(ada.email), "session.ended")
    assert line["resource"]["type"] == "session"


async def test_no_line_holds_a_secret(api: Api, ada: Person) -> None:
    member = await api.add_member(str(ada.company_id), Role.USER)
    for deed in (forget_password, confirm_password, ask_for_another_address, make_a_token):
        await deed(api, member)
    reset, _ = await mails(api, member.email)
    (confirm,) = await mails(api, f"new-{member.email}")
    secrets = [
        PASSWORD,
        member.token,
        reset["data"]["link"].partition("token=")[2],
        confirm["text"].partition("token=")[2].split()[0],
    ]
    assert all(len(secret) > 20 for secret in secrets)
    rows = str(await api.rows("events", companyId=ada.company_id))
    assert member.id in rows
    for secret in secrets:
        assert secret not in rows
