"""The second factor: set up, used once, taken off, and required by a company."""

import asyncio
import base64
from collections import Counter
from typing import Any

import pytest

from novapulse.core import idempotency, live
from tests.support.api import PASSWORD, Api, Person
from tests.support.signin import App, MovingClock, answer_challenge, challenge, mails, set_up_mfa


@pytest.fixture
async def ada(api: Api) -> Person:
    return await api.found_company()


async def templates(api: Api, person: Person) -> list[str]:
    return [mail["template"] for mail in await mails(api, person.email) if "template" in mail]


async def test_setting_up_shows_everything_once_and_switches_nothing_on(
    api: Api, ada: Person
) -> None:
    told = (await ada.post("/auth/mfa/setup", {"password": PASSWORD})).json()
    assert set(told) == {"secret", "otpauthUri", "qrCode", "recoveryCodes"}
    assert len(told["secret"]) == 32
    assert told["otpauthUri"].startswith("otpauth://totp/NovaPulse:")
    assert f"secret={told['secret']}" in told["otpauthUri"]
    assert "issuer=NovaPulse" in told["otpauthUri"]
    head, _, picture = told["qrCode"].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(picture).startswith(b"\x89PNG\r\n\x1a\n")
    assert len(set(told["recoveryCodes"])) == 10
    assert {len(code.replace("-", "")) for code in told["recoveryCodes"]} == {32}
    off = {"enabled": False, "recoveryCodesLeft": 0, "enabledAt": None}
    assert (await ada.get("/auth/mfa")).json() == off
    assert (await api.sign_in(ada.email)).id == ada.id


async def test_a_code_switches_it_on_and_other_sessions_end(
    api: Api, ada: Person, clock: MovingClock
) -> None:
    other = await api.sign_in(ada.email)
    await set_up_mfa(ada, clock)
    told = (await ada.get("/auth/mfa")).json()
    assert (told["enabled"], told["recoveryCodesLeft"]) == (True, 10)
    assert (await ada.get("/auth/me")).json()["mfaEnabled"] is True
    assert (await other.get("/auth/me")).status == 401
    assert await templates(api, ada) == ["welcome", "mfa_enabled"]


async def test_signing_in_takes_a_code_then(api: Api, ada: Person, clock: MovingClock) -> None:
    app, _ = await set_up_mfa(ada, clock)
    token = await challenge(api, ada)
    answer = await answer_challenge(api, token, app.code())
    assert answer.status == 200
    assert "novapulse_refresh" in answer.cookies
    assert answer.json()["user"]["id"] == ada.id


@pytest.mark.parametrize("offset", [-2, -1, 0, 1, 2])
async def test_codes_of_two_steps_around_are_taken(
    api: Api, ada: Person, clock: MovingClock, offset: int
) -> None:
    app, _ = await set_up_mfa(ada, clock)
    clock.advance(seconds=60)
    assert (await answer_challenge(api, await challenge(api, ada), app.code(offset))).status == 200


@pytest.mark.parametrize("offset", [-4, -3, 3, 4])
async def test_codes_of_other_steps_are_not(
    api: Api, ada: Person, clock: MovingClock, offset: int
) -> None:
    app, _ = await set_up_mfa(ada, clock)
    clock.advance(seconds=90)
    answer = await answer_challenge(api, await challenge(api, ada), app.code(offset))
    assert (answer.status, answer.code) == (401, "bad_code")


async def test_a_code_is_good_once(api: Api, ada: Person, clock: MovingClock) -> None:
    app, _ = await set_up_mfa(ada, clock)
    code = app.code()
    assert (await answer_challenge(api, await challenge(api, ada), code)).status == 200
    again = await answer_challenge(api, await challenge(api, ada), code)
    assert (again.status, again.code) == (401, "bad_code")
    older = await answer_challenge(api, await challenge(api, ada), app.code(-1))
    assert older.status == 401, "neither is the code of a step before it"


async def test_the_code_that_switched_it_on_is_used_up(
    api: Api, ada: Person, clock: MovingClock
) -> None:
    told = (await ada.post("/auth/mfa/setup", {"password": PASSWORD})).json()
    code = App(told["secret"], clock).code()
    assert (await ada.post("/auth/mfa/verify", {"code": code})).status == 200
    assert (await answer_challenge(api, await challenge(api, ada), code)).status == 401


async def test_of_twenty_uses_of_a_code_at_once_one_succeeds(
    api: Api, ada: Person, clock: MovingClock
) -> None:
    app, _ = await set_up_mfa(ada, clock)
    tokens = [await challenge(api, ada) for _ in range(20)]
    answers = await asyncio.gather(*(answer_challenge(api, one, app.code()) for one in tokens))
    assert Counter(answer.status for answer in answers) == {200: 1, 401: 19}


async def test_of_twenty_answers_to_one_challenge_one_succeeds(
    api: Api, ada: Person, clock: MovingClock
) -> None:
    app, _ = await set_up_mfa(ada, clock)
    token = await challenge(api, ada)
    answers = await asyncio.gather(*(answer_challenge(api, token, app.code()) for _ in range(20)))
    assert Counter(answer.status for answer in answers) == {200: 1, 401: 19}
    again = await answer_challenge(api, token, app.code(1))
    assert (again.status, again.code) == (401, "bad_challenge")


async def test_of_twenty_verifications_at_once_one_succeeds(
    ada: Person, clock: MovingClock
) -> None:
    told = (await ada.post("/auth/mfa/setup", {"password": PASSWORD})).json()
    code = {"code": App(told["secret"], clock).code()}
    answers = await asyncio.gather(*(ada.post("/auth/mfa/verify", code) for _ in range(20)))
    assert Counter(answer.status for answer in answers) == {200: 1, 409: 19}


async def test_a_recovery_code_is_good_once_and_its_use_is_mailed(
    api: Api, ada: Person, clock: MovingClock
) -> None:
    _, codes = await set_up_mfa(ada, clock)
    token = await challenge(api, ada)
    assert (await answer_challenge(api, token, codes[0])).status == 200
    again = await answer_challenge(api, await challenge(api, ada), codes[0])
    assert (again.status, again.code) == (401, "bad_code")
    spelt = codes[1].replace("-", "").upper()
    assert (await answer_challenge(api, await challenge(api, ada), spelt)).status == 200
    assert (await ada.get("/auth/mfa")).json()["recoveryCodesLeft"] == 8
    used = [
        one for one in await mails(api, ada.email) if one.get("template") == "recovery_code_used"
    ]
    assert [mail["data"]["left"] for mail in used] == [9, 8]


async def test_of_twenty_uses_of_a_recovery_code_at_once_one_succeeds(
    api: Api, ada: Person, clock: MovingClock
) -> None:
    _, codes = await set_up_mfa(ada, clock)
    tokens = [await challenge(api, ada) for _ in range(20)]
    answers = await asyncio.gather(*(answer_challenge(api, one, codes[0]) for one in tokens))
    assert Counter(answer.status for answer in answers) == {200: 1, 401: 19}
    assert (await templates(api, ada)).count("recovery_code_used") == 1


@pytest.mark.parametrize(
    "code",
    [
        *("１２３４５６", "٠١٢٣٤٥", "12 456", " 12345", "123456 ", "123456\n", "12345", "1234567"),
        *("12345a", "+12345", "-12345", "1e5000", "", "0x1234", "١23456"),
        *(123456, 1.5, None, True, ["123456"], {"$ne": ""}),
    ],
)
async def test_what_is_no_code_at_all_is_unacceptable(
    api: Api, ada: Person, clock: MovingClock, code: Any
) -> None:
    answer = await answer_challenge(api, "x", code)
    # Whether the challenge is any good is looked at first, once the shape is a text.
    assert answer.status == 422 or (isinstance(code, str) and answer.code == "bad_challenge")
    assert (await ada.post("/auth/mfa/verify", {"code": code})).status == 422


async def test_a_strange_code_does_not_use_up_the_factor(
    api: Api, ada: Person, clock: MovingClock
) -> None:
    app, _ = await set_up_mfa(ada, clock)
    token = await challenge(api, ada)
    for code in ("１２３４５６", "12 456", "123456\n"):
        answer = await answer_challenge(api, token, code)
        assert (answer.status, answer.paths) == (422, ["code"])
    assert (await answer_challenge(api, token, app.code())).status == 200


async def test_a_challenge_ends_after_five_minutes(
    api: Api, ada: Person, clock: MovingClock
) -> None:
    app, _ = await set_up_mfa(ada, clock)
    token = await challenge(api, ada)
    clock.advance(seconds=301)
    answer = await answer_challenge(api, token, app.code())
    assert (answer.status, answer.code) == (401, "bad_challenge")


async def test_a_challenge_takes_five_codes_and_the_account_is_delayed_then(
    api: Api, ada: Person, clock: MovingClock
) -> None:
    app, _ = await set_up_mfa(ada, clock)
    token = await challenge(api, ada)
    wrong = [await answer_challenge(api, token, app.wrong()) for _ in range(5)]
    assert [answer.code for answer in wrong] == ["bad_code"] * 5
    assert (await answer_challenge(api, token, app.code())).code == "bad_challenge"
    fresh = await challenge(api, ada)
    assert (await answer_challenge(api, fresh, app.code())).code == "bad_code", "a delay runs"
    clock.advance(seconds=3)
    assert (await answer_challenge(api, fresh, app.code())).status == 200, "and used nothing up"


async def test_a_running_factor_goes_on_while_another_is_set_up(
    api: Api, ada: Person, clock: MovingClock
) -> None:
    old, old_codes = await set_up_mfa(ada, clock)
    told = (await ada.post("/auth/mfa/setup", {"password": PASSWORD})).json()
    new = App(told["secret"], clock)
    assert (await answer_challenge(api, await challenge(api, ada), new.code())).status == 401
    assert (await answer_challenge(api, await challenge(api, ada), old.code())).status == 200
    assert (await ada.post("/auth/mfa/verify", {"code": new.code()})).status == 200
    clock.advance(seconds=60)
    assert (await answer_challenge(api, await challenge(api, ada), old.code())).status == 401
    assert (await answer_challenge(api, await challenge(api, ada), old_codes[0])).status == 401
    assert (await answer_challenge(api, await challenge(api, ada), new.code())).status == 200


async def test_a_set_up_has_ten_minutes(ada: Person, clock: MovingClock) -> None:
    told = (await ada.post("/auth/mfa/setup", {"password": PASSWORD})).json()
    clock.advance(seconds=599)
    wrong = {"code": App(told["secret"], clock).wrong()}
    assert (await ada.post("/auth/mfa/verify", wrong)).code == "bad_code"
    clock.advance(seconds=2)
    late = {"code": App(told["secret"], clock).code()}
    answer = await ada.post("/auth/mfa/verify", late)
    assert (answer.status, answer.code) == (409, "mfa_not_pending")


async def test_disabling_takes_password_and_code_and_ends_other_sessions(
    api: Api, ada: Person, clock: MovingClock
) -> None:
    app, _ = await set_up_mfa(ada, clock)
    other = (await answer_challenge(api, await challenge(api, ada), app.code())).json()
    bearer = api.client(authorization=f"Bearer {other['accessToken']}")
    clock.advance(seconds=60)
    path = "/auth/mfa/disable"
    wrong = await ada.post(path, {"password": "a wrong password", "code": app.code()})
    assert (wrong.status, wrong.code) == (401, "bad_credentials")
    wrong = await ada.post(path, {"password": PASSWORD, "code": app.wrong()})
    assert (wrong.status, wrong.code) == (401, "bad_code")
    assert (await ada.post(path, {"password": PASSWORD, "code": app.code()})).status == 204
    assert (await ada.get("/auth/mfa")).json()["enabled"] is False
    assert (await bearer.get("/auth/me")).status == 401
    assert (await api.sign_in(ada.email)).id == ada.id
    assert (await templates(api, ada))[-1] == "mfa_disabled"
    again = await ada.post(path, {"password": PASSWORD, "code": "123456"})
    assert (again.status, again.code) == (409, "mfa_not_enabled")


async def test_codes_are_good_under_an_idempotency_key(ada: Person, clock: MovingClock) -> None:
    app, _ = await set_up_mfa(ada, clock)
    body = {"password": PASSWORD, "code": app.code()}
    key = {"idempotency-key": "codes"}
    first = await ada.post("/auth/mfa/recovery-codes", body, headers=key)
    assert first.status == 200, first.body
    assert (await ada.post("/auth/mfa/recovery-codes", body, headers=key)).body == first.body
    body = {"password": PASSWORD, "code": first.json()["recoveryCodes"][0]}
    for _ in range(2):
        assert (await ada.post("/auth/mfa/disable", body, headers=key)).status == 204
    assert (await ada.get("/auth/mfa")).json()["enabled"] is False


async def test_a_twin_for_which_nothing_is_left_gets_the_first_answer(
    ada: Person, clock: MovingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = (await ada.post("/auth/mfa/setup", {"password": PASSWORD})).json()
    body = {"code": App(told["secret"], clock).code()}
    key = {"idempotency-key": "twins"}
    first = await ada.post("/auth/mfa/verify", body, headers=key)
    find, asked = idempotency.find_answer, 0

    async def ask_too_early(*given: Any) -> Any:
        nonlocal asked
        asked += 1
        return None if asked == 1 else await find(*given)

    monkeypatch.setattr(idempotency, "find_answer", ask_too_early)
    again = await ada.post("/auth/mfa/verify", body, headers=key)
    assert (again.status, again.body) == (first.status, first.body)
    other = {"idempotency-key": "another"}
    assert (await ada.post("/auth/mfa/verify", body, headers=other)).code == "mfa_not_pending"


async def test_new_recovery_codes_kill_the_old_ones(
    api: Api, ada: Person, clock: MovingClock
) -> None:
    app, old = await set_up_mfa(ada, clock)
    body = {"password": PASSWORD, "code": app.code()}
    new = (await ada.post("/auth/mfa/recovery-codes", body)).json()["recoveryCodes"]
    assert len(new) == 10
    assert not set(new) & set(old)
    assert (await answer_challenge(api, await challenge(api, ada), old[3])).status == 401
    assert (await answer_challenge(api, await challenge(api, ada), new[3])).status == 200


async def test_a_company_that_requires_it_lets_nobody_do_anything_else_first(
    api: Api, ada: Person, clock: MovingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CHECK_SECONDS", 0.0)
    companies = api.runtime.db.platform("companies")
    await companies.update_one({"_id": ada.company_id}, {"$set": {"mfaRequired": True}})
    for method, path in (("GET", "/auth/me"), ("GET", "/tasks"), ("GET", "/auth/sessions")):
        answer = await ada.request(method, path)
        assert (answer.status, answer.code) == (403, "mfa_setup_required"), path
    assert (await ada.get("/auth/mfa")).status == 200
    await set_up_mfa(ada, clock)
    assert (await ada.get("/tasks")).status == 200
    bob = await api.add_member(str(ada.company_id))
    assert (await bob.get("/auth/me")).code == "mfa_setup_required"
    assert (await bob.post("/auth/logout")).status == 204


async def test_a_strangers_secret_in_ones_own_place_does_not_open(
    api: Api, ada: Person, clock: MovingClock
) -> None:
    eve = await api.found_company()
    await set_up_mfa(ada, clock)
    app, _ = await set_up_mfa(eve, clock)
    factors = api.runtime.db.platform("factors")
    hers = await factors.find_one({"_id": eve.id})
    assert hers is not None
    await factors.update_one({"_id": ada.id}, {"$set": {"secret": hers["secret"]}})
    answer = await answer_challenge(api, await challenge(api, ada), app.code())
    assert answer.status == 500
