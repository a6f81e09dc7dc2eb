"""Refresh tokens: they rotate, a repeat gets the same answer, a copy ends the session."""

import asyncio
from collections import Counter

import pytest

from novapulse.core.settings.sections import Auth, Server
from tests.support.api import PASSWORD, Api, Person, open_api
from tests.support.signin import Browser, MovingClock, mails
from tests.support.stores import RunningStores

REFRESH = "novapulse_refresh"


@pytest.fixture
async def ada(api: Api) -> Person:
    return await api.found_company()


@pytest.fixture
async def browser(api: Api, ada: Person) -> Browser:
    opened = Browser(api)
    assert (await opened.login(ada.email)).status == 200
    return opened


async def test_every_refresh_gives_another_token_and_an_access_token_that_works(
    api: Api, browser: Browser, ada: Person
) -> None:
    seen = {browser.cookies[REFRESH]}
    for _ in range(4):
        answer = await browser.refresh()
        assert answer.status == 200
        seen.add(browser.cookies[REFRESH])
        told = answer.json()
        assert set(told) == {"accessToken", "expiresIn", "user"}
        me = await api.client(authorization=f"Bearer {told['accessToken']}").get("/auth/me")
        assert me.json()["id"] == ada.id
    assert len(seen) == 5


async def test_the_cookie_goes_to_the_refresh_only_and_scripts_can_not_read_it(
    api: Api, ada: Person
) -> None:
    answer = await Browser(api).login(ada.email)
    refresh, csrf = answer.set_cookies
    assert refresh.startswith("novapulse_refresh=")
    for part in ("Path=/api/v1/auth/refresh", "HttpOnly", "SameSite=Lax", "Max-Age=604800"):
        assert f"; {part}" in refresh
    assert csrf.startswith("novapulse_csrf=")
    assert "HttpOnly" not in csrf
    assert "; Path=/;" in csrf
    assert "Secure" not in refresh + csrf, "there is no TLS here"
    assert answer.cookies[REFRESH] not in answer.body.decode()


async def test_behind_tls_the_cookies_are_secure(
    stores: RunningStores, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = Server(public_url="https://nova.example.com")
    directory = tmp_path_factory.mktemp("tls")
    async with open_api(stores, directory, label="tls", server=server) as api:
        ada = await api.found_company()
        browser = Browser(api)
        answer = await browser.login(ada.email)
        assert all("; Secure" in cookie for cookie in answer.set_cookies)
        assert (await browser.refresh(origin="https://nova.example.com")).status == 200
        assert (await browser.refresh(origin="https://evil.example")).code == "csrf"


async def test_fifty_refreshes_at_once_with_one_token_have_one_successor(browser: Browser) -> None:
    token = browser.cookies[REFRESH]
    answers = await asyncio.gather(*(browser.refresh_with(token) for _ in range(50)))
    assert Counter(answer.status for answer in answers) == {200: 50}
    assert len({answer.cookies[REFRESH] for answer in answers}) == 1
    browser.took(answers[0])
    assert (await browser.refresh()).status == 200


async def test_a_repeat_within_ten_seconds_gets_the_same_answer(
    browser: Browser, clock: MovingClock
) -> None:
    token = browser.cookies[REFRESH]
    first = await browser.refresh_with(token)
    clock.advance(seconds=9)
    again = await browser.refresh_with(token)
    assert (first.status, again.status) == (200, 200)
    assert first.cookies[REFRESH] == again.cookies[REFRESH]


async def test_a_late_repeat_is_fine_even_if_its_successor_was_used_meanwhile(
    browser: Browser,
) -> None:
    token = browser.cookies[REFRESH]
    await browser.refresh()
    successor = browser.cookies[REFRESH]
    await browser.refresh()
    answer = await browser.refresh_with(token)
    assert (answer.status, answer.cookies[REFRESH]) == (200, successor)


async def test_a_reused_token_ends_the_session_at_once_and_its_owner_gets_a_mail(
    api: Api, browser: Browser, ada: Person, clock: MovingClock
) -> None:
    stolen = browser.cookies[REFRESH]
    told = (await browser.refresh()).json()
    bearer = api.client(authorization=f"Bearer {told['accessToken']}")
    assert (await bearer.get("/auth/me")).status == 200
    clock.advance(seconds=11)
    reused = await browser.refresh_with(stolen)
    assert (reused.status, reused.code) == (401, "unauthenticated")
    assert (await browser.refresh()).status == 401
    assert (await bearer.get("/auth/me")).status == 401
    assert (await ada.get("/auth/me")).status == 200, "another session of hers goes on"
    (mail,) = [one for one in await mails(api, ada.email) if "subject" in one]
    assert mail["subject"] == "One of your sessions was ended"
    assert len(await api.rows("events", type="session.token_reused")) >= 1


async def test_twenty_reuses_at_once_are_told_of_once(
    api: Api, browser: Browser, ada: Person, clock: MovingClock
) -> None:
    stolen = browser.cookies[REFRESH]
    await browser.refresh()
    clock.advance(seconds=11)
    answers = await asyncio.gather(*(browser.refresh_with(stolen) for _ in range(20)))
    assert {answer.status for answer in answers} == {401}
    assert len([one for one in await mails(api, ada.email) if "subject" in one]) == 1


async def test_an_old_token_of_many_rotations_ago_ends_the_session_too(
    browser: Browser, clock: MovingClock
) -> None:
    oldest = browser.cookies[REFRESH]
    for _ in range(20):
        assert (await browser.refresh()).status == 200
    clock.advance(seconds=11)
    assert (await browser.refresh_with(oldest)).status == 401
    assert (await browser.refresh()).status == 401


async def test_a_made_up_token_is_refused_and_ends_nothing(browser: Browser) -> None:
    good = browser.cookies[REFRESH]
    session_id, secret, proof = good.split(".")
    for token in (
        *("", "x", ".", "..", "a.b.c", good[:-1], good + "x", good.upper()),
        f"{session_id}.{'A' * 43}.{proof}",
        f"{session_id}.{secret}.{'A' * 22}",
        f"{'0' * 24}.{secret}.{proof}",
        f"{session_id}.{secret}",
    ):
        answer = await browser.refresh_with(token)
        assert (answer.status, answer.code) == (401, "unauthenticated"), token
    assert (await browser.refresh()).status == 200


async def test_without_its_csrf_token_the_cookie_is_worth_nothing(
    api: Api, browser: Browser
) -> None:
    other = Browser(api)
    await other.login((await api.found_company()).email)
    cookie = {"cookie": f"{REFRESH}={browser.cookies[REFRESH]}"}
    for token in (None, "", "x", other.cookies["novapulse_csrf"]):
        headers = cookie if token is None else {**cookie, "x-csrf-token": token}
        answer = await api.client(**headers).post("/auth/refresh")
        assert (answer.status, answer.code) == (403, "csrf")
    assert (await browser.refresh()).status == 200, "the token was not used up"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:5000", 200),
        ("http://nova.lan:5000", 200),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
async def test_only_our_own_pages_may_refresh(browser: Browser, origin: str, status: int) -> None:
    assert (await browser.refresh(origin=origin, host="nova.lan:5000")).status == status


async def test_a_bearer_token_beside_the_cookie_is_one_credential_too_many(
    browser: Browser, ada: Person
) -> None:
    answer = await browser.refresh(authorization=f"Bearer {ada.token}")
    assert (answer.status, answer.code) == (400, "two_credentials")
    cookie = f"{REFRESH}={browser.cookies[REFRESH]}"
    answer = await ada.get("/auth/me", headers={"cookie": cookie})
    assert (answer.status, answer.code) == (400, "two_credentials")
    assert (await ada.get("/auth/me", headers={"cookie": "theme=dark"})).status == 200


async def test_a_session_that_nobody_uses_ends_after_seven_days(
    browser: Browser, clock: MovingClock
) -> None:
    clock.advance(days=6.9)
    assert (await browser.refresh()).status == 200
    clock.advance(days=6.9)
    assert (await browser.refresh()).status == 200
    clock.advance(days=7.1)
    assert (await browser.refresh()).status == 401


async def test_a_session_ends_after_thirty_days_however_often_it_is_used(
    browser: Browser, clock: MovingClock
) -> None:
    for _ in range(5):
        clock.advance(days=5.9)
        assert (await browser.refresh()).status == 200
    answer = await browser.refresh()
    assert 0 < int(answer.set_cookies[0].partition("Max-Age=")[2].partition(";")[0]) < 86_400
    clock.advance(days=0.6)
    assert (await browser.refresh()).status == 401


async def test_the_twenty_first_session_ends_the_oldest(api: Api, clock: MovingClock) -> None:
    ada = await api.found_company()
    browsers = [Browser(api) for _ in range(20)]
    for browser in browsers:
        clock.advance(seconds=1)
        await browser.login(ada.email)
    assert (await ada.get("/auth/me")).status == 401, "founding the company was the first one"
    last = Browser(api)
    clock.advance(seconds=1)
    await last.login(ada.email)
    assert (await browsers[0].refresh()).status == 401
    assert (await browsers[1].refresh()).status == 200
    assert (await last.refresh()).status == 200


async def test_many_sign_ins_at_once_leave_no_more_than_allowed(
    stores: RunningStores, tmp_path_factory: pytest.TempPathFactory
) -> None:
    auth = Auth(sessions_per_user=3)
    directory = tmp_path_factory.mktemp("three")
    async with open_api(stores, directory, label="three", auth=auth) as api:
        ada = await api.found_company()
        await asyncio.gather(*(Browser(api).login(ada.email) for _ in range(12)))
        assert len(await api.rows("sessions", userId=ada.id)) == 3


async def test_a_disabled_user_can_not_refresh(api: Api, browser: Browser, ada: Person) -> None:
    change = {"$set": {"status": "disabled"}}
    await api.runtime.db.platform("users").update_one({"_id": ada.id}, change)
    assert (await browser.refresh()).status == 401
    await api.runtime.db.platform("users").update_one(
        {"_id": ada.id}, {"$set": {"status": "active"}}
    )
    assert (await browser.refresh()).status == 401, "the session is gone for good"
    assert (await browser.login(ada.email, PASSWORD)).status == 200
